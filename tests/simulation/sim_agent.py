"""A worker's real agent, on a machine that is simulated.

The mind, hands, dialogue, link, outbox, journal and adoption are the real ones.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from sim_machine import Machine
from sim_timeline import NodeLoop, Timeline
from sim_wires import End

from pytq.schema import limits
from pytq.schema.frames import Ref
from pytq.schema.states import Cause
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import Load, WorkerSettings
from pytq.worker import moves
from pytq.worker.adoption import adopt, reconcile
from pytq.worker.agent import TICK_SECONDS
from pytq.worker.dialogue import Dialogue
from pytq.worker.hands import Hands
from pytq.worker.journal import Journal
from pytq.worker.keeping import Keeping, Message
from pytq.worker.link import FIRST_PAUSE, Link
from pytq.worker.load import Machine as Host
from pytq.worker.machine import Machine as Mind
from pytq.worker.options import WorkerError, WorkerOptions
from pytq.worker.rooms import Room
from pytq.worker.runners import process

LOAD: Final = Load(load=0, cpu=0, iowait=0, memory=0, swap=0, disk_free=0)
Dial = Callable[[NodeLoop], "asyncio.Future[End]"]
Publish = Callable[[Ref], None]


class SimAgent:
    """One incarnation of a worker's agent."""

    def __init__(
        self,
        timeline: Timeline,
        machine: Machine,
        options: WorkerOptions,
        dial: Dial,
        publish: Publish,
        journal: Path,
    ) -> None:
        self.timeline, self.machine, self.options = timeline, machine, options
        self.loop = NodeLoop(timeline, f"agent-{options.name}", machine.rate)
        self.journal = Journal(journal)
        boot = f"boot-{machine.boot}"
        identity, self.same_boot = self.journal.identify(boot)
        settings = WorkerSettings(concurrency=options.concurrency, prefetch=options.prefetch)
        self.hands = Hands(
            Mind(settings),
            self.journal,
            SimRooms(),  # type: ignore[arg-type]
            options,
            process.Machine(4, 2**34, "/bin"),
            machine.clock,
        )
        self.hands.porter = SimPorter(self, publish)  # type: ignore[assignment]
        self.hands.containers = NoContainers()  # type: ignore[assignment]
        self.keeping = self.hands.keeping = SimKeeping(self)
        host = Host("host", boot, 4, 2**34, 2**40)
        self.dialogue = Dialogue(options, host, identity, self.hands)
        self.dialogue.link = SimLink(self.dialogue, options, dial)
        self.left = False
        self.loop.spawn(self._run())

    @property
    def mind(self) -> Mind:
        return self.hands.machine

    async def _run(self) -> None:
        """As `Agent.run`; should it end, a supervisor starts another."""
        with contextlib.suppress(WorkerError):
            await self._work()
        self.left = True

    async def _work(self) -> None:
        held = await self.keeping.open()
        self.dialogue.inherit(self.keeping.lease, self.keeping.lease_length)
        lines = self.journal.read()
        adopt(self.hands, lines, held, same_boot=self.same_boot)
        self.hands.write_down()
        self.loop.spawn(self._tick())
        self.loop.spawn(self._beat())
        await self.dialogue.link.run()

    def heard(self, messages: list[Message]) -> None:
        self.hands.hear(messages)
        self.dialogue.speak_up()

    def keeper_left(self) -> None:
        if not self.loop.dead:
            self.loop.spawn(self._find_keeper())

    async def _find_keeper(self) -> None:
        held = await self.keeping.reopen()
        self.dialogue.tell_lease()
        reconcile(self.hands, held)
        self.hands.keeping.flush()
        self.dialogue.speak_up()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self.mind.executions:
                self.hands.take(self.dialogue.lease(), moves.Ticked())
                self.hands.write_down()
                self.dialogue.speak_up()

    async def _beat(self) -> None:
        while True:
            self.dialogue.beat(LOAD)
            await asyncio.sleep(limits.HEARTBEAT_SECONDS)

    def kill(self) -> None:
        """SIGKILL: the kernel closes what it had open."""
        self.loop.kill()
        self.journal._db.close()
        self.keeping.hang_up()


class SimLink(Link):
    """The real link over a simulated connection."""

    def __init__(self, dialogue: Dialogue, options: WorkerOptions, dial: Dial) -> None:
        super().__init__(options.server, "token", dialogue.hello, dialogue.report, dialogue.receive)
        self.dialling, self.nobody_there = dialogue._dial, dialogue._find_nobody
        self._dial = dial

    async def _stay(self) -> None:
        pause = FIRST_PAUSE
        session = SimpleNamespace(ws_connect=lambda *_, **__: self._dial(_loop()))
        while True:
            self.dialling()
            try:
                if await self._talk(session):  # type: ignore[arg-type]
                    pause = FIRST_PAUSE
            except ConnectionRefusedError:
                self.nobody_there()
            except (OSError, TimeoutError, TypeError):
                pass
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - as the real one
            pause = min(self.longest_pause, pause * 2)


