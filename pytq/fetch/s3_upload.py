"""Uploads to S3: in one request, or in parts that are given up when not all of them arrive."""

import asyncio
import base64
import errno
import os
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from aiohttp import ClientResponse, Payload
from aiohttp.abc import AbstractStreamWriter

from pytq.fetch import retry
from pytq.fetch.errors import FetchError, FetchFailure, local_error
from pytq.fetch.folders import first_of
from pytq.fetch.s3_account import Bucket, explained, failure, md5_of
from pytq.fetch.threads import Threads, surely
from pytq.fetch.transfer import Meter
from pytq.fetch.verify import check_size, check_sum, feed, new_hash
from pytq.fetch.web import Web, alive, beginning
from pytq.schema.uris import Uri

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

T = TypeVar("T")

PART: Final = 16 * 1024 * 1024
PARTS: Final = 10_000  # S3 takes no more
PIECE: Final = 256 * 1024  # what goes to the socket at once
READ: Final = 1024 * 1024  # what is read from the disk at once
ABORT_SECONDS: Final = 15.0
_COMPOSITE: Final = re.compile(r'"?([0-9a-f]{32}-[0-9]+)"?')


class Upload:
    """One file on its way into a bucket; its size is what the meter expects."""

    def __init__(
        self, web: Web, bucket: Bucket, uri: Uri, place: Path, threads: Threads, meter: Meter
    ) -> None:
        self._web, self._bucket, self._uri = web, bucket, uri
        self._place, self._threads, self._meter = place, threads, meter

    async def run(self) -> None:
        """Send the file, and see that the store has what was sent."""
        size = self._meter.total
        if size <= PART:
            await self._send(0, size, "")
        else:
            await self._in_parts(size)

    async def _in_parts(self, size: int) -> None:
        client = self._bucket.client
        with explained(self._uri):
            begun = await client.create_multipart_upload(Bucket=self._uri.host, Key=self._uri.path)
        upload = begun["UploadId"]
        try:
            sums = await self._send_parts(size, upload)
            await self._complete(upload, sums)
        except BaseException:
            # Parts that are not given up are paid for, and shown to nobody.
            abort = client.abort_multipart_upload(
                Bucket=self._uri.host, Key=self._uri.path, UploadId=upload
            )
            await surely(abort, ABORT_SECONDS)
            raise
        await self._verify(size, sums)

    async def _send_parts(self, size: int, upload: str) -> list[tuple[str, bytes]]:
        """Send all parts, some side by side; their ETags and MD5s, in order."""
        step = max(PART, -(-size // PARTS))
        starts = list(range(0, size, step))
        sent: list[tuple[str, bytes]] = [("", b"")] * len(starts)
        left = iter(enumerate(starts))

        async def sender() -> None:
            for number, start in left:
                query = f"?partNumber={number + 1}&uploadId={quote(upload, safe='')}"
                length = min(step, size - start)
                sending = partial(self._send, start, length, query)
                sent[number] = await retry.persist(sending, self._web.options)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._web.options.streams, len(starts))):
                    group.create_task(sender())
        except BaseExceptionGroup as failures:
            raise first_of(failures) from None
        return sent

    async def _send(self, start: int, length: int, query: str) -> tuple[str, bytes]:
        """Send one stretch of the file as one request; its ETag and MD5."""
        hashed, content = await self._disk(partial(self._read, start, length))
        headers = {"Content-MD5": base64.b64encode(hashed).decode()}
        url, signed = await self._bucket.signed("PUT", self._uri, query, headers)
        signed["Content-Length"] = str(length)
        counted = _Counted(self._meter)
        try:
            async with alive(self._uri, self._web.options.stall) as beat:
                body = _Body(content, self._place, start, length, self._threads, counted, beat)
                async with self._web.ask(
                    self._uri, "PUT", url, headers=signed, data=body, redirects=False
                ) as response:
                    await self._check_taken(response, hashed)
                    return response.headers.get("ETag", ""), hashed
        except BaseException:
            counted.take_back()
            raise

    def _read(self, start: int, length: int) -> tuple[bytes, bytes | None]:
        """The MD5 of a stretch; and its content, if that is so little that it can be kept."""
        hashed = new_hash("md5")
        if length <= READ:
            with self._place.open("rb") as file:
                file.seek(start)
                content = file.read(length)
            hashed.update(content)
            return hashed.digest(), content
        feed(self._place, start, length, hashed.update)
        return hashed.digest(), None

    async def _check_taken(self, response: ClientResponse, hashed: bytes) -> None:
        text = await beginning(response)
        if response.status != HTTPStatus.OK:
            raise failure(self._uri, response.status, text, response.headers)
        found = md5_of(response.headers)
        if found is not None:
            check_sum(self._uri, found, f"md5:{hashed.hex()}", transient=True)

    async def _complete(self, upload: str, sent: list[tuple[str, bytes]]) -> None:
        parts: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": tag} for number, (tag, _) in enumerate(sent, 1)
        ]

        async def attempt() -> None:
            with explained(self._uri):
                await self._bucket.client.complete_multipart_upload(
                    Bucket=self._uri.host,
                    Key=self._uri.path,
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                )

        try:
            await retry.persist(attempt, self._web.options)
        except FetchError:
            # Where only the answer was lost, the object is there.
            if (await self._found())[1] != _composite(sent):
                raise

    async def _verify(self, size: int, sent: list[tuple[str, bytes]]) -> None:
        """Look at what the store has."""
        found, tag = await self._found()
        check_size(self._uri, found, size, transient=True)
        if tag is not None and tag != _composite(sent):
            reason = "the store has put its parts together wrongly"
            raise FetchError(self._uri, reason, FetchFailure.CORRUPT, transient=True)

    async def _found(self) -> tuple[int, str | None]:
        """The size of the object there, and its ETag if that is one made of MD5s."""
        with explained(self._uri):
            found = await self._bucket.client.head_object(Bucket=self._uri.host, Key=self._uri.path)
        tag = found["ETag"].strip('"')
        secret = found.get("ServerSideEncryption", "").startswith("aws:")
        return found["ContentLength"], tag if _COMPOSITE.fullmatch(tag) and not secret else None

    async def _disk(self, work: Callable[[], T]) -> T:
        try:
            return await self._threads.run(work)
        except OSError as error:
            raise local_error(self._uri, error) from error


