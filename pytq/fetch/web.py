"""What http(s):// and S3 share: one session, requests with patience, errors told as ours."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from pytq import __version__
from pytq.fetch.bounds import Bounds
from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.options import FetchOptions
from pytq.fetch.wire import Origin, Reply, Wire

READ_BUFFER: Final = 256 * 1024
REDIRECTS: Final = 10
LINE_BYTES: Final = 32 * 1024  # a signed URL in a redirect is long
ERROR_BYTES: Final = 64 * 1024  # of an error's page, which may explain it
HEADERS: Final = {"User-Agent": f"pytq/{__version__}", "Accept-Encoding": "identity"}

_MISSING: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_DENIED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, 425, HTTPStatus.TOO_MANY_REQUESTS})
_SERVER_ERROR: Final = 500
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)$")


_Errors = type[BaseException] | tuple[type[BaseException], ...]
# An error of aiohttp, the first that fits: what it means, of which kind it is, whether it may pass
# (None: as its kind does).
_TROUBLES: Final[list[tuple[_Errors, str, FetchFailure, bool | None]]] = [
    (
        aiohttp.ConnectionTimeoutError,
        "{host}:{port} does not answer",
        FetchFailure.UNREACHABLE,
        None,
    ),
    (
        (aiohttp.SocketTimeoutError, TimeoutError),
        "no byte for {stall} s",
        FetchFailure.STALLED,
        None,
    ),
    (
        aiohttp.ClientSSLError,
        "no trusted TLS with {host}:{port}; check its certificate and this machine's clock",
        FetchFailure.UNREACHABLE,
        False,
    ),
    (
        aiohttp.ClientConnectorDNSError,
        "nobody knows the host {host}",
        FetchFailure.UNREACHABLE,
        None,
    ),
    (
        aiohttp.ClientConnectorError,
        "cannot connect to {host}:{port}: {because}",
        FetchFailure.UNREACHABLE,
        None,
    ),
    (
        aiohttp.TooManyRedirects,
        f"{REDIRECTS} redirects, one after the other, lead nowhere",
        FetchFailure.UNSUPPORTED,
        None,
    ),
    (
        aiohttp.InvalidURL,
        "is, or redirects to, no usable URL",
        FetchFailure.UNSUPPORTED,
        None,
    ),
    (
        aiohttp.ClientResponseError,
        "the answer of {host} is no proper HTTP",
        FetchFailure.BROKEN,
        None,
    ),
    (
        BaseException,
        "the connection to {host}:{port} broke off",
        FetchFailure.BROKEN,
        None,
    ),
]


class Web:
    """One HTTP session of a process: made when it is first needed."""

    def __init__(self, options: FetchOptions, bounds: Bounds) -> None:
        self.options = options
        self._bounds = bounds
        self._session: aiohttp.ClientSession | None = None
        self._wire = Wire(options)
        self._usual: ssl.SSLContext | None = None
        self._proxies = getproxies()

    def slot(self, url: str) -> AbstractAsyncContextManager[None]:
        """A slot for what others do with the host of a URL."""
        return self._bounds.slot(URL(url).authority)

    @asynccontextmanager
    async def ask(
        self,
        uri: object,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        redirects: bool = True,
        trust: ssl.SSLContext | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Wait for a slot, ask, and give the answer, whatever its status.

        `trust`: whom to believe a certificate, if not those whom this machine trusts.
        What goes wrong, also while the answer is read, becomes a FetchError.
        """
        async with self._bounds.slot(url.authority):
            with told(uri, url, self.options.stall):
                async with self._opened().request(
                    method,
                    url,
                    headers=headers,
                    data=data,
                    allow_redirects=redirects,
                    max_redirects=REDIRECTS,
                    proxy=self._proxy(url),
                    ssl=trust or True,
                ) as response:
                    yield response

    def direct(self, url: URL, trust: ssl.SSLContext | None) -> Origin | None:
        """Where `ask_small` gets to a URL, if there is no proxy in between."""
        if self._proxy(url) is not None or url.host is None or url.port is None:
            return None
        if url.scheme == "https" and trust is None:
            trust = self._usual = self._usual or ssl.create_default_context()
        safe = trust if url.scheme == "https" else None
        return Origin(url.authority, url.host, url.port, safe)

    async def ask_small(
        self,
        uri: object,
        origin: Origin,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes = b"",
    ) -> Reply:
        """The same for what is small both ways: quicker, and without redirects."""
        async with self._bounds.slot(origin.name), alive(uri, self.options.stall) as beat:
            everything = {**HEADERS, **headers}
            return await self._wire.ask(uri, origin, method, target, everything, body, beat)

    async def close(self) -> None:
        """Let go of connections."""
        await self._wire.close()
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)  # the turn of the loop in which its sockets are closed

    def _proxy(self, url: URL) -> str | None:
        """The proxy that this machine's environment names; aiohttp would read .netrc, too."""
        if not self._proxies or url.host is None or proxy_bypass(url.authority):
            return None
        return self._proxies.get(url.scheme) or self._proxies.get("all")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            patience = aiohttp.ClientTimeout(
                total=None, sock_connect=self.options.connect, sock_read=self.options.stall
            )
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the bounds are ours
                timeout=patience,
                read_bufsize=READ_BUFFER,
                auto_decompress=False,  # bytes as they are stored, or sizes mean nothing
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=HEADERS,
                skip_auto_headers=("Content-Type", "Accept"),
                max_line_size=LINE_BYTES,
                max_field_size=LINE_BYTES,
            )
        return self._session


