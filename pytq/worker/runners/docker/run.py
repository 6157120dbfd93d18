"""The life of one container, from its creation to what came of it.

The container's name is the fence: dockerd makes only one of that name, so whoever comes later,
the agent after this one included, finds it and goes on from there.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from aiodocker import DockerError

from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Signal
from pytq.worker.moves import Event, StepExited, StepFailedToStart
from pytq.worker.rooms import Room
from pytq.worker.runners.docker import dockerd as api
from pytq.worker.runners.docker import ownership
from pytq.worker.runners.docker.config import LABELS
from pytq.worker.runners.docker.dockerd import Dockerd, DockerdAway, moment, plain
from pytq.worker.runners.docker.images import Images
from pytq.worker.runners.docker.output import OutputLost, Sink, opened
from pytq.worker.runners.docker.pulls import NO_ROOM, ImageError
from pytq.worker.runners.docker.stdin import feed
from pytq.worker.runners.docker.usage import Usage

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 10.0  # between SIGTERM and SIGKILL, as the keeper's
START_SECONDS: Final = 60.0  # so long a step that has not begun waits for a dockerd that is away
AWAY_SECONDS: Final = 900.0  # and so long a container that runs
SETTLE_SECONDS: Final = 2.0  # between the end of its output and its own
STALL_SECONDS: Final = 20.0  # without a byte, of the output that a container has left behind
VAIN: Final = 5  # times that its output broke off without a byte more; then it is given up
FIRST_PAUSE: Final = 0.1
LAST_PAUSE: Final = 5.0
PULLS: Final = 2  # for one start: an image may be removed by others at any moment
DEADLY: Final = frozenset({1, 2, 3, 4, 6, 7, 8, 9, 11, 13, 14, 15, 24, 25, 31})
SIGNAL_BASE: Final = 128  # an exit code above it is a signal's, by every shell's custom

T = TypeVar("T")


class CannotStart(Exception):  # noqa: N818 - an outcome of the task, not a failure of ours
    """Why a container cannot be started; nothing of it ran."""

    def __init__(self, detail: str, cause: Cause, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.cause = cause
        self.transient = transient


class Gone(Exception):  # noqa: N818 - as above
    """There is nothing left to wait for; the cause is a word of `verdicts.ENDED_FOR`."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Order:
    """One step to be run in a container; `found`: one that was made by an agent before."""

    ref: Ref
    step: int
    name: str
    image: str
    config: dict[str, Any]
    sink: Sink
    room: Room
    platform: str | None = None
    stdin: str | None = None  # a file of this machine
    fed: str = ""  # a file that says that all of stdin has reached it
    grace: float = GRACE_SECONDS
    memory: int = 0  # its limit in bytes, for the sentence of an OOM
    found: bool = False
    given: bool = False  # the task's folders belong to whoever it runs as


