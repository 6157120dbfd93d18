"""The life of one container, from its creation to what came of it.

The container's name is the fence: dockerd makes only one of that name, so whoever comes later,
the agent after this one included, finds it and goes on from there.
"""

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from aiodocker import DockerError

from pytq.schema.states import Cause, Signal
from pytq.worker.moves import Event, StepExited, StepFailedToStart
from pytq.worker.runners.docker import dockerd as api
from pytq.worker.runners.docker import ownership
from pytq.worker.runners.docker.config import LABELS
from pytq.worker.runners.docker.dockerd import (
    AWAY_SECONDS,
    START_SECONDS,
    Dockerd,
    DockerdAway,
    insist,
    moment,
    plain,
)
from pytq.worker.runners.docker.images import Images
from pytq.worker.runners.docker.listening import Listener
from pytq.worker.runners.docker.order import CannotStart, Gone, Order
from pytq.worker.runners.docker.output import FULL, OutputLost, opened
from pytq.worker.runners.docker.pulls import NO_ROOM, ImageError
from pytq.worker.runners.docker.usage import Usage

log = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 2.0  # between the end of its streams and its own
PULLS: Final = 2  # for one start: an image may be removed by others at any moment
DEADLY: Final = frozenset({1, 2, 3, 4, 6, 7, 8, 9, 11, 13, 14, 15, 24, 25, 31})
MAKER: Final = f"{LABELS}maker"  # a label that tells one start from another
SIGNAL_BASE: Final = 128  # an exit code above it is a signal's, by every shell's custom


T = TypeVar("T")


