"""A proxy that meddles: it passes everything on to a server but for what it is told to spoil.

It understands just enough HTTP to tell requests apart: one request and its answer per connection.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from servers.threaded import reset, serving

PIECE = 64 * 1024
EXPLAINED = b'<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>'
DENIED = b"<Error><Code>AccessDenied</Code></Error>"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (
    len(DENIED),
    DENIED,
)
SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nRetry-After: 0\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(EXPLAINED), EXPLAINED)
)


class Fault(StrEnum):
    """What to do to one request."""

    RESET = "reset"  # RST before the server hears of it
    SLOW_DOWN = "slow-down"  # answer 503 instead of the server
    CUT = "cut"  # half of the answer's body, then the end
    STALL = "stall"  # half of the answer's body, then silence
    DEAF = "deaf"  # half of the request's body is read, then silence
    LOST = "lost"  # the server does it, but its answer is lost


@dataclass(frozen=True)
class Seen:
    """A request that came by."""

    method: str
    target: str


Choose = Callable[[Seen], Fault | None]


@dataclass
class Meddler:
    """A running proxy. `choose` says what to do to a request; None: nothing."""

    port: int = 0
    scheme: str = "http"
    choose: Choose = lambda _: None
    strict: bool = False  # as a bucket whose policy wants the SHA-256 of whatever is put into it
    seen: list[Seen] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)  # it came to a STALL or DEAF

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def spoil(self, count: int, fault: Fault, **match: str) -> None:
        """Do this to the next `count` requests whose `method` is, and `target` contains, that."""
        left = [count]

        def choose(seen: Seen) -> Fault | None:
            fits = match.get("method", seen.method) == seen.method
            if left[0] and fits and match.get("target", "") in seen.target:
                left[0] -= 1
                return fault
            return None

        self.choose = choose


@contextmanager
def meddler(endpoint: str, tls: ssl.SSLContext | None = None) -> Iterator[Meddler]:
    """A proxy in front of a server, in a thread."""
    proxy = Meddler(scheme="https" if tls else "http")
    parts = urlsplit(endpoint)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _pass_on(proxy, parts.hostname or "", parts.port or 80, reader, writer)

    with serving(serve, tls) as proxy.port:
        yield proxy


async def _pass_on(
    proxy: Meddler, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    seen = Seen(method, target)
    proxy.seen.append(seen)
    fault = proxy.choose(seen)
    length = _length(head)
    if fault is Fault.RESET:
        reset(writer)
        return
    if fault is Fault.DEAF:
        await reader.readexactly(length // 2)
        proxy.stalled.set()
        await asyncio.sleep(3600)
    body = await reader.readexactly(length)
    unsigned = proxy.strict and method == "PUT" and b"UNSIGNED-PAYLOAD" in head
    if unsigned or fault is Fault.SLOW_DOWN:
        writer.write(FORBIDDEN if unsigned else SLOW_DOWN)
        await writer.drain()
        return
    await _ask_server(proxy, host, port, _closing(head) + body, fault, writer)


async def _ask_server(
    proxy: Meddler,
    host: str,
    port: int,
    request: bytes,
    fault: Fault | None,
    writer: asyncio.StreamWriter,
) -> None:
    upstream, sending = await asyncio.open_connection(host, port)
    try:
        sending.write(request)
        await sending.drain()
        head = await upstream.readuntil(b"\r\n\r\n")
        if fault is Fault.LOST:
            await upstream.read()
            reset(writer)
            return
        writer.write(_closing(head))
        left = _length(head) // 2 if fault in (Fault.CUT, Fault.STALL) else -1
        while left and (piece := await upstream.read(PIECE if left < 0 else min(PIECE, left))):
            writer.write(piece)
            await writer.drain()
            left -= len(piece) if left > 0 else 0
        if fault is Fault.STALL:
            proxy.stalled.set()
            await asyncio.sleep(3600)
    finally:
        sending.transport.abort()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def _closing(head: bytes) -> bytes:
    """The same head, with no second request on its connection."""
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([lines[0], b"Connection: close", *lines[1:]])
