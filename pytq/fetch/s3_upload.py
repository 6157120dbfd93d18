"""Uploads to S3: in one request, or in parts that are given up when not all of them arrive.

The store checks what it gets against what the signature covers: the SHA-256, or of a small object
the MD5. An ETag that is an MD5 is compared besides, and one in parts is looked at again.
"""

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from aiohttp import ClientResponse

from pytq.fetch import retry
from pytq.fetch.errors import FetchError, FetchFailure, local_error
from pytq.fetch.folders import first_of
from pytq.fetch.s3_account import Bucket, Facts, explained, failure, md5_of
from pytq.fetch.s3_body import READ, Body, Counted
from pytq.fetch.threads import Threads, ended, surely
from pytq.fetch.transfer import Meter
from pytq.fetch.verify import check_size, check_sum, feed, new_hash
from pytq.fetch.web import Web, alive, beginning
from pytq.fetch.wire import BODY_BYTES, Origin
from pytq.schema.uris import Uri

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

T = TypeVar("T")

PART: Final = 16 * 1024 * 1024
PARTS: Final = 10_000  # S3 takes no more
ABORT_SECONDS: Final = 15.0
_COMPOSITE: Final = re.compile(r'"?([0-9a-f]{32}-[0-9]+)"?')


@dataclass(frozen=True, slots=True)
class Upload:
    """One file on its way into a bucket; its size is what the meter expects."""

    web: Web
    bucket: Bucket
    origin: Origin | None  # where small requests may go
    uri: Uri
    place: Path
    threads: Threads
    meter: Meter

    @property
    def small(self) -> bool:
        """Whether it goes over the wire, without its SHA-256."""
        return self.origin is not None and self.meter.total <= BODY_BYTES

    async def run(self) -> None:
        """Send the file, and see that the store has what was sent."""
        size = self.meter.total
        if self.origin is not None and self.small:
            await self._send_small(size, self.origin)
        elif size <= PART:
            await self._check_tag(*await self._send(0, size, ""))
        else:
            await self._in_parts(size)

    async def _send_small(self, size: int, origin: Origin) -> None:
        """One visit to the disk, one request: a folder may have a million of these.

        The MD5, which is signed, vouches for the body in one pass of one hash.
        """
        content, md5 = await self._disk(partial(_read, self.place, size))
        if len(content) != size:
            reason = f"{self.place} became shorter while it was sent"
            raise FetchError(self.uri, reason, FetchFailure.CHANGED)
        more = {"Content-MD5": base64.b64encode(bytes.fromhex(md5)).decode()}
        target, headers = await self.bucket.signed("PUT", self.uri, headers=more)
        reply = await self.web.ask_small(self.uri, origin, "PUT", target, headers, content)
        if reply.status != HTTPStatus.OK:
            raise failure(self.uri, reply.status, reply.text, reply.headers)
        self.meter.add(size)
        await self._check_tag(reply.headers.get("ETag"), md5)

    async def _check_tag(self, tag: str | None, md5: str) -> None:
        found = md5_of(tag)
        if found is not None and found != f"md5:{md5}" and (await self._facts()).plain:
            check_sum(self.uri, found, f"md5:{md5}", transient=True)

    async def _in_parts(self, size: int) -> None:
        upload = await self._begin()
        try:
            tags = await self._send_parts(size, upload)
            await self._complete(upload, tags)
        except BaseException:
            await self._give_up(upload)
            raise
        await self._verify(size, tags)

    async def _begin(self) -> str:
        """Open an upload; when we are cancelled meanwhile, it is not left open."""
        opening = asyncio.ensure_future(
            self.bucket.client.create_multipart_upload(Bucket=self.uri.host, Key=self.uri.path)
        )
        with explained(self.uri):
            try:
                return (await asyncio.shield(opening))["UploadId"]
            except asyncio.CancelledError:
                await ended(opening, ABORT_SECONDS)
                if opening.done() and not opening.cancelled() and opening.exception() is None:
                    await self._give_up(opening.result()["UploadId"])
                raise

    async def _give_up(self, upload: str) -> None:
        """Parts that are not given up are paid for, and shown to nobody."""
        abort = self.bucket.client.abort_multipart_upload(
            Bucket=self.uri.host, Key=self.uri.path, UploadId=upload
        )
        await surely(abort, ABORT_SECONDS)

    async def _send_parts(self, size: int, upload: str) -> list[str]:
        """Send all parts, some side by side; their ETags, in order."""
        step = max(PART, -(-size // PARTS))
        starts = list(range(0, size, step))
        tags = [""] * len(starts)
        left = iter(enumerate(starts))

        async def sender() -> None:
            for number, start in left:
                query = f"?partNumber={number + 1}&uploadId={quote(upload, safe='')}"
                sending = partial(self._send, start, min(step, size - start), query)
                tags[number] = (await retry.persist(sending, self.web.options))[0]

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.web.options.streams, len(starts))):
                    group.create_task(sender())
        except BaseExceptionGroup as failures:
            raise first_of(failures) from None
        return tags

    async def _send(self, start: int, length: int, query: str) -> tuple[str, str]:
        """Send one stretch of the file as one request; its ETag, and its MD5 where it is known."""
        digest, md5, content = await self._disk(partial(self._hash, start, length, whole=not query))
        target, headers = await self.bucket.signed("PUT", self.uri, query, digest)
        headers["Content-Length"] = str(length)
        if md5:
            headers["Content-MD5"] = base64.b64encode(bytes.fromhex(md5)).decode()
        counted = Counted(self.meter)
        async with alive(self.uri, self.web.options.stall) as beat:
            body = Body(content, self.place, start, length, self.threads, counted, beat)
            try:
                async with self.web.ask(
                    self.uri,
                    "PUT",
                    self.bucket.url(target),
                    headers=headers,
                    data=body,
                    redirects=False,
                    trust=self.bucket.trust,
                ) as response:
                    return await self._accepted(response), md5
            except BaseException:
                body.abandon()
                counted.take_back()
                raise

    async def _accepted(self, response: ClientResponse) -> str:
        text = await beginning(response)
        if response.status != HTTPStatus.OK:
            raise failure(self.uri, response.status, text, response.headers)
        return response.headers.get("ETag", "")

    def _hash(self, start: int, length: int, *, whole: bool) -> tuple[str, str, bytes | None]:
        """A stretch's SHA-256, for the signature, and its MD5, where that is looked at.

        And its content, if that is so little that it can be kept.
        """
        sha256, md5 = new_hash("sha256"), new_hash("md5")
        both = whole or self.bucket.credentials is None  # without a signature MD5 has to do
        kept: list[bytes] = []

        def sink(piece: memoryview) -> None:
            sha256.update(piece)
            if both:
                md5.update(piece)
            if length <= READ:
                kept.append(bytes(piece))

        feed(self.place, start, length, sink)
        content = b"".join(kept) if length <= READ else None
        return sha256.hexdigest(), md5.hexdigest() if both else "", content

    async def _complete(self, upload: str, tags: list[str]) -> None:
        parts: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)
        ]

        async def attempt() -> None:
            with explained(self.uri):
                await self.bucket.client.complete_multipart_upload(
                    Bucket=self.uri.host,
                    Key=self.uri.path,
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                )

        try:
            await retry.persist(attempt, self.web.options)
        except FetchError:
            # Where only the answer was lost, the object is there.
            composite = _composite(tags)
            if composite is None or (await self._facts()).tag.strip('"') != composite:
                raise

    async def _verify(self, size: int, tags: list[str]) -> None:
        """Look at what the store has."""
        facts = await self._facts()
        check_size(self.uri, facts.size, size, transient=True)
        composite, found = _composite(tags), _COMPOSITE.fullmatch(facts.tag)
        if facts.plain and composite and found and found[1] != composite:
            reason = "the store has put its parts together wrongly"
            raise FetchError(self.uri, reason, FetchFailure.CORRUPT, transient=True)

    async def _facts(self) -> Facts:
        return await retry.persist(lambda: self.bucket.facts(self.uri), self.web.options)

    async def _disk(self, work: Callable[[], T]) -> T:
        try:
            return await self.threads.run(work)
        except OSError as error:
            raise local_error(self.uri, error) from error


def _read(place: Path, size: int) -> tuple[bytes, str]:
    """A small file, and its MD5."""
    file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.pread(file, size, 0)
    finally:
        os.close(file)
    return content, hashlib.md5(content, usedforsecurity=False).hexdigest()


def _composite(tags: list[str]) -> str | None:
    """The ETag of an object in parts: the MD5 of its parts' MD5s, and how many they are."""
    joint = new_hash("md5")
    for tag in tags:
        found = md5_of(tag)
        if found is None:
            return None
        joint.update(bytes.fromhex(found.removeprefix("md5:")))
    return f"{joint.hexdigest()}-{len(tags)}"
