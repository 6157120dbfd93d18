"""Room on the disk of the work directory: whether something fits, and what goes to make it fit."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from pytq.schema.states import Cause
from pytq.worker.staging import StagingError
from pytq.worker.staging.disk import Disk, look, size
from pytq.worker.staging.job import Job

log = logging.getLogger(__name__)

T = TypeVar("T")

WATCH_SECONDS: Final = 0.5
# When a disk was found full, so much of it is freed before the next try, and the next.
RELIEFS: Final = (0.05, 0.25, 1.0)

Evict = Callable[[int], Awaitable[int]]  # bytes wanted -> bytes freed, or nearly


class Space:
    """The disk, those that can free something of it, and the jobs that are filling it."""

    def __init__(self, home: Path, high: float, evictors: Sequence[Evict]) -> None:
        self.home = home
        self._high = high
        self._evictors = evictors
        self._jobs: dict[Job, None] = {}  # in the order in which they began
        self._one = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    def look(self) -> Disk:
        """The disk, as it is now."""
        return look(self.home)

    async def admit(self, job: Job, needed: int, what: str) -> None:
        """Make room for what is known to come; StagingError (disk) when there is none."""
        self._jobs[job] = None
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        if not needed:
            return
        others = _outstanding(other for other in self._jobs if other is not job)
        disk = await self._make_room(needed + others)
        if disk.free - disk.floor < needed + others:
            raise StagingError(f"{what}: {disk.short_of(needed)}", Cause.DISK)

    def leave(self, job: Job) -> None:
        """This one fills the disk no more."""
        self._jobs.pop(job, None)
        if not self._jobs and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def with_relief(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it; when the disk is full, throw away what can go and try again."""
        for part in RELIEFS:
            try:
                return await work()
            except StagingError as error:
                if error.cause is not Cause.DISK:
                    raise
                share = part
                if not await self._evict(lambda disk: int(disk.total * share)):  # noqa: B023 - called at once
                    raise
        return await work()

    async def tidy(self) -> None:
        """Free what is beyond the mark."""
        await self._evict(lambda disk: int((disk.used - self._high) * disk.total))

    async def _make_room(self, needed: int) -> Disk:
        await self._evict(lambda disk: needed + disk.floor - disk.free)
        return self.look()

    async def _evict(self, lacking: Callable[[Disk], int]) -> int:
        """Free what is lacking, if anything is; returns how much that was, or nearly."""
        async with self._one:  # who comes second looks at what the first has left
            disk, freed = self.look(), 0
            wanted = lacking(disk)
            for evict in self._evictors:
                if freed >= wanted:
                    break
                freed += await evict(wanted - freed)
            if freed:
                log.info("freed %s of %s", size(freed), disk)
            return freed

    async def _watch(self) -> None:
        """End the youngest of what cannot fit, as soon as that is known and before it is there."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self._give_up_what_cannot_fit()
            except Exception:
                log.exception("the disk could not be watched; trying again")

    async def _give_up_what_cannot_fit(self) -> None:
        needed = _outstanding(self._jobs)
        if not needed:
            return
        disk = await self._make_room(needed)
        spare = disk.free - disk.floor
        for job in reversed([*self._jobs]):
            if spare >= _outstanding(self._jobs):
                return
            left = _outstanding([job])
            if left:
                del self._jobs[job]
                uri = max(job.gauge.items, key=lambda item: item.left).uri
                job.give_up(f"{uri}: {disk.short_of(left)}")


def _outstanding(jobs: Iterable[Job]) -> int:
    """Bytes that are known to be still to come; what several wait for counts once."""
    coming = {id(item.progress): item.left for job in jobs for item in job.gauge.items}
    return sum(coming.values())
