"""Blocking work in threads of our own, ended promptly when nobody waits for it any more."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from pytq.fetch.crew import Crew
from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.transfer import Meter

T = TypeVar("T")

THREADS: Final = 8
GRACE_SECONDS: Final = 10.0  # a thread in a dead network file system cannot be ended, only left


class Stopped(Exception):  # noqa: N818 - a wish, not an error
    """Nobody waits for this any more."""


class Threads:
    """A few threads for disks and checksums."""

    def __init__(self, stall: float) -> None:
        self._crew = Crew(THREADS, "pytq-fetch")
        self._stall = stall

    async def run(self, work: Callable[[], T]) -> T:
        """Do something short. It is waited for even when cancelled: its file must be let go."""
        future = self._crew.do(work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await ended(future)
            raise

    async def run_long(self, uri: object, work: Callable[[threading.Event], T], meter: Meter) -> T:
        """Do something that looks at its event now and then, and ends when it is set.

        Raises FetchError (stalled) when `meter` shows no life for too long.
        """
        stop = threading.Event()
        future = self._crew.do(partial(work, stop))
        try:
            await self._watch(future, meter)
            if not future.done():
                raise FetchError(uri, f"no byte for {self._stall:g} s", FetchFailure.STALLED)
            return future.result()
        finally:
            stop.set()
            await ended(future)

    async def _watch(self, future: asyncio.Future[T], meter: Meter) -> None:
        seen = -1
        while not future.done() and seen != meter.moves:
            seen = meter.moves
            await asyncio.wait([future], timeout=self._stall)

    def close(self) -> None:
        """Let the threads go; whoever used them has been waited for."""
        self._crew.close()


async def surely(work: Coroutine[Any, Any, object], seconds: float) -> None:
    """Do what has to be done although we are being cancelled; what it raises is of no interest."""
    await ended(asyncio.ensure_future(work), seconds)


async def ended(future: asyncio.Future[T], seconds: float = GRACE_SECONDS) -> None:
    """Wait for something to end, however often we are cancelled meanwhile, but not for ever."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    cancelled: asyncio.CancelledError | None = None
    while not future.done() and loop.time() < deadline:
        try:
            await asyncio.wait([future], timeout=deadline - loop.time())
        except asyncio.CancelledError as error:
            cancelled = error
    future.cancel()
    if future.done() and not future.cancelled():
        future.exception()  # told already, or wanted by nobody
    if cancelled is not None:
        raise cancelled