class told:  # noqa: N801 - read as a word: `with told(...)`
    """Turns aiohttp's errors into ours, with no URL in them but the user's own."""

    def __init__(self, uri: object, url: URL, stall: float) -> None:
        self._uri, self._url, self._stall = uri, url, stall

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, aiohttp.ClientError | ssl.SSLError | OSError):
            facts = {"host": self._url.host, "port": self._url.port, "stall": f"{self._stall:g}"}
            if isinstance(error, aiohttp.ClientConnectorError):
                facts["because"] = error.os_error.strerror or "no connection"
            _, reason, kind, transient = next(row for row in _TROUBLES if isinstance(error, row[0]))
            reason = reason.format_map(facts)
            raise FetchError(self._uri, reason, kind, transient=transient) from error


def refused(uri: object, response: aiohttp.ClientResponse, because: str = "") -> FetchError:
    """Why a server did not give what it was asked for."""
    status = response.status
    said = f"the server answers {status} {because or response.reason or ''}".rstrip()
    if status in _MISSING:
        return FetchError(uri, said, FetchFailure.MISSING)
    if status in _DENIED:
        return FetchError(uri, said, FetchFailure.DENIED)
    if status >= _SERVER_ERROR or status in _LATER:
        return FetchError(uri, said, FetchFailure.BUSY, retry_after=retry_after(response.headers))
    return FetchError(uri, said, FetchFailure.UNSUPPORTED)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait, by number or by date."""
    said = headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        at = parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds()) if at.tzinfo else None


def content_range(headers: Mapping[str, str]) -> tuple[int, int, int | None] | None:
    """Where a partial answer begins and ends (exclusive), and the size of the whole."""
    found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    if found is None:
        return None
    return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])


class alive:  # noqa: N801 - read as a word: `async with alive(...)`
    """Ends what is inside when it has not called the given function for `stall` seconds."""

    def __init__(self, uri: object, stall: float) -> None:
        self._uri, self._stall = uri, stall
        self._watch = asyncio.timeout(stall)
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Callable[[], None]:
        await self._watch.__aenter__()
        return self._beat

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._watch.__aexit__(kind, raised, trace)
        except TimeoutError as error:
            reason = f"no byte for {self._stall:g} s"
            raise FetchError(self._uri, reason, FetchFailure.STALLED) from error

    def _beat(self) -> None:
        self._watch.reschedule(self._loop.time() + self._stall)


async def beginning(response: aiohttp.ClientResponse) -> str:
    """The first text of an answer that explains an error."""
    try:
        async with asyncio.timeout(10):
            return (await response.content.read(ERROR_BYTES)).decode(errors="replace")
    except (TimeoutError, aiohttp.ClientError):
        return ""
