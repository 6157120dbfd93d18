"""S3, and what speaks like it: one object, or all below a prefix that ends in `/`.

aioboto3 finds credentials, region and endpoint, lists and deletes; the bytes go through our own
HTTP, signed by botocore: measured as fast as the fastest library there is, with every byte seen,
keys exactly as they are, and an upload that can be called off. Every range asks for the same ETag,
so that an object replaced under way is noticed.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp

from pytq.fetch import retry
from pytq.fetch.engine import Item, Wanted
from pytq.fetch.ranged import Answer, Download
from pytq.fetch.s3_account import Account, Bucket, explained, failure, md5_of
from pytq.fetch.s3_upload import Upload
from pytq.fetch.threads import Threads
from pytq.fetch.transfer import Meter
from pytq.fetch.web import Web, beginning, content_range
from pytq.schema.uris import Uri

PAGE: Final = 1_000  # objects of one listing


class S3Engine:
    """Moves objects of S3."""

    def __init__(self, web: Web, threads: Threads) -> None:
        self._web = web
        self._threads = threads
        self._account = Account(web.options)

    async def get(self, uri: Uri, place: Path, wanted: Wanted, meter: Meter) -> None:
        """Bring one object."""
        bucket = await self._account.bucket(uri)
        source = _S3Source(self._web, bucket, uri)
        await Download(uri, source, place, wanted, meter, self._threads).run()

    async def put(self, place: Path, uri: Uri, tag: str, meter: Meter) -> None:  # noqa: ARG002 - an upload shows only when it is complete, so it needs no name of its own
        """Take one file there; back when the store has it, with the right checksum."""
        bucket = await self._account.bucket(uri)
        await Upload(self._web, bucket, uri, place, self._threads, meter).run()

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
        with explained(uri):
            found = await bucket.client.head_object(Bucket=uri.host, Key=uri.path)
        size, at, tag = found["ContentLength"], found["LastModified"], found["ETag"]
        return bucket.item(uri, uri.path, uri.basename, size, at, tag)


class _S3Source:
    """One object."""

    def __init__(self, web: Web, bucket: Bucket, uri: Uri) -> None:
        self._web, self._bucket, self._uri = web, bucket, uri
        self.streams = web.options.streams

    @asynccontextmanager
    async def open(self, start: int, end: int | None, version: str | None) -> AsyncIterator[Answer]:
        """Ask for a stretch of the object."""
        headers = {}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if version is not None:
            headers["If-Match"] = version
        url, signed = await self._bucket.signed("GET", self._uri)
        async with self._web.ask(
            self._uri, "GET", url, headers=signed | headers, redirects=False
        ) as response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and not start:
                # Only an empty object has no first byte.
                yield Answer(_nothing(), 0, 0, 0, None)
                return
            if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                raise failure(
                    self._uri, response.status, await beginning(response), response.headers
                )
            yield self._answer(response)

    def _answer(self, response: aiohttp.ClientResponse) -> Answer:
        headers = response.headers
        begin, end, size = content_range(headers) or (0, None, response.content_length)
        body = response.content.iter_any()
        sum_ = md5_of(headers)
        return Answer(body, begin, size if end is None else end, size, headers.get("ETag"), sum_)


async def _nothing() -> AsyncIterator[bytes]:
    for _ in range(0):
        yield b""
