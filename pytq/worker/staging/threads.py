"""Work in other threads, ended promptly when nobody waits for it any more."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Do something slow that looks at its event now and then, and ends when it is set.

    When cancelled it is told to end, and waited for: nobody may clean up under it.
    """
    stop = threading.Event()
    future = asyncio.get_running_loop().run_in_executor(None, work, stop)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
            stop.set()
    if cancelled is not None:
        future.exception()  # nobody wants it any more
        raise cancelled
    return future.result()


async def in_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Have the event loop of another thread do something.

    Cancelled here, it is cancelled there, and waited for all the same.
    """
    here = asyncio.get_running_loop()
    over: asyncio.Future[asyncio.Task[T]] = here.create_future()
    tasks: list[asyncio.Task[T]] = []

    def begin() -> None:
        tasks.append(loop.create_task(work))
        tasks[0].add_done_callback(lambda task: here.call_soon_threadsafe(over.set_result, task))

    def end() -> None:
        tasks[0].cancel()

    loop.call_soon_threadsafe(begin)
    cancelled: asyncio.CancelledError | None = None
    while not over.done():
        try:
            await asyncio.wait([over])
        except asyncio.CancelledError as error:
            cancelled = error
            loop.call_soon_threadsafe(end)
    task = over.result()
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # nobody wants it any more
        raise cancelled
    return task.result()
