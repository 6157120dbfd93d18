"""Small requests to one store, thousands of them: HTTP/1.1 over connections that stay open.

Only for bodies that are in memory anyway, and only where no proxy is in between; all else goes
through aiohttp, whose comfort takes longer than a small file itself. Nothing here tries again, but
for a connection that the other side has closed while nobody used it.
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from multidict import CIMultiDict
from yarl import URL

from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.options import FetchOptions

BODY_BYTES: Final = 1024 * 1024  # of what is sent
BUFFER_BYTES: Final = 1024 * 1024  # of what has come and is not read yet
HEAD_BYTES: Final = 64 * 1024
PIECE: Final = 256 * 1024
KEPT_SECONDS: Final = 15.0  # a connection that nobody uses
_BROKEN: Final = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

Beat = Callable[[], None]  # to be called at every sign of life
Origin = tuple[str, str, int | None, ssl.SSLContext | None]


class StaleError(Exception):
    """A connection that was kept had been closed: no byte of an answer came."""


@dataclass(slots=True)
class Reply:
    """An answer: its status, its headers, and its body, to be read once."""

    status: int
    headers: CIMultiDict[str]
    length: int | None  # of the body, where it is known
    _reader: asyncio.StreamReader
    _beat: Beat
    over: bool = False  # all of it has been read, and another may follow

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int((await self._reader.readline()).partition(b";")[0], 16):
                async for piece in self._exactly(size):
                    yield piece
                await self._reader.readline()
            while (await self._reader.readline()).strip():
                """What trails behind is of no interest."""
        elif self.length is not None:
            async for piece in self._exactly(self.length):
                yield piece
        else:
            while piece := await self._reader.read(PIECE):
                self._beat()
                yield piece
            return  # the end of the connection, too
        self.over = self.headers.get("Connection", "").lower() != "close"

    async def text(self, at_most: int) -> str:
        """What explains an error."""
        found = bytearray()
        async for piece in self.pieces():
            found += piece
            if len(found) > at_most:
                break
        return found.decode(errors="replace")

    async def _exactly(self, amount: int) -> AsyncIterator[bytes]:
        while amount:
            piece = await self._reader.read(min(amount, PIECE))
            if not piece:
                raise EOFError
            amount -= len(piece)
            self._beat()
            yield piece


@dataclass(slots=True)
class _Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: float | None = None  # when it was last needed; None: it is new

    def ended(self, now: float) -> bool:
        """Whether it is of no more use."""
        idle = self.used is not None and now - self.used > KEPT_SECONDS
        return idle or self.reader.at_eof() or self.writer.is_closing()

    def abort(self) -> None:
        """Hang up; a polite end would wait until a stalled peer takes the rest."""
        self.writer.transport.abort()

    async def ask(self, head: bytes, body: bytes, beat: Beat) -> Reply:
        """Send a request; its answer, as far as its headers."""
        try:
            self.writer.writelines([head, body[:PIECE]])
            for position in range(PIECE, len(body), PIECE):
                await self.writer.drain()
                beat()
                self.writer.write(body[position : position + PIECE])
            first = await self.reader.readuntil(b"\r\n\r\n")
            while first.split(b" ", 2)[1].startswith(b"1"):  # to be continued
                first = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            partial = getattr(error, "partial", b"")
            if self.used is not None and not partial:
                raise StaleError from error
            raise
        beat()
        status, headers = _parsed(first)
        length = 0 if status in _BODILESS else _length(headers)
        return Reply(status, headers, length, self.reader, beat)


class Wire:
    """Connections by where they lead. Within one event loop."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._kept: defaultdict[Origin, list[_Line]] = defaultdict(list)
        self._usual: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def ask(
        self,
        uri: object,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes,
        trust: ssl.SSLContext | None,
        beat: Beat,
    ) -> AsyncIterator[Reply]:
        """Ask, and give the answer, whatever its status. A request may come twice: let it be PUT.

        `headers` have a Host; `trust` is whom to believe a certificate, if not the usual ones.
        What goes wrong, also while the answer is read, becomes a FetchError.
        """
        head = _head(method, url, headers, len(body))
        origin = (url.scheme, url.host or "", url.port, trust)
        line, reply = await self._answered(uri, origin, head, body, beat)
        try:
            yield reply
        except _BROKEN as error:
            raise _broken(uri, origin) from error
        finally:
            if reply.over:
                self._keep(origin, line)
            else:
                line.abort()

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

    async def _answered(
        self, uri: object, origin: Origin, head: bytes, body: bytes, beat: Beat
    ) -> tuple[_Line, Reply]:
        while True:
            line = self._taken(origin) or await self._connected(uri, origin)
            try:
                return line, await line.ask(head, body, beat)
            except StaleError:
                line.abort()
            except _BROKEN as error:
                line.abort()
                raise _broken(uri, origin) from error
            except BaseException:
                line.abort()
                raise

    def _taken(self, origin: Origin) -> _Line | None:
        lines, now = self._kept[origin], asyncio.get_running_loop().time()
        while lines:
            line = lines.pop()
            if not line.ended(now):
                return line
            line.abort()
        return None

    def _keep(self, origin: Origin, line: _Line) -> None:
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
        scheme, host, port, trust = origin
        if scheme == "https" and trust is None:
            trust = self._usual = self._usual or ssl.create_default_context()
        try:
            async with asyncio.timeout(self._options.connect):
                safe = trust if scheme == "https" else None
                opening = asyncio.open_connection(host, port, ssl=safe, limit=BUFFER_BYTES)
                return _Line(*await opening)
        except OSError as error:  # TLS's errors and a TimeoutError, too
            raise _unreachable(uri, origin, error) from error


def _head(method: str, url: URL, headers: Mapping[str, str], length: int) -> bytes:
    """A request's first lines."""
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
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


def _broken(uri: object, origin: Origin) -> FetchError:
    reason = f"the connection to {origin[1]}:{origin[2]} broke off"
    return FetchError(uri, reason, FetchFailure.BROKEN)


def _unreachable(uri: object, origin: Origin, error: OSError) -> FetchError:
    where = f"{origin[1]}:{origin[2]}"
    if isinstance(error, ssl.SSLError):
        reason = f"no trusted TLS with {where}; check its certificate and this machine's clock"
        return FetchError(uri, reason, FetchFailure.UNREACHABLE, transient=False)
    because = "it does not answer" if isinstance(error, TimeoutError) else error.strerror
    reason = f"cannot connect to {where}: {because or 'no connection'}"
    return FetchError(uri, reason, FetchFailure.UNREACHABLE)