def _loop() -> NodeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, NodeLoop)
    return loop


class SimKeeping(Keeping):
    """The agent's end of a simulated keeper."""

    def __init__(self, agent: SimAgent) -> None:
        super().__init__(Path("/nonexistent"), agent.heard, agent.keeper_left)
        self._agent = agent
        self._socket: Any = None

    async def _connect(self) -> list[Message]:
        machine = self._agent.machine
        if machine.keeper is None:
            raise ConnectionRefusedError
        self._holding = self._agent.loop.create_future()
        self._coming = b""
        self.gone.clear()
        self._socket = socket = machine.keeper.call(lambda data: self._told_by(socket, data))
        self.connection_made(SimpleNamespace(write=self._write, close=self.hang_up))  # type: ignore[arg-type]
        held = await self._holding
        self._holding = None
        return held

    def _guardian_lives(self) -> bool:
        return self._agent.machine.guarded

    def _start(self) -> None:
        machine, timeline = self._agent.machine, self._agent.timeline
        timeline.after(timeline.between(0.02, 0.2), machine.start_keeper)

    def _write(self, data: bytes) -> None:
        socket, machine = self._socket, self._agent.machine
        if machine.keeper is not None and not socket.gone:
            socket.coming.append(data)
            machine.keeper.nudge()

    def _told_by(self, socket: object, data: bytes) -> None:
        loop = self._agent.loop
        if loop.dead or socket is not self._socket:
            return
        if data:
            loop.call_soon(self.data_received, data)
        else:
            loop.call_soon(self.connection_lost, None)

    def hang_up(self) -> None:
        """Nobody is at this end any more."""
        if self._socket is not None:
            self._socket.gone = True
            if self._agent.machine.keeper is not None:
                self._agent.machine.keeper.nudge()


class SimRooms:
    """Folders that are nowhere."""

    def __init__(self) -> None:
        self.folder = Path("/")
        self.kept = 0
        self._number = 0

    def take(self) -> Room:
        self._number += 1
        return Room(f"/nonexistent/rooms/{self._number}")

    def give_back(self, _room: Room) -> bool:
        return True


class SimPorter:
    """Inputs come and outputs go, after a while, or not at all."""

    def __init__(self, agent: SimAgent, publish: Publish) -> None:
        self.images: Any = None
        self._agent, self._publish = agent, publish
        self._errands: dict[Ref, asyncio.TimerHandle] = {}

    def bring(self, ref: Ref, _spec: TaskSpec, _room: Room) -> None:
        random = self._agent.timeline.random
        came: moves.Event = moves.StagedIn(ref)
        if random.random() < 0.05:
            transient = random.random() < 0.7
            came = moves.StageInFailed(ref, "no such input", Cause.INPUT, transient)
        self._later(ref, random.expovariate(1.0), lambda: self._agent.hands._ported(came))

    def carry(self, ref: Ref, _spec: TaskSpec, _room: Room, **_: bool) -> None:
        def publish() -> None:
            self._publish(ref)
            self._agent.hands._ported(moves.StagedOut(ref))

        random = self._agent.timeline.random
        failed = moves.StageOutFailed(ref, "no such bucket")
        seconds, well = random.expovariate(0.5), random.random() < 0.97
        self._later(ref, seconds, publish if well else lambda: self._agent.hands._ported(failed))

    def stop(self, ref: Ref) -> None:
        timer = self._errands.pop(ref, None)
        if timer is not None:
            timer.cancel()

    def busy(self, _ref: Ref, _then: Callable[[], None]) -> bool:
        return False

    def adopt(self, ref: Ref, spec: TaskSpec) -> None:
        """There is nothing to be known again."""

    def leave(self, ref: Ref) -> None:
        """There is nothing to let go of."""

    def _later(self, ref: Ref, seconds: float, what: Callable[[], None]) -> None:
        def over() -> None:
            self._errands.pop(ref, None)
            what()
            self._agent.dialogue.speak_up()

        self._errands[ref] = self._agent.loop.call_later(seconds, over)


class NoContainers:
    """A worker without Docker."""

    def __init__(self) -> None:
        self.there = False
        self.runs: dict[object, object] = {}

    def forget(self, _names: list[str]) -> None:
        """Nothing is known."""

    def guard_again(self) -> None:
        """Nothing is guarded."""
