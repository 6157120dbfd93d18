"""A web server that lies when it is told to: truncates, stalls, resets, answers pages and worse.

It speaks just enough HTTP/1.1, by hand, because no library would send what it has to send. It runs
in a thread of its own, on a free port of loopback.
"""

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from hashlib import md5
from urllib.parse import unquote

from servers.threaded import reset, serving

PAGE = b"<!DOCTYPE html>\n<html><body>Please log in to the guest network.</body></html>\n"


class Lie(StrEnum):
    """What to do instead of giving the file."""

    TRUNCATE = "truncate"  # half of it, then the connection is closed
    STALL = "stall"  # half of it, then silence
    SILENT = "silent"  # not even a header
    RESET = "reset"  # half of it, then RST
    REFUSE = "refuse"  # RST at once
    LONGER = "longer"  # announces more than there is
    PAGE = "page"  # a login page with status 200
    PAGE_AS_DATA = "page-as-data"  # the same, called application/octet-stream
    BUSY = "busy"  # 503 with Retry-After: 0
    MANY = "many"  # 429 with Retry-After: 0
    BROKEN = "broken"  # 500
    MISSING = "missing"  # 404
    DENIED = "denied"  # 403
    LOOP = "loop"  # redirects to itself
    NOISE = "noise"  # no HTTP at all
    FLIP = "flip"  # one byte is another, all lengths are right
    CHANGE = "change"  # from now on it is another file
    WHOLE = "whole"  # gives all, whatever range was asked for
    OTHER_RANGE = "other-range"  # gives a range that was not asked for
    ENDLESS = "endless"  # says no length, and just closes at the end
    PACKED = "packed"  # gzip, though it was asked for as it is
    DRIP = "drip"  # slowly, but it gives all of it


CLOSE = {"Connection": "close"}
ANSWERS: dict[Lie, tuple[int, bytes, dict[str, str]]] = {
    Lie.PAGE: (200, PAGE, {"Content-Type": "text/html"}),
    Lie.PAGE_AS_DATA: (200, PAGE, {"Content-Type": "application/octet-stream"}),
    Lie.BUSY: (503, b"", {"Retry-After": "0"}),
    Lie.MANY: (429, b"", {"Retry-After": "0"}),
    Lie.BROKEN: (500, b"sorry", {}),
    Lie.MISSING: (404, b"sorry", {}),
    Lie.DENIED: (403, b"sorry", {}),
    Lie.PACKED: (200, b"\x1f\x8b....", {"Content-Encoding": "gzip"}),
}


@dataclass
class Served:
    """A file of the server."""

    content: bytes
    kind: str = "application/octet-stream"
    tagged: bool = True  # sends ETag and Last-Modified
    ranges: bool = True
    chunked: bool = False
    modified: float = 1_700_000_000.0

    @property
    def tag(self) -> str:
        return f'"{md5(self.content, usedforsecurity=False).hexdigest()}"'


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]


Handler = Callable[[Asked], tuple[int, bytes, str]]


