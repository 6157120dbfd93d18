"""Brings inputs and takes outputs away, in a thread with an event loop of its own.

Bulk bytes keep that loop busy, so that the agent's own never waits behind them. `Porter` is the
agent's side, `staging.yard` the other one.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pytq.fetch import Progress
from pytq.schema.frames import Ref, Staged
from pytq.schema.states import Cause, Scope
from pytq.schema.tasks import TaskSpec
from pytq.schema.uris import UriError
from pytq.schema.views import Cleaning, Pin, ResourceView
from pytq.worker import moves
from pytq.worker.options import WorkerOptions
from pytq.worker.rooms import Room, Rooms
from pytq.worker.staging import StagingError, threads
from pytq.worker.staging.actions import plan
from pytq.worker.staging.disk import look, size
from pytq.worker.staging.gauge import Gauge
from pytq.worker.staging.job import Job, side_by_side
from pytq.worker.staging.resources import key_of, kind_of
from pytq.worker.staging.yard import CLOSE_SECONDS, Yard

log = logging.getLogger(__name__)

Tell = Callable[[int, int | None], None]
Views = list[ResourceView]
Fail = Callable[[StagingError], moves.Event]


class Images(Protocol):
    """What the porter asks of those who keep container images."""

    @property
    def root(self) -> Path | None:
        """Where they lie; None where there are none."""

    async def ensure(self, spec: TaskSpec, tell: Tell) -> None:
        """See to it that the images of a task are here; raises StagingError (image)."""

    async def list(self) -> Views:
        """What is kept, and what is on its way."""

    async def remove(self, uris: Sequence[str]) -> int:
        """Remove these, or all, but what is pinned or in use; returns the bytes."""

    async def evict(self, wanted: int) -> int:
        """Remove what was used longest ago until so many bytes are free; returns how many."""

    def pin(self, uri: str, *, pinned: bool) -> bool:
        """Keep one whatever happens, or no longer; False for what is no image."""


@dataclass(slots=True, eq=False)
class Errand:
    """A job that is under way, and its task in the agent's loop."""

    job: Job
    task: "asyncio.Task[None]"


