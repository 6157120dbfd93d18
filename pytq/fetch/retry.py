"""Trying again: only what may pass, a bounded number of times, with growing, jittered pauses."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.options import FetchOptions

CORRUPT_ATTEMPTS: Final = 2  # what comes wrong twice is wrong at its source
RETRY_AFTER_MAX: Final = 300.0  # no server may put us to sleep for longer


async def persist(attempt: Callable[[], Awaitable[None]], options: FetchOptions) -> None:
    """Await `attempt()` until it succeeds, fails for good, or has been tried often enough.

    Raises the last FetchError, which then says how often it was tried.
    """
    tried = 0
    while True:
        tried += 1
        try:
            return await attempt()
        except FetchError as error:
            if not error.transient or tried >= _most(error, options):
                if tried > 1:
                    error.args = (f"{error} (tried {tried} times)",)
                raise
            pause = _pause(error, tried, options)
        await asyncio.sleep(pause)


def _most(error: FetchError, options: FetchOptions) -> int:
    if error.kind is FetchFailure.CORRUPT:
        return min(CORRUPT_ATTEMPTS, options.attempts)
    return options.attempts


def _pause(error: FetchError, tried: int, options: FetchOptions) -> float:
    if error.retry_after is not None:
        return min(error.retry_after, RETRY_AFTER_MAX)
    longest = min(options.backoff * 2 ** (tried - 1), options.backoff_max)
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing
