"""The simulated world: a server, workers on their machines, a network between them."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sim_machine
import sim_server
import sqlalchemy as sa
from sim_agent import SimAgent
from sim_machine import Machine, Process, Watcher
from sim_server import Disk, SimServer
from sim_timeline import NodeLoop, Timeline
from sim_truth import Truth
from sim_wires import End, connect
from sim_wires import Path as Wire

from pytq.server.store.tables import workers
from pytq.worker.options import WorkerOptions

LEASE_SECONDS: Final = 30.0
STUBBORN: Final = 0.1  # of the commands ignore SIGTERM
FAILING: Final = 0.15


class Worker:
    """A worker's machine, its way to the server, and the agent that runs there, if one does."""

    def __init__(self, world: "World", number: int) -> None:
        chance = world.timeline.random
        self.world, self.name = world, f"w{number}"
        self.machine = Machine(world.timeline, self.name, world.watcher)
        self.wire = Wire(world.timeline)
        self.declared = chance.randint(1, 4)
        self.wishes = [self.declared]  # numbers of slots that may still be in effect somewhere
        self.tuning = 0  # requests under way that change them
        self.prefetch = chance.choice([0, 0, 2, 5])
        self.agent: SimAgent | None = None
        self.home = world.folder / f"{self.name}.sqlite"
        self.start()

    @property
    def works(self) -> bool:
        """Whether an agent is there."""
        return self.agent is not None and not (self.agent.loop.dead or self.agent.left)

    def start(self) -> None:
        """Start an agent, unless one is there."""
        if not self.works:
            self.kill()
            options = WorkerOptions("server", self.declared, name=self.name, prefetch=self.prefetch)
            published = self.world.truth.published
            self.agent = SimAgent(
                self.world.timeline,
                self.machine,
                options,
                self._dial,
                lambda ref: published(ref, self.machine),
                self.home,
            )

    def kill(self) -> None:
        """SIGKILL to the agent."""
        if self.agent is not None and not self.agent.loop.dead:
            self.agent.kill()
            _close_ends(self.wire, self.agent.loop)

    def forget(self) -> None:
        """Its disk is empty."""
        self.machine.log.clear()
        for file in self.world.folder.glob(f"{self.name}.*"):
            file.unlink()

    def sleep(self) -> None:
        """All of the machine stops."""
        self.machine.asleep = True
        if self.agent is not None:
            self.agent.loop.freeze()

    def wake(self) -> None:
        """And goes on, as if nothing had been."""
        if self.machine.asleep:
            self.machine.asleep, self.machine.woke = False, self.world.timeline.now
            if self.agent is not None:
                self.agent.loop.thaw()
            if self.machine.keeper is not None:
                self.machine.keeper.nudge()

    def check_slots(self) -> None:
        """A command has started: no more may run than somebody has asked for."""
        running = len(self.machine.processes)
        if running > max(self.wishes):
            wrong = f"{self.name} runs {running} at once, asked for: {self.wishes}"
            self.world.truth.complain(wrong)
        elif len(self.wishes) > 1 and not self.tuning:
            self._settle_wishes(running)

    def _settle_wishes(self, running: int) -> None:
        """Once everybody knows of the same number of slots, the others are history."""
        assert self.agent is not None
        mind, keeper = self.agent.mind, self.machine.keeper
        known = {mind.settings.concurrency, self.world.slots_of(self.name)}
        busy = max(running, mind.busy)
        if keeper is not None:
            known.add(keeper.slots)
            busy = max(busy, keeper.busy)
        if len(known) == 1 and busy <= max(known):
            self.wishes = list(known)

    async def _dial(self, loop: NodeLoop) -> End:
        """Connect to the server, as TCP and HTTP would."""
        while any(self.wire.blocked.values()):  # noqa: ASYNC110 - as TCP does
            await asyncio.sleep(1.0)  # until the caller's patience ends
        await asyncio.sleep(2 * self.wire.delay())
        server = self.world.server
        if server.loop.dead:
            raise ConnectionRefusedError
        mine, theirs = connect(self.wire, loop, server.loop)
        server.loop.call_soon(server.accept, theirs)
        return mine


class World:
    """Everything."""

    def __init__(self, timeline: Timeline, seed: int, folder: Path, workers: int = 3) -> None:
        self.timeline, self.seed, self.folder = timeline, seed, folder
        self.truth = Truth(timeline)
        self.watcher = Watcher(self._plan, self._started, self.truth.stopped)
        self.lengths: dict[int, float] = {}  # seconds that a task takes, more or less
        self.disk = Disk()
        self.server = SimServer(timeline, self.disk, LEASE_SECONDS)
        self.workers = [Worker(self, number) for number in range(workers)]
        self._by_machine = {worker.machine: worker for worker in self.workers}

    def start_server(self) -> None:
        """Start a server, unless one is there."""
        if self.server.loop.dead:
            self.server = SimServer(self.timeline, self.disk, LEASE_SECONDS)

    def kill_server(self) -> None:
        """SIGKILL."""
        self.server.loop.kill()
        for worker in self.workers:
            worker.tuning = 0
            _close_ends(worker.wire, self.server.loop)

    def run(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; AssertionError as soon as something is not as it must be."""
        reached = self.timeline.run(self.timeline.now + seconds, done)
        wrong = [*self.truth.wrong, *self.timeline.errors]
        assert not wrong, self.tell(wrong[0])
        return reached

    def tell(self, what: str) -> str:
        """A failure, with what it takes to see it again."""
        story = "\n".join(self.truth.story[-60:])
        return f"seed {self.seed}, at {self.timeline.now:.3f} s: {what}\n{story}"

    def slots_of(self, name: str) -> int:
        """What the books say of a worker's concurrency."""
        wanted = sa.select(workers.c.concurrency).where(workers.c.name == name)
        return int(self.server.db.look(lambda conn: conn.execute(wanted).scalar_one()))

    def close(self) -> None:
        """Let go of it."""
        self.timeline.close()
        for worker in self.workers:
            if worker.agent is not None:
                worker.agent.journal._db.close()
        self.disk.raw.close()

    def _plan(self, machine: Machine, task: int, attempt: int, step: int, pid: int) -> Process:
        """What a command will do: the same whenever the same one starts."""
        chance = random.Random(f"{self.seed}/{task}/{attempt}/{step}")  # noqa: S311 - repeatable
        seconds = self.lengths.get(task, 1.0) * chance.uniform(0.5, 1.5)
        code = chance.choice((1, 2, 127)) if chance.random() < FAILING else 0
        stubborn = chance.random() < STUBBORN
        now = self.timeline.now
        return Process(task, attempt, step, machine, pid, now, seconds, code, stubborn)

    def _started(self, process: Process) -> None:
        self.truth.started(process)
        self._by_machine[process.machine].check_slots()


def _close_ends(wire: Wire, loop: NodeLoop) -> None:
    """The kernel closes the connections of a process that was killed."""
    for end in sorted(wire.ends, key=lambda end: end.number):
        if end.loop is loop:
            end.abort()


@contextmanager
def world(seed: int, folder: Path, **how: Any) -> Iterator[World]:
    """A world of its own, whose clock all modules read."""
    undo: list[tuple[object, str, object]] = []

    def patch(module: object, name: str, value: object) -> None:
        undo.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    state = random.getstate()
    random.seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    timeline = Timeline(seed)
    sim_machine.put_in_place(patch)
    sim_server.put_in_place(patch, timeline)
    one = World(timeline, seed, folder, **how)
    try:
        yield one
    finally:
        one.close()
        for module, name, value in reversed(undo):
            setattr(module, name, value)
        random.setstate(state)