class Porter:
    """Everything that is staged on this worker. All of this is for the agent's own loop."""

    def __init__(
        self, options: WorkerOptions, rooms: Rooms, told: Callable[[moves.Event], None]
    ) -> None:
        self.images: Images | None = None
        self.errands: dict[Ref, Errand] = {}
        self.changed = False  # what is kept, since it was looked at
        self._options = options
        self._rooms = rooms
        self._told = told
        self._using: set[Ref] = set()  # executions that have resources
        self._side: set[asyncio.Task[Any]] = set()
        self._yard: Yard | None = None

    # --- staging

    def bring(self, ref: Ref, spec: TaskSpec, room: Room) -> None:
        """Begin to stage in; `StagedIn` or `StageInFailed` is told when it is over."""
        job = Job(ref, spec, room, Gauge("in"))
        if any(mount.scope is Scope.WORKER for mount in spec.mounts):
            self._using.add(ref)

        def failed(error: StagingError) -> moves.Event:
            return moves.StageInFailed(ref, str(error), error.cause, error.transient)

        self._begin(job, self._bring(job), moves.StagedIn(ref), failed)

    def carry(self, ref: Ref, spec: TaskSpec, room: Room, *, whole: bool) -> None:
        """Begin to stage out; `StagedOut` or `StageOutFailed` is told when it is over.

        `whole`: the command succeeded, so that every output must be there.
        """
        job = Job(ref, spec, room, Gauge("out"), whole)
        work = self._carry(job, self.errands.get(ref))
        self._begin(job, work, moves.StagedOut(ref), lambda e: moves.StageOutFailed(ref, str(e)))

    def stop(self, ref: Ref) -> None:
        """Nobody wants this any more."""
        if ref in self.errands:
            self.errands[ref].task.cancel()

    def busy(self, ref: Ref, then: Callable[[], None]) -> bool:
        """Whether something still goes on in a room; if so, `then` is called when it is over."""
        errand = self.errands.get(ref)
        if errand is not None:
            errand.task.add_done_callback(lambda _: then())
        return errand is not None

    def adopt(self, ref: Ref, spec: TaskSpec) -> None:
        """An execution of the agent before this one has its inputs already."""
        keys = list(_keys(spec))
        if keys:
            self._using.add(ref)
            self._aside(self._there(lambda yard: yard.claim(ref, keys)))

    def leave(self, ref: Ref) -> None:
        """An execution has ended: its resources are not in use by it any more."""
        if ref not in self._using or self.busy(ref, partial(self.leave, ref)):
            return
        self._using.discard(ref)
        self._aside(self._there(lambda yard: yard.leave(ref)))

    # --- what is told of it

    def staged(self, now: float) -> list[Staged]:
        """How far everything has come that is under way."""
        return [
            Staged(task=ref[0], attempt=ref[1], staging=errand.job.gauge.look(now))
            for ref, errand in self.errands.items()
        ]

    async def kept(self) -> Views:
        """Every resource and image that this worker keeps."""
        self.changed = False
        found = [] if self._yard is None else self._yard.resources.views(time.time())
        return found + ([] if self.images is None else await self.images.list())

    # --- what is kept

    def open(self) -> None:
        """Know again what is kept."""
        if (self._options.home / "resources").is_dir():
            self._start()

    def clean(self, wish: Cleaning) -> None:
        """Throw away what is kept and nobody uses."""
        self._aside(self._clean(wish))

    def pin(self, pin: Pin) -> None:
        """Keep something whatever happens, or no longer."""
        if self.images is not None and self.images.pin(pin.uri, pinned=pin.pinned):
            self.changed = True
        else:
            self._aside(self._there(lambda yard: yard.pin(pin)))

    def tidy(self) -> None:
        """Throw away what is beyond the mark, on our disk and on that of images."""
        if look(self._options.home).used > self._options.disk_high:
            self._aside(self._there(lambda yard: yard.space.tidy()))
        if self.images is not None and self.images.root is not None and not self._one_disk():
            disk = look(self.images.root)
            over = int((disk.used - self._options.disk_high) * disk.total)
            if over > 0:
                self._aside(self.images.evict(over))

    async def close(self) -> None:
        """End what is under way, and the thread; the next agent begins it anew."""
        going = [errand.task for errand in self.errands.values()] + [*self._side]
        for task in going:
            task.cancel()
        if going:
            await asyncio.wait(going, timeout=CLOSE_SECONDS)
        if self._yard is not None:
            await self._yard.close()

    # --- inside

    def _begin(
        self, job: Job, work: Coroutine[Any, Any, None], well: moves.Event, ill: Fail
    ) -> None:
        task = asyncio.create_task(work, name=f"{job.gauge.direction}-{job.name}")
        self.errands[job.ref] = Errand(job, task)
        task.add_done_callback(partial(self._over, job, well, ill))

    def _over(self, job: Job, well: moves.Event, ill: Fail, task: "asyncio.Task[None]") -> None:
        if self.errands[job.ref].job is job:  # else it has been begun anew meanwhile
            del self.errands[job.ref]
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            return
        if error is None:
            self._told(well)
        elif isinstance(error, StagingError):
            self._told(ill(error))
        else:
            log.error("staging of task %d failed in a way of its own", job.ref[0], exc_info=error)
            text = f"{type(error).__name__}: {error}"
            self._told(ill(StagingError(text, Cause.INPUT, transient=True)))

    async def _bring(self, job: Job) -> None:
        works = [self._there(lambda yard: yard.bring(job))] if job.spec.mounts else []
        if self.images is not None and job.spec.needs_container:
            works.append(self._have_images(self.images, job))
        await side_by_side(works)

    async def _carry(self, job: Job, before: Errand | None) -> None:
        if before is not None:  # it was stopped, and may still have the same files in hand
            await asyncio.wait([before.task])
        await self._there(lambda yard: yard.outward.carry(job))

    async def _have_images(self, images: Images, job: Job) -> None:
        names = {step.container for step in job.spec.steps if step.container is not None}
        item = job.gauge.add(", ".join(sorted(names)))

        def tell(done: int, total: int | None) -> None:
            item.progress = Progress(done, total)

        await images.ensure(job.spec, tell)
        item.over = self.changed = True

    async def _clean(self, wish: Cleaning) -> None:
        freed = 0
        if "resources" in wish.what:
            freed += await self._there(lambda yard: yard.resources.clean(set(wish.uris)))
        if "images" in wish.what and self.images is not None:
            freed += await self.images.remove(wish.uris)
        if "failed" in wish.what and not wish.uris:
            freed += await asyncio.to_thread(self._rooms.evict)
        self.changed = True
        log.info("cleaned up as was asked: %s", size(freed))

    async def _evict_images(self, wanted: int) -> int:
        if self.images is None or not self._one_disk():
            return 0
        return await self.images.evict(wanted)

    def _one_disk(self) -> bool:
        """Whether images lie on the disk of the work directory, so that it gains when they go."""
        root = None if self.images is None else self.images.root
        try:
            return root is not None and root.stat().st_dev == self._options.home.stat().st_dev
        except OSError:
            return False

    def _aside(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._side.add(task)
        task.add_done_callback(self._put_aside)

    def _put_aside(self, task: "asyncio.Task[Any]") -> None:
        self._side.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("looking after what is kept failed", exc_info=task.exception())

    async def _there(self, work: Callable[[Yard], Coroutine[Any, Any, Any]]) -> Any:
        """Have the other side do something."""
        yard = self._start()
        return await threads.in_loop(yard.loop, yard.when_open(work))

    def _start(self) -> Yard:
        if self._yard is None:
            here = asyncio.get_running_loop()

            async def evict_images(wanted: int) -> int:
                return await threads.in_loop(here, self._evict_images(wanted))

            def changed() -> None:
                self.changed = True

            self._yard = Yard(self._options, self._rooms, evict_images, changed)
        return self._yard


def _keys(spec: TaskSpec) -> Iterator[str]:
    """The resources that a task shares with others."""
    for mount in spec.mounts:
        if mount.scope is Scope.WORKER and mount.source is not None:
            try:
                yield key_of(kind_of(plan(mount), mount))
            except UriError:
                continue