@dataclass
class LyingServer:
    """Files by path; for each path the lies to tell, one a request, before the truth."""

    files: dict[str, Served] = field(default_factory=dict)
    lies: defaultdict[str, deque[Lie]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[str, Lie] = field(default_factory=dict)  # told on every request
    handlers: dict[str, Handler] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    drip_seconds: float = 0.05
    hung: threading.Event = field(default_factory=threading.Event)  # it has fallen silent
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lie(self, path: str, *lies: Lie) -> None:
        """Tell these, one after the other."""
        self.lies[path].extend(lies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        while (asked := await _request(reader)) is not None:
            self.asked.append(asked)
            if not await _Reply(self, asked, writer).send():
                return


@dataclass
class _Reply:
    server: LyingServer
    asked: Asked
    writer: asyncio.StreamWriter

    async def send(self) -> bool:
        """Answer one request; tells whether the connection goes on."""
        path, _, _ = self.asked.path.partition("?")
        if path in self.server.handlers:
            status, body, kind = self.server.handlers[path](self.asked)
            return await self._say(status, body, {"Content-Type": kind})
        lies = self.server.lies[path]
        lie = lies.popleft() if lies else self.server.always.get(path)
        if unquote(path) not in self.server.files:
            return await self._say(404, b"none such", {})
        if lie is not None and await self._tell(lie, path):
            return False
        return await self._truth(self.server.files[unquote(path)], whole=lie is Lie.WHOLE)

    async def _tell(self, lie: Lie, path: str) -> bool:
        """Tell a lie; whether that was the answer."""
        served = self.server.files[unquote(path)]
        if lie in ANSWERS:
            status, body, headers = ANSWERS[lie]
            await self._say(status, body, headers | CLOSE)
        elif lie is Lie.CHANGE:
            served.content = bytes(reversed(served.content))
            return False
        elif lie is Lie.WHOLE:
            return False
        elif lie is Lie.LOOP:
            await self._say(302, b"", {"Location": path} | CLOSE)
        elif lie is Lie.OTHER_RANGE:
            await self._part(served, 1, 2, {"Content-Range": f"bytes 1-1/{len(served.content)}"})
        elif lie is Lie.FLIP:
            flipped = bytes([served.content[0] ^ 1]) + served.content[1:]
            twin = Served(flipped, served.kind, served.tagged, served.ranges)
            await self._truth(twin, tag=served.tag)
        else:
            await self._be_rude(lie, served)
        return True

    async def _be_rude(self, lie: Lie, served: Served) -> None:
        """Break off, or never begin."""
        if lie is Lie.SILENT:
            self.server.hung.set()
            await asyncio.sleep(3600)
        elif lie is Lie.REFUSE:
            reset(self.writer)
        elif lie is Lie.NOISE:
            self.writer.write(b"\x00\x01 SMTP ready\r\n\r\n")
        elif lie is Lie.ENDLESS:
            self.writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + served.content)
        else:
            await self._broken_off(lie, served, len(served.content) // 2)

    async def _broken_off(self, lie: Lie, served: Served, half: int) -> None:
        start, end = self._range(served)
        content = served.content[start:end]
        announced = len(content) + (7 if lie is Lie.LONGER else 0)
        await self._head(served, start, end, announced)
        if lie is Lie.DRIP:
            for at in range(0, len(content), max(1, len(content) // 10)):
                self.writer.write(content[at : at + max(1, len(content) // 10)])
                await self.writer.drain()
                await asyncio.sleep(self.server.drip_seconds)
            return
        self.writer.write(content if lie is Lie.LONGER else content[:half])
        await self.writer.drain()
        if lie is Lie.STALL:
            self.server.hung.set()
            await asyncio.sleep(3600)
        if lie is Lie.RESET:
            reset(self.writer)

    async def _truth(self, served: Served, *, whole: bool = False, tag: str | None = None) -> bool:
        start, end = (0, len(served.content)) if whole else self._range(served)
        if start is None:
            return await self._say(416, b"", {})
        if served.chunked:
            return await self._in_chunks(served)
        await self._head(served, start, end, end - start, tag, whole=whole)
        if self.asked.method != "HEAD":
            self.writer.write(served.content[start:end])
        await self.writer.drain()
        return True

    async def _in_chunks(self, served: Served) -> bool:
        self.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(served.content), 1000):
            piece = served.content[at : at + 1000]
            self.writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        return True

    def _range(self, served: Served) -> tuple[int, int]:
        size = len(served.content)
        said = self.asked.headers.get("range", "")
        condition = self.asked.headers.get("if-range")
        stale = condition is not None and condition not in (served.tag, _date(served))
        if not said or not served.ranges or stale:
            return 0, size
        first, _, last = said.removeprefix("bytes=").partition("-")
        if int(first) >= size:
            return None, size  # type: ignore[return-value]
        return int(first), min(size, int(last) + 1) if last else size

    async def _head(
        self,
        served: Served,
        start: int,
        end: int,
        announced: int,
        tag: str | None = None,
        *,
        whole: bool = False,
    ) -> None:
        size = len(served.content)
        ranged = "range" in self.asked.headers and served.ranges and not whole
        ranged = ranged and not (start == 0 and end == size and "if-range" in self.asked.headers)
        headers = {"Content-Type": served.kind, "Content-Length": str(announced)}
        if served.tagged:
            headers |= {"ETag": tag or served.tag, "Last-Modified": _date(served)}
        if ranged:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._headers(206 if ranged else 200, headers)
        await self.writer.drain()

    async def _part(self, served: Served, start: int, end: int, headers: dict[str, str]) -> None:
        body = served.content[start:end]
        self._headers(206, headers | {"Content-Length": str(len(body)), "ETag": served.tag})
        self.writer.write(body)
        await self.writer.drain()

    async def _say(self, status: int, body: bytes, headers: dict[str, str]) -> bool:
        self._headers(status, {"Content-Length": str(len(body))} | headers)
        if self.asked.method != "HEAD":
            self.writer.write(body)
        await self.writer.drain()
        return True

    def _headers(self, status: int, headers: dict[str, str]) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.writer.write(f"HTTP/1.1 {status} So\r\n{lines}\r\n".encode())


def _date(served: Served) -> str:
    return formatdate(served.modified, usegmt=True)


async def _request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().strip().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Asked(method, path, {name.lower(): value.strip() for name, _, value in pairs})


@contextmanager
def lying_server() -> Iterator[LyingServer]:
    """A server in a thread; it is gone, with all that hangs on it, afterwards."""
    server = LyingServer()
    with serving(server.serve) as server.port:
        yield server
