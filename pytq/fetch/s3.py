"""S3, and what speaks like it: one object, or all below a prefix that ends in `/`.

aioboto3 finds credentials, region and endpoint, lists and deletes. Small objects come and go over
`wire`, signed by `s3_sign`: there may be a million of them. Of the others obstore moves what comes;
what goes, goes through our own HTTP, because only so an upload is seen byte by byte and can be
called off. Every range asks for the same ETag, so that an object replaced under way is noticed.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Final

from yarl import URL

from pytq.fetch import retry
from pytq.fetch.engine import Item, Wanted
from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.ranged import Answer, Download, Source, is_small
from pytq.fetch.s3_account import Account, Bucket, EmptyError, explained, failure, md5_of
from pytq.fetch.s3_objects import Objects, exact
from pytq.fetch.s3_upload import Upload
from pytq.fetch.threads import Threads
from pytq.fetch.transfer import Meter
from pytq.fetch.web import Web, beginning, content_range
from pytq.fetch.wire import Origin
from pytq.schema.uris import Uri


class S3Engine:
    """Moves objects of S3."""

    def __init__(self, web: Web, threads: Threads) -> None:
        self._web = web
        self._threads = threads
        self._account = Account(web.options)
        self._objects: dict[str, Objects] = {}
        self._origins: dict[str, Origin | None] = {}
        self._opaque: set[str] = set()  # buckets whose ETags are not made of MD5s
        self._strict: set[str] = set()  # buckets that want the SHA-256 of all that comes

    async def get(self, uri: Uri, place: Path, wanted: Wanted, meter: Meter) -> None:
        """Bring one object."""
        bucket = await self._account.bucket(uri)
        opaque, origin = uri.host in self._opaque, self._origin_of(bucket)
        source: Source
        if origin is not None and is_small(wanted):
            source = _SmallSource(self._web, bucket, origin, uri, opaque=opaque)
        else:
            source = _S3Source(self._web, bucket, self._of(bucket), uri, opaque=opaque)
        try:
            await Download(uri, source, place, wanted, meter, self._threads).run()
        except FetchError as error:
            if error.kind is FetchFailure.CORRUPT and not (await bucket.facts(uri)).plain:
                self._opaque.add(uri.host)  # then the next try knows better
            raise

    async def put(self, place: Path, uri: Uri, tag: str, meter: Meter) -> None:  # noqa: ARG002 - an upload shows only when it is complete, so it needs no name of its own
        """Take one file there; back when the store has it, with the right checksum."""
        bucket = await self._account.bucket(uri)
        origin = None if uri.host in self._strict else self._origin_of(bucket)
        upload = Upload(self._web, bucket, origin, uri, place, self._threads, meter)
        try:
            await upload.run()
        except FetchError as error:
            if error.kind is not FetchFailure.DENIED or not upload.small:
                raise
            await replace(upload, origin=None).run()  # its policy may want all of it signed
            self._strict.add(uri.host)

    def _of(self, bucket: Bucket) -> Objects:
        if bucket.name not in self._objects:
            self._objects[bucket.name] = Objects(bucket, self._web.options)
        return self._objects[bucket.name]

    def _origin_of(self, bucket: Bucket) -> Origin | None:
        if bucket.name not in self._origins:
            self._origins[bucket.name] = self._web.direct(URL(bucket.base), bucket.trust)
        return self._origins[bucket.name]

    async def walk(self, uri: Uri) -> AsyncIterator[Item]:
        """Every object below a prefix; markers of empty folders are left out."""
        bucket = await self._account.bucket(uri)
        if not uri.is_folder:
            yield await self._head(bucket, uri)
            return
        token = ""
        while True:
            found = await retry.persist(lambda: bucket.list_page(uri, token), self._web.options)  # noqa: B023 - awaited before the token changes
            for one in found.get("Contents", []):
                key, size = one["Key"], one["Size"]
                if size or not key.endswith("/"):
                    name = key.removeprefix(uri.path)
                    yield bucket.item(uri, key, name, size, one["LastModified"], one["ETag"])
            if not found.get("IsTruncated"):
                return
            token = found["NextContinuationToken"]

    async def remove(self, uri: Uri) -> None:
        """Remove one object."""
        bucket = await self._account.bucket(uri)
        await self._head(bucket, uri)  # S3 itself would not say that there is none
        with explained(uri):
            await bucket.client.delete_object(Bucket=uri.host, Key=uri.path)

    def folder(self, uri: Uri, tag: str) -> AbstractAsyncContextManager[Uri]:  # noqa: ARG002 - see put
        """Objects go straight to their places: there is no renaming in S3."""
        return nullcontext(uri)

    async def close(self) -> None:
        """Let go of the control connections."""
        await self._account.close()

    async def _head(self, bucket: Bucket, uri: Uri) -> Item:
        facts = await bucket.facts(uri)
        return bucket.item(uri, uri.path, uri.basename, facts.size, facts.modified, facts.tag)


class _S3Source:
    """One object."""

    def __init__(
        self, web: Web, bucket: Bucket, objects: Objects, uri: Uri, *, opaque: bool
    ) -> None:
        self._web, self._bucket, self._objects, self._uri = web, bucket, objects, uri
        self._opaque = opaque
        self.streams = web.options.streams

    @asynccontextmanager
    async def open(self, start: int, end: int | None, version: str | None) -> AsyncIterator[Answer]:
        """Ask for a stretch of the object."""
        try:
            async with self._asked(start, end, version) as answer:
                yield replace(answer, checksum=None) if self._opaque else answer
        except EmptyError:
            yield Answer(_nothing(), 0, 0, 0, None)

    def _asked(
        self, start: int, end: int | None, version: str | None
    ) -> AbstractAsyncContextManager[Answer]:
        if exact(self._uri.path):
            return self._by_obstore(start, end, version)
        return self._by_hand(start, end, version)

    @asynccontextmanager
    async def _by_obstore(
        self, start: int, end: int | None, version: str | None
    ) -> AsyncIterator[Answer]:
        asking = self._objects.open(self._uri, start, end, version)
        async with self._web.slot(self._bucket.base), asking as answer:
            yield answer

    @asynccontextmanager
    async def _by_hand(
        self, start: int, end: int | None, version: str | None
    ) -> AsyncIterator[Answer]:
        """Keys that obstore would change."""
        target, headers = await self._bucket.signed("GET", self._uri)
        url = self._bucket.url(target)
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if version is not None:
            headers["If-Match"] = version
        async with self._web.ask(
            self._uri, "GET", url, headers=headers, redirects=False, trust=self._bucket.trust
        ) as response:
            if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                text = await beginning(response)
                raise failure(self._uri, response.status, text, response.headers)
            begin, stop, size = content_range(response.headers) or (
                (0, response.content_length, response.content_length)
            )
            tag = response.headers.get("ETag")
            body = response.content.iter_any()
            yield Answer(body, begin, stop, size, tag, md5_of(tag))


class _SmallSource:
    """One object that comes in one go."""

    streams: Final = 1

    def __init__(self, web: Web, bucket: Bucket, origin: Origin, uri: Uri, *, opaque: bool) -> None:
        self._web, self._bucket, self._origin, self._uri = web, bucket, origin, uri
        self._opaque = opaque

    @asynccontextmanager
    async def open(self, start: int, end: int | None, version: str | None) -> AsyncIterator[Answer]:  # noqa: ARG002 - all of it, always
        """Fetch all of it."""
        target, headers = await self._bucket.signed("GET", self._uri)
        reply = await self._web.ask_small(self._uri, self._origin, "GET", target, headers)
        if reply.status != HTTPStatus.OK:
            raise failure(self._uri, reply.status, reply.text, reply.headers)
        size, tag = len(reply.body), reply.headers.get("ETag")
        known = None if self._opaque else md5_of(tag)
        yield Answer(_whole(reply.body), 0, size, size, tag, known)


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _nothing() -> AsyncIterator[bytes]:
    for _ in range(0):
        yield b""
