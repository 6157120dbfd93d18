"""What the sync library does out of sight: one event loop in a daemon thread, and an outbox.

The outbox keeps what could not be sent, in order, and sends it when the server is back. It lives
in memory: at the interpreter's exit it waits a little, then says how much it could not send.
"""

import asyncio
import atexit
import logging
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult

from pytq.client import Client

T = TypeVar("T")

LINGER_SECONDS: Final = 5.0
_log = logging.getLogger("pytq")


class Resolver(AbstractResolver):
    """Looks names up without a thread: the usual pool refuses to work at the interpreter's exit.

    It blocks, which is harmless: nobody else lives in this loop.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`."""
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        return [
            ResolveResult(
                hostname=host,
                host=str(place[0]),
                port=int(place[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, place in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


class Lazy(Generic[T]):
    """Stands in for an answer that has not come yet: its first attribute waits for it.

    If the server refuses what was asked, that error is raised instead.
    """

    __slots__ = ("_later",)

    def __init__(self, later: "Future[T]") -> None:
        self._later = later

    def __getattr__(self, name: str) -> Any:
        return getattr(self._later.result(), name)

    def __repr__(self) -> str:
        done = self._later.done() and self._later.exception() is None
        return repr(self._later.result()) if done else "<not sent yet; waiting for the server>"


def done(value: T) -> "Future[T]":
    """An answer that is there already."""
    later: Future[T] = Future()
    later.set_result(value)
    return later


async def next_of(items: AsyncIterator[Any], end: object) -> Any:
    """The next item, or `end`; a coroutine, which `anext` is not."""
    return await anext(items, end)


class Background:
    """The thread, its loop, the client that lives there and what waits to be sent."""

    def __init__(self, make_client: Callable[[], Client]) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._outbox: asyncio.Queue[tuple[Callable[[], Awaitable[Any]], Future[Any]]]
        self._outbox = asyncio.Queue()
        self._ready = threading.Event()
        self._make_client = make_client
        self._lock = threading.Lock()
        self._unsent = 0
        self._thread = threading.Thread(target=self._run, name="pytq", daemon=True)
        self._thread.start()
        self._ready.wait()
        atexit.register(self.close)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._live())
        self._loop.close()

    async def _live(self) -> None:
        async with self._make_client() as self.client:
            self._ready.set()
            sender = asyncio.create_task(self._send_for_ever())
            await self._stop.wait()
            sender.cancel()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _send_for_ever(self) -> None:
        while True:
            send, answer = await self._outbox.get()
            try:
                answer.set_result(await send())
            except asyncio.CancelledError:
                answer.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - whoever holds the lazy answer gets it
                answer.set_exception(error)
                # Perhaps nobody ever looks at the lazy answer; this must not be lost with it.
                _log.error("the PYTQ server refused what was kept for it: %s", error)
            finally:
                with self._lock:
                    self._unsent -= 1
                self._outbox.task_done()

    @property
    def unsent(self) -> int:
        """How many writes wait for the server."""
        with self._lock:
            return self._unsent

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Do `work` in the loop and wait for it; Ctrl-C gives it up."""
        later = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return later.result(timeout)
        except BaseException:
            later.cancel()
            raise

    async def settled(self) -> None:
        """Wait, in the loop, until nothing is unsent."""
        await self._outbox.join()

    def keep(self, send: Callable[[], Awaitable[T]]) -> "Future[T]":
        """Have `send` done as soon as what was kept before it is done."""
        answer: Future[T] = Future()
        with self._lock:
            self._unsent += 1
            # Under the lock: the queue's order is the order of the calls.
            self._loop.call_soon_threadsafe(self._outbox.put_nowait, (send, answer))
        return answer

    def close(self, linger: float = LINGER_SECONDS) -> None:
        """Wait a little for what is unsent, say what could not be sent, end the thread."""
        atexit.unregister(self.close)
        if not self._thread.is_alive():
            return
        deadline = time.monotonic() + linger
        while self.unsent and time.monotonic() < deadline:
            time.sleep(0.02)
        lost = self.unsent
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(linger)
        if lost:
            things = "change was" if lost == 1 else "changes were"
            warnings.warn(
                f"{lost} {things} NOT sent to the PYTQ server at {self.client.address}: it could"
                " not be reached before this program ended",
                RuntimeWarning,
                stacklevel=2,
            )
