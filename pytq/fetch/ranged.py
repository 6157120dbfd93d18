"""Downloading from what can begin anywhere: in several streams, resumed, checked while it comes."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from pytq.fetch.engine import Wanted
from pytq.fetch.errors import FetchError, FetchFailure, local_error
from pytq.fetch.folders import first_of
from pytq.fetch.landing import MARK_BYTES, Landing, Stretch
from pytq.fetch.threads import Threads
from pytq.fetch.transfer import Meter
from pytq.fetch.verify import check_size, check_sum, feed, new_hash

T = TypeVar("T")

CHUNK: Final = 16 * 1024 * 1024  # what one stream asks for at once
CHUNKS: Final = 10_000  # of one file at most
WRITE: Final = 1024 * 1024  # bytes that gather before a thread writes them
HASHED: Final = 64 * 1024 * 1024  # in one go, so that a cancel need not wait for long
PIECES: Final = 1_000  # or so many pieces, however small
SMALL: Final = WRITE  # a file that is fetched in one go
# After these nothing that has come is of use.
_SPOILED: Final = frozenset({FetchFailure.CHANGED, FetchFailure.CORRUPT})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source gives when it is asked for a stretch."""

    pieces: AsyncIterator[bytes]
    start: int  # where they begin: 0 from a source that knows no ranges
    end: int | None  # where they end; None when it is not known
    size: int | None  # of the whole file; None when it is not known
    version: str | None  # the same as long as the content is; None when nobody can tell
    checksum: str | None = None  # of the whole file, where the source tells it
    framed: bool = False  # without a size: its end is marked, so that a lost one is noticed


class Source(Protocol):
    """One file somewhere else."""

    @property
    def streams(self) -> int:
        """How many stretches may be read at once; 1: from one end to the other."""

    def open(
        self, start: int, end: int | None, version: str | None
    ) -> AbstractAsyncContextManager[Answer]:
        """Ask for a stretch, of this version if one is given. `end` may lie beyond the file's.

        Raises FetchError (changed) when it knows that the version is gone.
        """


