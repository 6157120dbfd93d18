"""Files of the web: http:// and https://. One file at a time; there are no folders to list.

Sizes are checked against what the server announces, and a file that grew from several answers
against its validator: the strong ETag, else the time of its last change. A server that has neither
is read in one go, every time from the beginning.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import aiohttp
from yarl import URL

from pytq.fetch.engine import Item, Wanted
from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.ranged import Answer, Download
from pytq.fetch.threads import Threads
from pytq.fetch.transfer import Entry, Meter
from pytq.fetch.web import Web, content_range, refused
from pytq.schema.uris import Uri

PAGE_NAMES: Final = (".htm", ".html", ".xhtml", ".shtml")
# How files of a kind begin. What begins so is no page, whatever the server calls it.
MAGIC: Final = {
    (".gz", ".bgz", ".tgz", ".bam", ".bcf"): b"\x1f\x8b",
    (".bz2", ".tbz2"): b"BZh",
    (".xz", ".txz"): b"\xfd7zXZ",
    (".zst",): b"\x28\xb5\x2f\xfd",
    (".zip",): b"PK",
}
PAGE_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
LOOK_BYTES: Final = 64  # of a file's beginning
_PACKED: Final = (".gz", ".bgz", ".tgz", ".bz2", ".xz", ".zst", ".br", ".z")
_QUOTED: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_PAGE: Final = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)


class HttpEngine:
    """Downloads from web servers, in ranges where they are served."""

    def __init__(self, web: Web, threads: Threads) -> None:
        self._web = web
        self._threads = threads
        self._rangeless: set[str] = set()  # hosts that were asked for a range and gave all

    async def get(self, uri: Uri, place: Path, wanted: Wanted, meter: Meter) -> None:
        """Bring one file."""
        source = _HttpSource(self._web, uri, self._rangeless, proved=wanted.checksum is not None)
        try:
            await Download(uri, source, place, wanted, meter, self._threads).run()
        except FetchError as error:
            if error.kind is FetchFailure.CHANGED:
                # Or its mirrors disagree about its validator: the next try is a single answer.
                self._rangeless.add(location(uri).authority)
            raise

    async def walk(self, uri: Uri) -> AsyncIterator[Item]:
        """The one file."""
        if uri.is_folder:
            reason = f"{uri.scheme}:// has no folders to list; name each file"
            raise FetchError(uri, reason, FetchFailure.UNSUPPORTED)
        async with self._web.ask(uri, "HEAD", location(uri)) as response:
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise refused(uri, response)
            size, at = response.content_length, _date(response.headers)
            version = _version(response.headers)
            yield Item(uri, Entry(str(uri), size, at, None, _name(uri), version))

    async def close(self) -> None:
        """The session is shared, and closed by its owner."""


class _HttpSource:
    """One file of a web server."""

    def __init__(self, web: Web, uri: Uri, rangeless: set[str], *, proved: bool) -> None:
        self._web, self._uri, self._url = web, uri, location(uri)
        self._rangeless = rangeless
        self._proved = proved  # a checksum will tell, so that nothing has to be guessed

    @property
    def streams(self) -> int:
        """As many as the options allow, where ranges work."""
        return 1 if self._url.authority in self._rangeless else self._web.options.streams

    @asynccontextmanager
    async def open(self, start: int, end: int | None, version: str | None) -> AsyncIterator[Answer]:
        """Ask for a stretch; where that cannot be had, for all of it."""
        async with self._ask(self._range(start, end, version)) as response:
            if response.status == HTTPStatus.PARTIAL_CONTENT:
                answer = self._part(response, start)
                if start or answer.version is not None or answer.end == answer.size:
                    yield answer
                    return
            elif response.status == HTTPStatus.OK:
                if start:
                    self._rangeless.add(self._url.authority)
                yield self._whole(response)
                return
            elif response.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise refused(self._uri, response)
        # A range of an empty file, or of one that cannot be told from its successor: all at once.
        async with self._ask({}) as response:
            if response.status != HTTPStatus.OK:
                raise refused(self._uri, response)
            yield self._whole(response)

    def _ask(
        self, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._web.ask(self._uri, "GET", self._url, headers=headers)

    def _range(self, start: int, end: int | None, version: str | None) -> dict[str, str]:
        if (not start and end is None) or self._url.authority in self._rangeless:
            return {}
        asked = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        if version is not None:
            asked["If-Range"] = version  # when it is another one now, all of it comes
        return asked

    def _part(self, response: aiohttp.ClientResponse, asked: int) -> Answer:
        found = content_range(response.headers)
        if found is None or found[0] != asked:
            reason = "the server gives another range than the one it was asked for"
            raise FetchError(self._uri, reason, FetchFailure.UNSUPPORTED)
        self._check_encoding(response)
        start, end, size = found
        return Answer(self._body(response, start), start, end, size, _version(response.headers))

    def _whole(self, response: aiohttp.ClientResponse) -> Answer:
        self._check_encoding(response)
        size = response.content_length
        framed = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
        version = _version(response.headers)
        return Answer(self._body(response, 0), 0, size, size, version, framed=framed)

    def _check_encoding(self, response: aiohttp.ClientResponse) -> None:
        """Take a file as it is stored; a `.gz` that is called gzip-encoded is just that."""
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity") and not _name(self._uri).endswith(_PACKED):
            reason = f"the server packs it ({encoding}), although it was asked not to"
            raise FetchError(self._uri, reason, FetchFailure.UNSUPPORTED)

    async def _body(self, response: aiohttp.ClientResponse, start: int) -> AsyncIterator[bytes]:
        """The bytes as they come, after a look at the first of them."""
        head = b""
        unseen = start == 0 and not self._proved
        async for piece in response.content.iter_any():
            if not unseen:
                yield piece
                continue
            head += piece
            if len(head) >= LOOK_BYTES:
                unseen = False
                self._check_no_page(head, response)
                yield head
        if unseen and head:
            self._check_no_page(head, response)
            yield head

    def _check_no_page(self, head: bytes, response: aiohttp.ClientResponse) -> None:
        """Refuse the page of a portal, a login or an error that stands in for a file."""
        name = _name(self._uri).lower()
        if name.endswith(PAGE_NAMES) or _begins_right(name, head):
            return
        if response.content_type in PAGE_TYPES or _PAGE.match(head):
            reason = (
                "a web page came instead of a file: a login, a portal or an error; look at it"
                " with a browser, or give the file's checksum if the page is what you want"
            )
            raise FetchError(self._uri, reason, FetchFailure.CORRUPT, transient=True)


def location(uri: Uri) -> URL:
    """The URL to ask for: as it stands when it is quoted already, else quoted."""
    text = f"{uri.scheme}://{uri.host}{uri.path.partition('#')[0]}"
    return URL(text, encoded=_QUOTED.fullmatch(text) is not None)


def _name(uri: Uri) -> str:
    return unquote(uri.path.partition("?")[0].rsplit("/", 1)[-1])


def _begins_right(name: str, head: bytes) -> bool:
    return any(name.endswith(ends) and head.startswith(magic) for ends, magic in MAGIC.items())


def _version(headers: Mapping[str, str]) -> str | None:
    """What tells one content from its successor, in the form that If-Range wants."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["Last-Modified"])
    except (KeyError, ValueError):
        return None