class Run:
    """One container. `live` ends with the event that the machine is to be told.

    `starting` is called before it is started, and must have been noted for good then.
    """

    def __init__(
        self, order: Order, dockerd: Dockerd, images: Images, starting: Callable[[], None]
    ) -> None:
        self.order = order
        self.name = order.name
        self.cause = ""  # why it was told to end
        self.usage = Usage()
        self.running_since = 0.0
        self._started = 0.0  # in seconds since 1970
        self._dockerd = dockerd
        self._images = images
        self._starting = starting
        self._found = False  # it was made before, by another agent
        self._maker = uuid.uuid4().hex
        self._listener = Listener(dockerd, order.name, order.sink)
        self._life: asyncio.Task[Event] | None = None
        self._abandoned = False
        self._begun = asyncio.Event()
        self._duties: set[asyncio.Task[None]] = set()

    # --- what the agent asks

    def signal(self, signal: Signal, cause: str, grace: float | None = None) -> None:
        """Pause, resume or end it, now or as soon as it runs."""
        if signal in (Signal.TERM, Signal.KILL):
            self.cause = self.cause or cause or signal.value
        self._spawn(self._obey(signal, self.order.grace if grace is None else grace))

    async def live(self) -> Event:
        """Start it, or find it, and follow it to its end."""
        self._life = asyncio.create_task(self._live())
        try:
            return await self._life
        except asyncio.CancelledError:
            if self._abandoned:
                return self._exited(cause=self.cause or "dockerd away")
            raise

    def abandon(self) -> None:
        """A dockerd that does not answer will not tell what came of it either."""
        self._abandoned = True
        if self._life is not None:
            self._life.cancel()

    async def _live(self) -> Event:
        order = self.order
        try:
            with opened(order.sink):
                await (self._find() if order.found else self._start())
                code = await self._listener.follow()
                return await self._verdict(code)
        except CannotStart as error:
            return StepFailedToStart(
                order.ref, order.step, str(error), error.cause, transient=error.transient
            )
        except OutputLost as error:
            return await self._end_unheard(error)
        except Gone as gone:
            return self._exited(cause=self.cause or gone.cause)
        except DockerdAway as error:
            log.error("%s is given up: dockerd: %s", self.name, error)  # noqa: TRY400 - said fully
            return self._exited(cause=self.cause or "dockerd away")
        finally:
            self._listener.detach()
            for duty in list(self._duties):
                duty.cancel()

    def look(self, now: float) -> None:
        """Sample what it uses. Call now and then."""
        if self.usage.found:
            self.usage.look()
        elif self.running_since and now - self.running_since >= 1.0 and not self.usage.asked:
            self.usage.asked = True
            self._spawn(self._find_usage())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        duty = asyncio.create_task(work)
        self._duties.add(duty)
        duty.add_done_callback(self._duties.discard)

    # --- starting

    async def _start(self) -> None:
        order = self.order
        try:
            before = order.sink.open()
        except OSError as error:
            detail = f"its output has no place: {error.strerror}: {error.filename}"
            cause = Cause.DISK if error.errno in FULL else Cause.COMMAND
            raise CannotStart(detail, cause) from error
        await self._have_image()
        if not order.given:
            user = order.config.get("User") or self._images.user_of(order.image)
            ownership.open_up(order.room, user)
        labels = {**order.config["Labels"], f"{LABELS}sizes": f"{before[0]},{before[1]}"}
        config = order.config | {"Labels": labels | {MAKER: self._maker}}
        if not await self._launch(lambda: self._create(config), START_SECONDS):
            await self._find()
            return
        await self._begin()

    async def _launch(self, ask: Callable[[], Awaitable[T]], seconds: float) -> T:
        try:
            return await insist(ask, seconds)
        except DockerdAway as error:
            detail = f"dockerd cannot be reached: {error}"
            raise CannotStart(detail, Cause.REFUSED, transient=True) from error
        except DockerError as error:
            cause = Cause.DISK if NO_ROOM.search(error.message) else Cause.COMMAND
            raise CannotStart(plain(error.message), cause) from error

    async def _create(self, config: dict[str, Any]) -> bool:
        """Make the container; False when one of that name was made before, by another agent."""
        for _ in range(PULLS):
            try:
                await self._dockerd.create(self.name, config)
            except DockerError as error:
                if error.status == api.CONFLICT:
                    return await self._is_ours(config["Labels"])
                if error.status != api.NOT_FOUND:
                    raise
                self._images.doubt(self.order.image)  # somebody has removed it
                await self._have_image()
            else:
                return True
        raise CannotStart(f"docker://{self.order.image}: vanished as often as pulled", Cause.IMAGE)

    async def _is_ours(self, labels: dict[str, str]) -> bool:
        """Whether the container of our name was made by us: then only the answer was lost."""
        found = (await self._listener.show())["Config"]["Labels"]
        if found.get(f"{LABELS}worker") != labels[f"{LABELS}worker"]:
            raise CannotStart(f"the name {self.name} is another's container's", Cause.COMMAND)
        return bool(found.get(MAKER) == labels[MAKER])

    async def _have_image(self) -> None:
        """It was brought with the inputs, so this is quick, most of the time."""
        try:
            await self._images.ensure(self.order.image, _unheard, self.order.platform)
        except ImageError as error:
            raise CannotStart(str(error), error.cause, transient=not error.permanent) from error

    async def _begin(self) -> None:
        """Start what was made, with its streams in our hands."""
        if self.cause:
            raise Gone(self.cause)
        await self._launch(self._attach, START_SECONDS)
        self._starting()
        again = False

        async def start() -> None:
            nonlocal again
            if again:  # it may run since the last time: its log knows what we may have missed
                if self.order.stdin is not None:
                    raise Gone("unfed")
                self._listener.detach()
            again = True
            await self._dockerd.start(self.name)

        await self._launch(start, AWAY_SECONDS)
        self._began()

    async def _attach(self) -> None:
        await self._listener.attach(stdin=self.order.stdin is not None)

    async def _find(self) -> None:
        """Take over a container that an agent before this one has made."""
        self._found = True
        found = await self._listener.show()
        before = found["Config"]["Labels"].get(f"{LABELS}sizes", "0,0")
        stdout, _, stderr = before.partition(",")
        try:
            self.order.sink.open((int(stdout), int(stderr)))
        except OSError as error:
            raise OutputLost(str(error.filename), error) from error
        if found["State"]["Status"] == "created":
            await self._begin()
            return
        if found["Config"]["OpenStdin"] and not self._was_fed():
            with contextlib.suppress(DockerError):
                await insist(lambda: self._dockerd.kill(self.name, "SIGKILL"), AWAY_SECONDS)
            raise Gone("unfed")
        self._began()

    def _began(self) -> None:
        self.running_since, self._started = time.monotonic(), time.time()
        self._begun.set()
        if self.order.stdin is not None:
            self._spawn(self._feed(self.order.stdin))

    def _was_fed(self) -> bool:
        return os.path.lexists(self.order.fed)

    async def _feed(self, path: str) -> None:
        try:
            await self._listener.feed(path)
        except OSError as error:
            await asyncio.sleep(SETTLE_SECONDS)
            if self._listener.cut:  # else the command wanted no more of it
                log.warning("%s did not get all of its stdin: %s", self.name, error)
                self.signal(Signal.KILL, "unfed")
                return
        await asyncio.to_thread(Path(self.order.fed).touch)

    # --- ending

    async def _verdict(self, code: int) -> Event:
        """What its end means. Success that nothing casts doubt on needs no question."""
        doubtful = self._listener.cut or await self._may_be_interrupted()
        if code == 0 and not doubtful and not self._found:
            ran = time.monotonic() - self.running_since
            return self._exited(code, cause=self.cause, ran=ran)
        state = (await self._listener.show())["State"]
        began, ended = moment(state["StartedAt"]), moment(state["FinishedAt"])
        if not self.cause and self._was_interrupted(began, doubtful=doubtful):
            return self._exited(cause="dockerd restarted")
        if state["OOMKilled"] and code and not self.cause:
            return self._exited(code, cause="oom", detail=self._limit(), ran=ended - began)
        number = code - SIGNAL_BASE
        signal = number if number in DEADLY else None
        return self._exited(code, signal, cause=self.cause, ran=max(0.0, ended - began))

    async def _may_be_interrupted(self) -> bool:
        """Whether dockerd may be stopping, which to its containers is a polite SIGTERM."""
        if self._dockerd.live_restore or self.cause or self._found:
            return False
        try:
            await self._dockerd.knock()
        except DockerdAway:
            return True
        return self._dockerd.began() > self._started

    def _was_interrupted(self, began: float, *, doubtful: bool) -> bool:
        """Whether dockerd was restarted under it, which without live restore ends it somehow."""
        if self._dockerd.live_restore:
            return False
        restarted = self._dockerd.began()
        return restarted > began if restarted else doubtful

    def _limit(self) -> str:
        if not self.order.memory:
            return "the machine had no more memory for it"
        return f"its limit is {self.order.memory / 2**20:g} MiB"

    async def _end_unheard(self, error: OutputLost) -> Event:
        """Its output can go nowhere: it must not run on as if nothing had happened."""
        with contextlib.suppress(DockerError, DockerdAway):
            await insist(lambda: self._dockerd.kill(self.name, "SIGKILL"), START_SECONDS)
        if error.full:
            return self._exited(signal=9, full=str(error))
        detail = f"its output cannot be written: {error}"
        return self._exited(signal=9, cause="output", detail=detail)

    def _exited(
        self,
        code: int | None = None,
        signal: int | None = None,
        *,
        cause: str = "",
        detail: str = "",
        ran: float = 0.0,
        full: str = "",
    ) -> StepExited:
        return StepExited(
            self.order.ref,
            self.order.step,
            code,
            signal,
            cpu=self.usage.cpu,
            memory=self.usage.memory,
            cause=cause,
            ran=ran,
            full=full,
            detail=detail,
        )

    # --- speaking with dockerd

    async def _obey(self, signal: Signal, grace: float) -> None:
        await self._begun.wait()
        with contextlib.suppress(DockerError, DockerdAway):  # it has ended: nothing to signal
            if signal is Signal.PAUSE:
                await self._pause(paused=True)
            elif signal is Signal.RESUME:
                await self._pause(paused=False)
            else:
                await self._end(signal, grace)

    async def _end(self, signal: Signal, grace: float) -> None:
        if signal is Signal.TERM:
            await insist(lambda: self._dockerd.kill(self.name, "SIGTERM"), AWAY_SECONDS)
            with contextlib.suppress(DockerError):  # what is frozen hears nothing
                await self._pause(paused=False)
            await asyncio.sleep(grace)
        await insist(lambda: self._dockerd.kill(self.name, "SIGKILL"), AWAY_SECONDS)

    async def _pause(self, *, paused: bool) -> None:
        await insist(lambda: self._dockerd.pause(self.name, paused=paused), AWAY_SECONDS)

    async def _find_usage(self) -> None:
        with contextlib.suppress(DockerError, DockerdAway):
            state = (await self._dockerd.show(self.name))["State"]
            self.usage.find(int(state["Pid"]))


def _unheard(done: int, total: int | None) -> None:
    """Nobody watches this pull."""