def _composite(sent: list[tuple[str, bytes]]) -> str:
    """The ETag of an object in parts: the MD5 of their MD5s, and how many they are."""
    joint = new_hash("md5")
    for _, hashed in sent:
        joint.update(hashed)
    return f"{joint.hexdigest()}-{len(sent)}"


class _Counted:
    """What one request has counted, to be taken back when it fails."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._amount = 0

    def add(self, amount: int) -> None:
        self._amount += amount
        self._meter.add(amount)

    def take_back(self) -> None:
        self._meter.add(-self._amount)
        self._amount = 0


class _Body(Payload):
    """A stretch of a file as a request's body: read while it is sent, counted, sent again whole."""

    def __init__(
        self,
        content: bytes | None,
        place: Path,
        start: int,
        length: int,
        threads: Threads,
        counted: _Counted,
        beat: Callable[[], None],
    ) -> None:
        super().__init__(content)
        self._content, self._place, self._start, self._length = content, place, start, length
        self._threads, self._counted, self._beat = threads, counted, beat
        self._size = length
        self._autoclose = True

    def decode(self, *_: object) -> str:
        """Refuse: it is no text."""
        raise TypeError("a file's content is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all of it."""
        self._counted.take_back()
        async for content in self._stretches():
            for position in range(0, len(content), PIECE):
                piece = content[position : position + PIECE]
                await writer.write(piece)
                self._counted.add(len(piece))
                self._beat()

    async def _stretches(self) -> AsyncIterator[memoryview]:
        if self._content is not None:
            yield memoryview(self._content)
            return
        with await self._threads.run(partial(self._place.open, "rb", buffering=0)) as file:
            position, end = self._start, self._start + self._length
            while position < end:
                wanted = min(READ, end - position)
                content = await self._threads.run(
                    partial(os.pread, file.fileno(), wanted, position)
                )
                if not content:
                    raise OSError(errno.EIO, "the file has become shorter")
                yield memoryview(content)
                position += len(content)
