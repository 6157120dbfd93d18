"""Small requests to one store, thousands of them: HTTP/1.1 over connections that stay open.

Only for bodies that are in memory anyway, and only where no proxy is in between; all else goes
through aiohttp, whose comfort takes longer than a small file itself. Nothing here tries again, but
for a connection that the other side has closed while nobody used it.
"""

import asyncio
import os
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from multidict import CIMultiDict

from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.options import FetchOptions

BODY_BYTES: Final = 1024 * 1024  # of what is sent, or comes
PIECE: Final = 256 * 1024
KEPT_SECONDS: Final = 15.0  # a connection that nobody uses
_BROKEN: Final = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

Beat = Callable[[], None]


class StaleError(Exception):
    """A connection that was kept had been closed: no byte of an answer came."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads."""

    name: str  # its host, with its port if that is unusual
    host: str
    port: int
    trust: ssl.SSLContext | None  # whom to believe its certificate; None: it has none


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, all of it."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def text(self) -> str:
        """What explains an error."""
        return self.body.decode(errors="replace")


class _Reader(asyncio.StreamReader):
    """Knows how much has come that nobody has read: behind an answer nothing may."""

    def __init__(self) -> None:
        super().__init__(BODY_BYTES)
        self.unread = 0

    def feed_data(self, data: bytes) -> None:  # type: ignore[override] # nothing else comes
        """Something has come."""
        self.unread += len(data)
        super().feed_data(data)

    async def read(self, n: int = -1) -> bytes:
        """Some of it."""
        data = await super().read(n)
        self.unread -= len(data)
        return data

    async def readuntil(self, separator: Any = b"\n") -> bytes:
        """A line of it, or more."""
        data = await super().readuntil(separator)
        self.unread -= len(data)
        return data


@dataclass(slots=True)
class _Line:
    """One connection."""

    reader: _Reader
    writer: asyncio.StreamWriter
    used: float | None = None  # when it was last needed; None: it is new
    lasts: bool = True  # another request may follow

    def ended(self, now: float) -> bool:
        """Whether it is of no more use, or cannot be trusted: it says what nobody has asked."""
        idle = self.used is not None and now - self.used > KEPT_SECONDS
        said = self.reader.unread > 0
        return idle or said or self.reader.at_eof() or self.writer.is_closing()

    def abort(self) -> None:
        """Hang up; a polite end would wait until a stalled peer takes the rest."""
        self.writer.transport.abort()

    async def ask(self, head: bytes, body: bytes, beat: Beat) -> Reply:
        """Send a request, and read its answer."""
        try:
            await self._send(head, body, beat)
            first = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if self.used is not None and not getattr(error, "partial", b""):
                raise StaleError from error
            raise
        while first[8:10] == b" 1":  # to be continued
            first = await self.reader.readuntil(b"\r\n\r\n")
        beat()
        status, headers = _parsed(first)
        self.lasts = headers.get("Connection", "").lower() != "close"
        if status in _BODILESS:
            return Reply(status, headers, b"")
        return Reply(status, headers, await self._body(headers, beat))

    async def _send(self, head: bytes, body: bytes, beat: Beat) -> None:
        self.writer.writelines([head, body[:PIECE]])
        for position in range(PIECE, len(body), PIECE):
            await self.writer.drain()
            beat()
            self.writer.write(body[position : position + PIECE])

    async def _body(self, headers: Mapping[str, str], beat: Beat) -> bytes:
        content, length = bytearray(), _length(headers)
        if "chunked" in headers.get("Transfer-Encoding", "").lower():
            while size := int((await self.reader.readline()).partition(b";")[0], 16):
                await self._take(content, len(content) + size, beat)
                await self.reader.readline()
            while (await self.reader.readline()).strip():
                """What trails behind is of no interest."""
        elif length is not None:
            await self._take(content, length, beat)
        else:
            self.lasts = False
            while piece := await self.reader.read(PIECE):
                _grow(content, piece)
                beat()
        return bytes(content)

    async def _take(self, content: bytearray, length: int, beat: Beat) -> None:
        """Read until there is so much content."""
        while missing := length - len(content):
            piece = await self.reader.read(min(missing, PIECE))
            if not piece:
                raise EOFError
            _grow(content, piece)
            beat()


