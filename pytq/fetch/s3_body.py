"""A stretch of a file as the body of an HTTP request."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter

from pytq.fetch.parts import stretch
from pytq.fetch.threads import Threads
from pytq.fetch.transfer import Meter

PIECE: Final = 256 * 1024  # what goes to the socket at once
READ: Final = 1024 * 1024  # what is read from the disk at once


class Counted:
    """What one request has counted, to be taken back when it fails."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._amount = 0

    def add(self, amount: int) -> None:
        """Count bytes."""
        self._amount += amount
        self._meter.add(amount)

    def take_back(self) -> None:
        """Forget them: the request failed."""
        self._meter.add(-self._amount)
        self._amount = 0


class Body(Payload):
    """A stretch of a file as a request's body: read while it is sent, counted, sent again whole."""

    def __init__(
        self,
        content: bytes | None,
        place: Path,
        start: int,
        length: int,
        threads: Threads,
        counted: Counted,
        beat: Callable[[], None],
    ) -> None:
        super().__init__(None)
        self._content, self._place = content, place
        self._start, self._length = start, length
        self._threads, self._counted, self._beat = threads, counted, beat
        self._transport: asyncio.Transport | None = None
        self._size = length
        self._autoclose = True

    def decode(self, *_: object) -> str:
        """Refuse: it is no text."""
        raise TypeError("a file's content is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all of it."""
        self._counted.take_back()
        self._transport = getattr(writer, "transport", None)
        async for content in self._stretches():
            for position in range(0, len(content), PIECE):
                piece = content[position : position + PIECE]
                await writer.write(piece)
                self._counted.add(len(piece))
                self._beat()

    def abandon(self) -> None:
        """Hang up; a polite end would wait until a stalled peer takes the rest."""
        if self._transport is not None:
            self._transport.abort()

    async def _stretches(self) -> AsyncIterator[memoryview]:
        if self._content is not None:
            yield memoryview(self._content)
            return
        position, end = self._start, self._start + self._length
        while position < end:
            wanted = min(READ, end - position)
            content = await self._threads.run(partial(stretch, self._place, position, wanted))
            if not content:
                raise OSError(errno.EIO, "the file has become shorter")
            yield memoryview(content)
            position += len(content)
