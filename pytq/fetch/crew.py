"""A crew of threads for short things: reading a small file, renaming another."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Crew:
    """Threads that are started as they are needed; for one event loop.

    A folder of small files sends each of them here twice. A pool of `concurrent.futures` wakes the
    loop for every single result, and the interpreter's lock goes to and fro; here the results that
    are ready come back together.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: deque[_Job] = deque()
        self._told = False  # the loop is about to look at what is done
        self._open = self._threads = 0

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Let a thread do it. Whoever cancels the future does not stop the thread."""
        job = _Job(work, asyncio.get_running_loop())
        self._open += 1
        if self._threads < min(self._open, self._size):
            self._threads += 1
            name = f"{self._name}_{self._threads}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """Let the threads end when they are through; what none has begun is not begun any more."""
        with contextlib.suppress(Empty):
            while job := self._jobs.get_nowait():
                job.future.cancel()
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            self._done.append(job)
            if not self._told:
                self._told = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    job.loop.call_soon_threadsafe(self._deliver)
            del job  # and what it holds, while this thread waits for the next

    def _deliver(self) -> None:
        self._told = False  # before looking: what is done from now on is told again
        while self._done:
            self._open -= 1
            self._done.popleft().deliver()


class _Job:
    """Something to do, and what came of it."""

    __slots__ = ("_error", "_result", "_work", "future", "loop")

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._work, self.loop = work, loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it, in a thread."""
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            self._error = error

    def deliver(self) -> None:
        """Tell who waits, in the loop."""
        if self.future.done():
            return
        if self._error is None:
            self.future.set_result(self._result)
        else:
            self.future.set_exception(self._error)