class Wire:
    """Connections by where they lead. Within one event loop."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._kept: defaultdict[Origin, list[_Line]] = defaultdict(list)
        self._sweeper: asyncio.TimerHandle | None = None

    async def ask(
        self,
        uri: object,
        origin: Origin,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        beat: Beat,
    ) -> Reply:
        """Ask, and give the answer, whatever its status. A request may come twice.

        `target`: path and query, quoted. `headers` have a Host. `beat` is called at every sign of
        life. What goes wrong becomes a FetchError; an answer of more than BODY_BYTES does, too.
        """
        head = _head(method, target, headers, len(body))
        while True:
            line = self._taken(origin) or await self._connected(uri, origin)
            try:
                reply = await line.ask(head, body, beat)
            except StaleError:
                line.lasts = False
            except _BROKEN as error:
                line.lasts = False
                reason = f"the connection to {origin.host}:{origin.port} broke off"
                raise FetchError(uri, reason, FetchFailure.BROKEN) from error
            except BaseException:
                line.lasts = False
                raise
            else:
                return reply
            finally:
                self._put_back(origin, line)

    async def close(self) -> None:
        """Hang up everywhere."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        lines = [line for found in self._kept.values() for line in found]
        self._kept.clear()
        for line in lines:
            line.abort()
        if lines:
            await asyncio.sleep(0)  # the turn of the loop in which its sockets are closed

    def _taken(self, origin: Origin) -> _Line | None:
        lines, now = self._kept[origin], asyncio.get_running_loop().time()
        while lines:
            line = lines.pop()
            if not line.ended(now):
                return line
            line.abort()
        return None

    def _put_back(self, origin: Origin, line: _Line) -> None:
        if not line.lasts:
            line.abort()
            return
        loop = asyncio.get_running_loop()
        line.used = loop.time()
        self._kept[origin].append(line)
        if self._sweeper is None:
            self._sweeper = loop.call_later(KEPT_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Hang up where nobody has talked for a while."""
        loop = asyncio.get_running_loop()
        for origin, lines in list(self._kept.items()):
            for line in [line for line in lines if line.ended(loop.time())]:
                lines.remove(line)
                line.abort()
            if not lines:
                del self._kept[origin]
        again = bool(self._kept)
        self._sweeper = loop.call_later(KEPT_SECONDS, self._sweep) if again else None

    async def _connected(self, uri: object, origin: Origin) -> _Line:
        try:
            async with asyncio.timeout(self._options.connect):
                loop, reader = asyncio.get_running_loop(), _Reader()
                protocol = asyncio.StreamReaderProtocol(reader)
                transport, _ = await loop.create_connection(
                    lambda: protocol, origin.host, origin.port, ssl=origin.trust
                )
                return _Line(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        except OSError as error:  # TLS's errors and a TimeoutError, too
            raise _unreachable(uri, origin, error) from error


def _head(method: str, target: str, headers: Mapping[str, str], length: int) -> bytes:
    """A request's first lines."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
    if length or method == "PUT":
        lines.append(f"Content-Length: {length}")
    text = "\r\n".join([*lines, "", ""])
    if text.count("\n") != len(lines) + 1:
        raise ValueError("a header of a request holds a line feed")
    return text.encode("latin-1")


def _parsed(head: bytes) -> tuple[int, CIMultiDict[str]]:
    """An answer's status and headers. Raises ValueError for what is none."""
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    version, status, *_ = first.split(" ", 2)
    if version != "HTTP/1.1" or not status.isdecimal():
        raise ValueError(first)
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(line)
        headers.add(name, value.strip())
    return int(status), headers


def _length(headers: Mapping[str, str]) -> int | None:
    said = headers.get("Content-Length")
    if said is not None and not said.isdecimal():
        raise ValueError(said)
    return None if said is None else int(said)


def _grow(content: bytearray, piece: bytes) -> None:
    content += piece
    if len(content) > BODY_BYTES:
        raise ValueError("more than a small answer")


def _unreachable(uri: object, origin: Origin, error: OSError) -> FetchError:
    where = f"{origin.host}:{origin.port}"
    if isinstance(error, ssl.SSLError):
        reason = f"no trusted TLS with {where}; check its certificate and this machine's clock"
        return FetchError(uri, reason, FetchFailure.UNREACHABLE, transient=False)
    if isinstance(error, socket.gaierror):
        reason = f"nobody knows the host {origin.host}"
    elif isinstance(error, TimeoutError):
        reason = f"{where} does not answer"
    else:
        because = os.strerror(error.errno) if error.errno else "no connection"
        reason = f"cannot connect to {where}: {because}"
    return FetchError(uri, reason, FetchFailure.UNREACHABLE)