class Run:
    """One container. `live` ends with the event that the machine is to be told."""

    def __init__(self, order: Order, dockerd: Dockerd, images: Images) -> None:
        self.order = order
        self.name = order.name
        self.cause = ""  # why it was told to end
        self.usage = Usage()
        self.running_since = 0.0
        self._dockerd = dockerd
        self._images = images
        self._cut = False  # the connection broke while it ran
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
        order = self.order
        try:
            with opened(order.sink):
                await (self._find() if order.found else self._start())
                code = await self._follow()
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
            raise CannotStart(detail, Cause.COMMAND) from error
        await self._have_image()
        if not order.given:
            user = order.config.get("User") or self._images.user_of(order.image)
            ownership.open_up(order.room, user)
        labels = {**order.config["Labels"], f"{LABELS}sizes": f"{before[0]},{before[1]}"}
        config = order.config | {"Labels": labels}
        await self._launch(lambda: self._create(config), START_SECONDS)
        if self.cause:
            raise Gone(self.cause)
        await self._launch(lambda: self._dockerd.start(self.name), AWAY_SECONDS)
        self._began()

    async def _launch(self, ask: Callable[[], Awaitable[None]], seconds: float) -> None:
        try:
            await self._insist(ask, seconds)
        except DockerdAway as error:
            detail = f"dockerd cannot be reached: {error}"
            raise CannotStart(detail, Cause.REFUSED, transient=True) from error
        except DockerError as error:
            cause = Cause.DISK if NO_ROOM.search(error.message) else Cause.COMMAND
            raise CannotStart(plain(error.message), cause) from error

    async def _create(self, config: dict[str, Any]) -> None:
        for _ in range(PULLS):
            try:
                await self._dockerd.create(self.name, config)
            except DockerError as error:
                if error.status == api.CONFLICT:  # the answer to an earlier try was lost
                    return
                if error.status != api.NOT_FOUND:
                    raise
                self._images.doubt(self.order.image)  # somebody has removed it
                await self._have_image()
            else:
                return
        raise CannotStart(f"docker://{self.order.image}: vanished as often as pulled", Cause.IMAGE)

    async def _have_image(self) -> None:
        """It was brought with the inputs, so this is quick, most of the time."""
        try:
            await self._images.ensure(self.order.image, _unheard, self.order.platform)
        except ImageError as error:
            raise CannotStart(str(error), error.cause, transient=not error.permanent) from error

    async def _find(self) -> None:
        """Take over a container that an agent before this one has made."""
        found = await self._show()
        before = found["Config"]["Labels"].get(f"{LABELS}sizes", "0,0")
        stdout, _, stderr = before.partition(",")
        try:
            self.order.sink.open((int(stdout), int(stderr)))
        except OSError as error:
            raise OutputLost(str(error.filename), error) from error
        created = found["State"]["Status"] == "created"
        if created:
            await self._launch(lambda: self._dockerd.start(self.name), AWAY_SECONDS)
        elif found["Config"]["OpenStdin"] and not self._was_fed():
            with contextlib.suppress(DockerError):
                await self._insist(lambda: self._dockerd.kill(self.name, "SIGKILL"), AWAY_SECONDS)
            raise Gone("unfed")
        self._began(fed=not created)

    def _began(self, *, fed: bool = False) -> None:
        self.running_since = time.monotonic()
        self._begun.set()
        if self.order.stdin and not fed:
            self._spawn(self._feed(self.order.stdin))

    def _was_fed(self) -> bool:
        return os.path.lexists(self.order.fed)

    async def _feed(self, path: str) -> None:
        try:
            await feed(self._dockerd.socket, self.name, path)
        except OSError as error:
            await asyncio.sleep(SETTLE_SECONDS)
            if self._cut:  # else the command wanted no more of it
                log.warning("%s did not get all of its stdin: %s", self.name, error)
                self.signal(Signal.KILL, "unfed")
                return
        await asyncio.to_thread(Path(self.order.fed).touch)

    # --- following

    async def _follow(self) -> int:
        """Copy its output until it has ended; its exit code."""
        vain, copied = 0, self.order.sink.copied
        while vain < VAIN:
            before = [*copied]
            try:
                return await self._listen()
            except DockerdAway as error:
                log.warning("%s: dockerd: %s", self.name, error)
            except DockerError as error:
                if error.status == api.NOT_FOUND:
                    raise Gone("removed") from error
                log.warning("%s: dockerd: %s", self.name, error.message)
            vain = 0 if copied != before else vain + 1
            await self._show()  # as soon as dockerd answers
            await asyncio.sleep(FIRST_PAUSE * 2**vain)
        log.error("the rest of the output of %s cannot be had", self.name)
        return await self._insist(lambda: self._dockerd.wait(self.name), AWAY_SECONDS)

    async def _listen(self) -> int:
        """Copy its output and wait for its end, side by side."""
        waiting = asyncio.create_task(self._dockerd.wait(self.name))
        copying = asyncio.create_task(self._copy())
        try:
            await asyncio.wait({waiting, copying}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                copying.result()
                await asyncio.wait({waiting}, timeout=SETTLE_SECONDS)
            if not waiting.done():
                raise DockerdAway("its output broke off")
            try:
                code = waiting.result()
            except DockerdAway:
                self._cut = True
                raise
            await self._drain(copying)
            return code
        finally:
            for task in (waiting, copying):
                task.cancel()
            await asyncio.gather(waiting, copying, return_exceptions=True)

    async def _drain(self, copying: asyncio.Task[None]) -> None:
        """It has ended: wait for the rest of its output, as long as there comes any."""
        while not copying.done():
            before = [*self.order.sink.copied]
            await asyncio.wait({copying}, timeout=STALL_SECONDS)
            if not copying.done() and before == self.order.sink.copied:
                raise DockerdAway("the rest of its output does not come")
        copying.result()

    async def _copy(self) -> None:
        async with self._dockerd.logs(self.name) as stream:
            await self.order.sink.copy(stream)

    # --- ending

    async def _verdict(self, code: int) -> Event:
        """What its end means. Success that nothing casts doubt on needs no question."""
        if code == 0 and not self._cut and not self.order.found:
            ran = time.monotonic() - self.running_since
            return self._exited(code, cause=self.cause, ran=ran)
        state = (await self._show())["State"]
        began, ended = moment(state["StartedAt"]), moment(state["FinishedAt"])
        if not self.cause and self._was_interrupted(began):
            return self._exited(cause="dockerd restarted")
        if state["OOMKilled"] and code and not self.cause:
            return self._exited(code, cause="oom", detail=self._limit(), ran=ended - began)
        number = code - SIGNAL_BASE
        signal = number if number in DEADLY else None
        return self._exited(code, signal, cause=self.cause, ran=max(0.0, ended - began))

    def _was_interrupted(self, began: float) -> bool:
        """Whether dockerd was restarted under it, which without live restore ends it somehow."""
        if self._dockerd.live_restore:
            return False
        restarted = self._dockerd.began()
        return restarted > began if restarted else self._cut

    def _limit(self) -> str:
        if not self.order.memory:
            return "the machine had no more memory for it"
        return f"its limit is {self.order.memory / 2**20:g} MiB"

    async def _end_unheard(self, error: OutputLost) -> Event:
        """Its output can go nowhere: it must not run on as if nothing had happened."""
        with contextlib.suppress(DockerError, DockerdAway):
            await self._insist(lambda: self._dockerd.kill(self.name, "SIGKILL"), START_SECONDS)
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
            await self._insist(lambda: self._dockerd.kill(self.name, "SIGTERM"), AWAY_SECONDS)
            with contextlib.suppress(DockerError):  # what is frozen hears nothing
                await self._pause(paused=False)
            await asyncio.sleep(grace)
        await self._insist(lambda: self._dockerd.kill(self.name, "SIGKILL"), AWAY_SECONDS)

    async def _pause(self, *, paused: bool) -> None:
        await self._insist(lambda: self._dockerd.pause(self.name, paused=paused), AWAY_SECONDS)

    async def _show(self) -> dict[str, Any]:
        try:
            return await self._insist(lambda: self._dockerd.show(self.name), AWAY_SECONDS)
        except DockerError as error:
            if error.status == api.NOT_FOUND:
                raise Gone("removed") from error
            raise DockerdAway(error.message) from error

    async def _find_usage(self) -> None:
        with contextlib.suppress(DockerError, DockerdAway):
            state = (await self._dockerd.show(self.name))["State"]
            self.usage.find(int(state["Pid"]))

    async def _insist(self, ask: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Ask until dockerd answers; `DockerdAway` when it has been away for so long."""
        deadline, pause = 0.0, FIRST_PAUSE
        while True:
            try:
                return await ask()
            except DockerdAway:
                now = time.monotonic()
                deadline = deadline or now + seconds
                if now >= deadline:
                    raise
                await asyncio.sleep(pause)
                pause = min(LAST_PAUSE, 2 * pause)


def _unheard(done: int, total: int | None) -> None:
    """Nobody watches this pull."""