@dataclass(slots=True)
class Download:
    """One attempt at one file. `run` it once."""

    uri: object
    source: Source
    place: Path
    wanted: Wanted
    meter: Meter
    threads: Threads
    _sums: list[str] = field(default_factory=list)
    _hashes: "list[hashlib._Hash]" = field(default_factory=list)
    _hashed: int = 0
    _hashing: bool = False

    async def run(self) -> None:
        """Bring the file. Raises FetchError; what can be resumed then stays as a part."""
        if is_small(self.wanted):
            await self._bring_small()
            return
        landing = Landing(self.uri, self.place)
        try:
            await self._disk(landing.open)
            await self._bring(landing)
        except FetchError as error:
            spoiled = not error.transient or error.kind in _SPOILED
            await self._disk(landing.discard if spoiled else landing.leave)
            raise
        except BaseException:
            await self._disk(landing.leave)
            raise

    async def _bring_small(self) -> None:
        """One request, one visit to the disk: a folder may have a million of these."""
        self.meter.back_to(0)
        content = bytearray()
        async with self.source.open(0, None, None) as answer:
            self._agree(answer)
            async for piece in answer.pieces:
                self.meter.add(len(piece))
                content += piece
                if len(content) > SMALL:
                    reason = "was replaced by a larger one after it was listed"
                    raise FetchError(self.uri, reason, FetchFailure.CHANGED)
        _check_complete(self.uri, len(content), answer.size)
        await self._disk(lambda: self._save(bytes(content)))

    def _save(self, content: bytes) -> None:
        for hashed in self._hashes:
            hashed.update(content)
        self._check_sums()
        Landing.whole(self.uri, self.place, content)

    async def _bring(self, landing: Landing) -> None:
        start, end = self._first(landing)
        async with AsyncExitStack() as opened:
            asking = self.source.open(start, end, landing.version)
            answer = await opened.enter_async_context(asking)
            self._agree(answer)
            await self._disk(lambda: landing.begin(answer.version, answer.size))
            if answer.start != start:
                await self._disk(landing.restart)
            self.meter.back_to(landing.amount)
            try:
                await self._streams(landing, answer, opened)
            except BaseExceptionGroup as failures:
                raise first_of(failures) from None
        self._check_whole(landing)
        await self._disk(landing.settle)

    def _first(self, landing: Landing) -> tuple[int, int | None]:
        """What to ask for at first: of a file that nothing is known of, a first chunk."""
        start, end = 0, CHUNK
        if landing.version is not None and landing.size:
            # With nothing missing, a last byte tells whether the source is still the same.
            start, end = (landing.missing() or [(landing.size - 1, landing.size)])[0]
        return start, None if self.source.streams == 1 else min(end, start + CHUNK)

    def _agree(self, answer: Answer) -> None:
        """See that what is offered is what is wanted, before any of it is fetched."""
        wanted = self.wanted
        self._sums = [known for known in (wanted.checksum, answer.checksum) if known]
        self._hashes = [new_hash(known.partition(":")[0]) for known in self._sums]
        if answer.size is not None:
            check_size(self.uri, answer.size, wanted.size)
            self.meter.expect(answer.size)
        elif wanted.size is None and not self._sums and not answer.framed:
            reason = (
                "the server does not say how large it is, so nobody can tell whether all of it"
                " came; give its size or checksum, or fetch it from elsewhere"
            )
            raise FetchError(self.uri, reason, FetchFailure.UNSUPPORTED)

    async def _streams(self, landing: Landing, answer: Answer, opened: AsyncExitStack) -> None:
        """Read what has been opened and all else that is missing, side by side."""
        rest = self._rest(landing, answer)

        async def stream(first: Answer | None = None) -> None:
            if first is not None:
                await self._read(landing, first, group)
                await opened.aclose()  # its slot is free for others
            while rest:
                start, end = rest.popleft()
                async with self.source.open(start, end, answer.version) as another:
                    if (another.start, another.version) != (start, answer.version):
                        reason = "was replaced while it was fetched, or is not served in ranges"
                        raise FetchError(self.uri, reason, FetchFailure.CHANGED)
                    await self._read(landing, another, group)

        async with asyncio.TaskGroup() as group:
            self._hash_on(landing, group)
            group.create_task(stream(answer))
            for _ in range(min(self.source.streams - 1, len(rest))):
                group.create_task(stream())

    def _rest(self, landing: Landing, answer: Answer) -> deque[Stretch]:
        """The stretches to ask for beside the one that has been opened."""
        if answer.size is None or answer.end is None:
            return deque()
        chunk = max(CHUNK, -(-answer.size // CHUNKS))
        return deque(
            (begin, min(begin + chunk, end))
            for start, end in landing.missing_beside(answer.start, answer.end)
            for begin in range(start, end, chunk)
        )

    async def _read(self, landing: Landing, answer: Answer, group: asyncio.TaskGroup) -> None:
        """Write what one answer brings to its place; also what came before it broke off."""
        writing = _Writing(landing, answer.start)
        try:
            async for piece in answer.pieces:
                if answer.end is not None and writing.reached + len(piece) > answer.end:
                    reason = "the server sends more than it announced"
                    raise FetchError(self.uri, reason, FetchFailure.CORRUPT, transient=True)
                self.meter.add(len(piece))
                if writing.take(piece):
                    await self._disk(writing.flush)
                    self._hash_on(landing, group)
        finally:
            await self._disk(writing.finish)
        _check_complete(self.uri, writing.reached, answer.end)
        if answer.size is None:
            check_size(self.uri, writing.reached, self.wanted.size, transient=True)
            landing.size = writing.reached
        self._hash_on(landing, group)

    def _hash_on(self, landing: Landing, group: asyncio.TaskGroup) -> None:
        """Let checksums follow the bytes, while they are still in memory."""
        if self._hashes and not self._hashing and landing.frontier > self._hashed:
            self._hashing = True
            group.create_task(self._hash(landing))

    async def _hash(self, landing: Landing) -> None:
        def sink(piece: memoryview) -> None:
            self.meter.touch()
            for hashed in self._hashes:
                hashed.update(piece)

        while (amount := min(landing.frontier - self._hashed, HASHED)) > 0:
            await self._disk(partial(feed, landing.path, self._hashed, amount, sink))
            self._hashed += amount
        self._hashing = False

    def _check_whole(self, landing: Landing) -> None:
        gaps = landing.missing()
        if gaps:
            reason = f"the bytes from {gaps[0][0]} to {gaps[0][1]} did not come"
            raise FetchError(self.uri, reason, FetchFailure.BROKEN)
        self._check_sums()

    def _check_sums(self) -> None:
        for wanted, hashed in zip(self._sums, self._hashes, strict=True):
            found = f"{hashed.name}:{hashed.hexdigest()}"
            check_sum(self.uri, found, wanted, transient=True)

    async def _disk(self, work: Callable[[], T]) -> T:
        try:
            return await self.threads.run(work)
        except OSError as error:
            raise local_error(self.uri, error) from error


def is_small(wanted: Wanted) -> bool:
    """Whether a file comes in one go, as its listing says."""
    listed = wanted.listed
    return listed is not None and listed.size is not None and listed.size <= SMALL


class _Writing:
    """Bytes of one answer on their way to the disk."""

    def __init__(self, landing: Landing, start: int) -> None:
        self._landing = landing
        self._pieces: list[bytes] = []
        self._written = self._marked = self.reached = start

    def take(self, piece: bytes) -> bool:
        """Keep a piece; tells whether it is time to write."""
        self._pieces.append(piece)
        self.reached += len(piece)
        return self.reached - self._written >= WRITE or len(self._pieces) >= PIECES

    def flush(self) -> None:
        """Write what has gathered, and note it now and then."""
        pieces, self._pieces = self._pieces, []
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._landing.write(self._written, content)
        self._written += len(content)
        if self._written - self._marked >= MARK_BYTES:
            self._mark(self._written)

    def finish(self) -> None:
        """Write and note the rest."""
        self.flush()
        self._mark(self._written)

    def _mark(self, end: int) -> None:
        self._landing.mark(self._marked, end)
        self._marked = end


def _check_complete(uri: object, reached: int, end: int | None) -> None:
    if end is not None and reached < end:
        reason = f"the connection ended after {reached} of {end} bytes"
        raise FetchError(uri, reason, FetchFailure.BROKEN)
