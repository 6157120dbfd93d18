"""Trying again: only what may pass, a bounded number of times, with growing, jittered pauses."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.options import FetchOptions
from pytq.fetch.transfer import Meter

T = TypeVar("T")

CORRUPT_ATTEMPTS: Final = 2  # what comes wrong twice is wrong at its source
RETRY_AFTER_MAX: Final = 300.0  # no server may put us to sleep for longer
# An attempt that got so much further was worth it, and is not counted: so many bytes, or such a
# part of what was missing.
GAIN: Final = 1024 * 1024
GAIN_PART: Final = 10


async def persist(
    attempt: Callable[[], Awaitable[T]], options: FetchOptions, meter: Meter | None = None
) -> T:
    """Await `attempt()` until it succeeds, fails for good, or has been tried often enough.

    An attempt that took `meter` further than any before it starts the count anew, so that a long
    file over a bad line comes at last. Raises the last FetchError, which says how often it was
    tried.
    """
    tried = corrupt = reached = 0
    while True:
        try:
            return await attempt()
        except FetchError as error:
            if meter is not None and meter.done > reached + _worth(meter, reached):
                tried, reached = 0, meter.done
            tried += 1
            corrupt += error.kind is FetchFailure.CORRUPT
            over = tried >= options.attempts or corrupt >= CORRUPT_ATTEMPTS
            if error.tried or over or not error.transient:
                error.note_tries(tried)
                raise
            pause = _pause(error, tried, options)
        await asyncio.sleep(pause)


def _worth(meter: Meter, reached: int) -> int:
    return min(GAIN, (meter.total - reached) // GAIN_PART) if meter.total > reached else GAIN


def _pause(error: FetchError, tried: int, options: FetchOptions) -> float:
    if error.retry_after is not None:
        return min(error.retry_after, RETRY_AFTER_MAX)
    longest = min(options.backoff * 2 ** (tried - 1), options.backoff_max)
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing
