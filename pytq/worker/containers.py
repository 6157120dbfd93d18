"""The door to Docker: whether it is there, images for those who wait, containers for steps.

What happens to a container is told as the same events that the keeper's processes bring.
"""

import asyncio
import logging
import os
import resource
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiodocker import DockerError

from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Phase, Signal
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import ResourceView
from pytq.worker.holdings import Holdings
from pytq.worker.keeping import Message
from pytq.worker.moves import Event, StepExited, StepFailedToStart
from pytq.worker.options import WorkerOptions
from pytq.worker.rooms import Room
from pytq.worker.runners.docker import config, ownership
from pytq.worker.runners.docker.clerk import Clerk
from pytq.worker.runners.docker.config import LABELS, Share
from pytq.worker.runners.docker.dockerd import AWAY_SECONDS, Dockerd, DockerdAway, find_socket
from pytq.worker.runners.docker.images import Images
from pytq.worker.runners.docker.options import OptionError, parse
from pytq.worker.runners.docker.order import Order
from pytq.worker.runners.docker.pulls import ImageError, Tell
from pytq.worker.runners.docker.run import Run
from pytq.worker.runners.process import CannotRun
from pytq.worker.staging import StagingError

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
GREET_SECONDS: Final = 15.0  # between two looks at whether dockerd is there
SWEEP_SECONDS: Final = 600.0  # between two looks for containers that nobody wants any more
MISSED_SECONDS: Final = 45.0  # without an answer, and the server is told that there is none
REMOVED_AT_ONCE: Final = 4
CLOSE_SECONDS: Final = 5.0  # for containers that may go to be removed

Views = list[ResourceView]


class Containers:
    """All containers of a worker, and its images.

    `guard` tells the keeper, at once; `told` takes an event for the machine; `changed` is called
    when dockerd has come or gone.
    """

    def __init__(
        self,
        options: WorkerOptions,
        identity: str,
        machine: Holdings,
        guard: Callable[[Message], None],
        told: Callable[[Event], None],
        changed: Callable[[], None],
    ) -> None:
        self.there = False
        self.runs: dict[tuple[Ref, int], Run] = {}
        self._machine = machine
        self._identity = identity
        self._allowed = frozenset(options.docker_options)
        self._clerk = Clerk(identity, self._allowed, options.data_dir)
        self._guard, self._told, self._changed = guard, told, changed
        self._made: set[str] = set()  # ids of steps that have, or had, a container
        self._silent_since = 0.0
        self._following: set[asyncio.Task[None]] = set()
        self._side: set[asyncio.Task[None]] = set()
        self._removing = asyncio.Semaphore(REMOVED_AT_ONCE)
        self._refusal = ""
        try:
            self._dockerd = Dockerd(find_socket())
        except ValueError as error:
            self._refusal = str(error)
            self._dockerd = Dockerd("/nonexistent")
        self.images = Images(self._dockerd, options.home / "images.json", self._wanted)

    # --- whether Docker is there

    async def open(self) -> None:
        """See whether dockerd is there, and say why not if it is not."""
        if self._refusal:
            log.info("no containers here: %s", self._refusal)
            return
        _allow_many_files()
        try:
            await self._dockerd.greet()
            self.there = True
        except (DockerdAway, DockerError) as error:
            log.info("no containers here: no dockerd at %s: %s", self._dockerd.socket, error)

    async def watch(self) -> None:
        """Look at what runs, and at dockerd, for ever. Begins by removing what nobody wants."""
        if self._refusal:
            return
        looked = swept = float("-inf")
        while True:
            now = time.monotonic()
            for run in self.runs.values():
                run.look(now)
            try:
                if now - looked >= GREET_SECONDS:
                    looked = now
                    await self._greet()
                if self.there and now - swept >= SWEEP_SECONDS:
                    swept = now
                    await self._sweep()
            except Exception:
                log.exception("looking after containers failed; trying again")
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Let go. What runs goes on; what may be removed is, if that takes no time."""
        for task in self._following:
            task.cancel()
        if self._side:
            await asyncio.wait(self._side, timeout=CLOSE_SECONDS)
        for task in self._side:
            task.cancel()
        await asyncio.gather(*self._following, *self._side, return_exceptions=True)
        await self._dockerd.close()

    # --- images, for the porter

    async def ensure(self, spec: TaskSpec, tell: Tell) -> None:
        """See to it that the images of a task are here; `StagingError` when they will not be."""
        if not self.there:
            raise StagingError("this worker has no Docker now", Cause.IMAGE, transient=True)
        known: dict[str, tuple[int, int | None]] = {}

        def hear(image: str, done: int, total: int | None) -> None:
            known[image] = (done, total)
            totals = [total for _, total in known.values()]
            whole = None if None in totals else sum(total or 0 for total in totals)
            tell(sum(done for done, _ in known.values()), whole)

        try:
            wanted = {
                step.container: parse(step.container_options, self._allowed).platform
                for step in spec.steps
                if step.container is not None
            }
            for image, platform in wanted.items():
                await self.images.ensure(image, partial(hear, image), platform)
        except OptionError as error:
            raise StagingError(str(error), Cause.COMMAND) from error
        except ImageError as error:
            raise StagingError(str(error), error.cause, transient=not error.permanent) from error

    @property
    def root(self) -> Path | None:
        """Where images lie; None where there are none."""
        return self._dockerd.root if self.there else None

    async def list(self) -> Views:
        """The images that are kept, and those on their way."""
        return await self.images.list() if self.there else []

    async def remove(self, uris: Sequence[str]) -> int:
        """Remove these images, or all, but what is pinned or in use; how many bytes they had."""
        return await self.images.remove(uris)

    async def evict(self, wanted: int) -> int:
        """Remove what was used longest ago until so many bytes are free; how many there were."""
        return await self.images.evict(wanted)

    def pin(self, uri: str, *, pinned: bool) -> bool:
        """Keep an image whatever happens, or no longer; False for what is none of ours."""
        return self.images.pin(uri, pinned=pinned)

    # --- containers

    def start(
        self, ref: Ref, number: int, spec: TaskSpec, room: Room, share: tuple[str, str]
    ) -> None:
        """Run a step; `CannotRun` or OSError when that cannot even be tried."""
        order = self._clerk.order(ref, number, spec, room, Share(*share))
        self._live(order)

    def adopt(self, ref: Ref, number: int, spec: TaskSpec, room: Room, guard: Message) -> None:
        """Take over a container of the agent before, of which the keeper knows this.

        One that nobody was about to start may not be there at all: then it is made.
        """
        try:
            order = self._clerk.order(ref, number, spec, room, Share("1", "0"))
        except (CannotRun, OSError) as error:
            self._told(StepFailedToStart(ref, number, str(error)))
            return
        run = self._live(replace(order, found=bool(guard.get("starting"))))
        run.cause = guard.get("cause", "")
        if run.cause:
            run.signal(Signal.TERM, run.cause)

    def signal(self, ref: Ref, number: int, signal: Signal, cause: str) -> None:
        """Pause, resume or end a step."""
        run = self.runs.get((ref, number))
        if run is not None:
            run.signal(signal, cause)
            if run.cause:
                self._guard({"type": "guard", "id": _id(ref, number), "cause": run.cause})

    def blame(self, name: str, cause: str) -> None:
        """The keeper is ending a container: know why."""
        task, attempt, number = map(int, name.split("."))
        run = self.runs.get(((task, attempt), number))
        if run is not None:
            run.cause = run.cause or cause

    def guard_again(self) -> None:
        """Another keeper is there, who knows nothing."""
        for (ref, number), run in self.runs.items():
            self._guard(self._guarded(ref, number, run))

    def forget(self, names: Sequence[str]) -> None:
        """The outcome of these steps is safe: remove the containers among them."""
        for name in names:
            if name in self._made:
                self._made.discard(name)
                task, attempt, number = map(int, name.split("."))
                self._aside(self._remove(config.name_of(self._identity, (task, attempt), number)))

    def know(self, name: str) -> None:
        """A step, by its id, had a container once."""
        self._made.add(name)

    async def end_all(self, grace: float) -> None:
        """End every container, and wait until that is told."""
        for run in self.runs.values():
            run.signal(Signal.TERM, "stopped", grace)
        if self._following:
            await asyncio.wait(self._following)

    # --- inside

    def _wanted(self) -> Iterator[str]:
        for execution in self._machine.executions.values():
            if execution.phase is not Phase.ENDED:
                yield from {step.container for step in execution.spec.steps if step.container}

    def _live(self, order: Order) -> Run:
        key = (order.ref, order.step)
        starting = partial(self._guard, {"type": "guard", "id": _id(*key), "starting": True})
        run = Run(order, self._dockerd, self.images, starting)
        self.runs[key] = run
        self._made.add(_id(*key))
        self._guard(self._guarded(order.ref, order.step, run))
        task = asyncio.create_task(self._follow(run))
        self._following.add(task)
        task.add_done_callback(self._following.discard)
        return run

    def _guarded(self, ref: Ref, number: int, run: Run) -> Message:
        """What the keeper must know; of a cause it may know more than we do."""
        known = {"cause": run.cause} if run.cause else {}
        return known | {
            "type": "guard",
            "id": _id(ref, number),
            "name": run.name,
            "socket": self._dockerd.socket,
            "note": run.order.room.path,
        }

    async def _follow(self, run: Run) -> None:
        order, room = run.order, run.order.room
        try:
            event = await run.live()
        except Exception:
            log.exception("%s was given up, through a fault of ours", run.name)
            event = StepExited(order.ref, order.step, cause="dockerd away")
        if os.getuid() != 0 and await asyncio.to_thread(ownership.is_foreign, room):
            labels = order.config["Labels"]
            await ownership.reclaim(self._dockerd, room, f"{run.name}-chown", labels)
        del self.runs[order.ref, order.step]
        self._told(event)

    async def _greet(self) -> None:
        try:
            await self._dockerd.greet()
        except (DockerdAway, DockerError) as error:
            self._miss(str(error))
            return
        if self._silent_since:
            await self._sweep()
        self._silent_since = 0.0
        if not self.there:
            log.info("dockerd is there: taking tasks with containers")
            self.there = True
            self._changed()

    def _miss(self, why: str) -> None:
        """Dockerd has not answered: after a while tell the server, after long give up all of it."""
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if self.there and now - self._silent_since >= MISSED_SECONDS:
            log.warning("no containers any more: %s: %s", self._dockerd.socket, why)
            self.there = False
            self._changed()
        if now - self._silent_since >= AWAY_SECONDS:
            for run in self.runs.values():
                run.abandon()

    async def _sweep(self) -> None:
        """Remove the containers of this worker that no execution wants any more."""
        try:
            found = await self._dockerd.labelled(f"{LABELS}worker={self._identity}")
        except (DockerdAway, DockerError) as error:
            log.warning("old containers are left for later: %s", error)
            return
        for container in found:
            labels = container.get("Labels") or {}
            ref = (int(labels.get(f"{LABELS}task", 0)), int(labels.get(f"{LABELS}attempt", 0)))
            if ref not in self._machine.executions:
                await self._remove(container["Id"])

    async def _remove(self, name: str) -> None:
        async with self._removing:
            try:
                await self._dockerd.remove(name)
            except (DockerdAway, DockerError) as error:
                log.warning("the container %s stays for now: %s", name, error)

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._side.add(task)
        task.add_done_callback(self._side.discard)


def _id(ref: Ref, number: int) -> str:
    return f"{ref[0]}.{ref[1]}.{number}"


def _allow_many_files() -> None:
    """A container takes four of an agent's files: its streams, two connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
