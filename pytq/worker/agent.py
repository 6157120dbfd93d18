"""The agent: wires journal, keeper, link and machine together. Wiring, and nothing else."""

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any, Final

from pytq.schema.frames import root_of
from pytq.schema.views import WorkerSettings
from pytq.worker import load, moves
from pytq.worker.adoption import adopt, reconcile, rooms_of
from pytq.worker.containers import Containers
from pytq.worker.dialogue import Dialogue
from pytq.worker.hands import Hands
from pytq.worker.journal import Journal
from pytq.worker.keeping import Keeping, Message
from pytq.worker.machine import Machine
from pytq.worker.options import WorkerError, WorkerOptions
from pytq.worker.output import RATE
from pytq.worker.rooms import FAILED_KEPT, Rooms, remove_trees
from pytq.worker.runners import process
from pytq.worker.staging.disk import Ballast
from pytq.worker.upkeep import Upkeep

__all__ = ["Agent", "WorkerError", "WorkerOptions", "run_worker"]

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.2
END_SECONDS: Final = 15.0  # for tasks to end, when told to kill
HEARD_SECONDS: Final = 3.0  # for the server to hear of it
KILL_GRACE: Final = 2.0


def clock() -> float:
    """Seconds since boot: the same for every agent of this machine, and never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def run_worker(options: WorkerOptions) -> int:
    """Work until told to stop; `WorkerError` when that is not possible."""
    options.home.mkdir(parents=True, exist_ok=True)
    # Thousands of short-lived objects a second: do not walk all the imported modules for them.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    with _only_one(options):
        agent = Agent(options)
        with _stop_on_signals(agent.stopped):
            return await agent.run()


class Agent:
    """One worker."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        host = load.describe(options.home)
        ballast = Ballast(options.home)
        self.journal = Journal(options.home / "journal.sqlite", ballast.drop)
        identity, self._same_boot = self.journal.identify(host.boot)
        settings = WorkerSettings(
            batch=options.batch, concurrency=options.concurrency, prefetch=options.prefetch
        )
        self.hands = Hands(
            Machine(settings),
            self.journal,
            Rooms(options.home),
            options,
            process.Machine(host.cpus, host.memory, options.path),
            clock,
        )
        self.keeping = self.hands.keeping = Keeping(options.home, self._heard, self._keeper_left)
        self.dialogue = Dialogue(options, host, identity, self.hands)
        self.containers = self.hands.containers = Containers(
            options,
            root_of(identity),
            self.hands.machine,
            self._guard,
            self._happened,
            self.dialogue.link.start_over,
        )
        self.hands.porter.images = self.containers
        self.upkeep = Upkeep(options, self.hands, ballast, self.dialogue.tell)
        self.dialogue.welcomed = self.upkeep.begin_anew
        self.stopped = asyncio.Event()
        self._leaving = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        """Take over, work, leave."""
        try:
            held = await self.keeping.open()
            self.dialogue.inherit(self.keeping.lease, self.keeping.lease_length)
            lines = self.journal.read()
            await self.containers.open()
            self.hands.porter.open()
            left = self.hands.rooms.others(rooms_of(lines, held))  # before new ones are made
            adopt(self.hands, lines, held, same_boot=self._same_boot)
            self.hands.write_down()
            await asyncio.to_thread(remove_trees, left)
            link = self._spawn(self.dialogue.link.run())
            stop = self._spawn(self.stopped.wait())
            self._spawn(self._tick())
            self._spawn(self._beat())
            self._spawn(self.upkeep.run())
            self._spawn(self.containers.watch())
            await asyncio.wait({link, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self.options.kill_on_exit:
                await self._end_all()
            if link.done():
                link.result()  # why the server will not have us
        finally:
            await self._leave()
        return 0

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    def _guard(self, message: Message) -> None:
        self.keeping.send(message)
        self.keeping.flush()

    def _happened(self, event: moves.Event) -> None:
        self.hands.take(event)
        self.dialogue.speak_up()

    def _heard(self, messages: list[Message]) -> None:
        self.hands.hear(messages)
        self.dialogue.speak_up()

    def _keeper_left(self) -> None:
        if not self._leaving:
            log.warning("the keeper went away; starting another")
            self._spawn(self._find_keeper())

    async def _find_keeper(self) -> None:
        held = await self.keeping.reopen()
        self.dialogue.tell_lease()  # it is new, and knows of none
        reconcile(self.hands, held)
        self.hands.keeping.flush()
        self.dialogue.speak_up()

    async def _tick(self) -> None:
        """What is looked at now and then: output that grew, leases that wait too long."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if not self.hands.machine.executions:
                continue
            self.hands.take(self.dialogue.lease(), moves.Ticked())
            self.hands.write_down()
            if self.dialogue.link.up:
                self.hands.look_at_output(int(RATE * TICK_SECONDS))
                if self.hands.outbox.grown:
                    self.dialogue.link.report_within(0)
            self.dialogue.speak_up()
            if self.hands.rooms.kept >= FAILED_KEPT:
                await asyncio.to_thread(self.hands.rooms.tidy)

    async def _beat(self) -> None:
        while True:
            self.dialogue.beat(await asyncio.to_thread(load.measure, self.options.home))
            await asyncio.sleep(self.dialogue.beat_seconds)

    async def _end_all(self) -> None:
        """End every task and say so; leave no process behind."""
        self._leaving = True
        self.hands.take(moves.WorkerStopped())
        self.keeping.send({"type": "shutdown", "kill": True, "grace": KILL_GRACE})
        self.keeping.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self.containers.end_all(KILL_GRACE)
                await self.keeping.gone.wait()
                await self.keeping.buried()
        self.dialogue.link.report_within(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARD_SECONDS):
                await self.dialogue.all_heard()

    async def _leave(self) -> None:
        """Let go; what runs stays with the keeper."""
        self._leaving = True
        running = self.dialogue.still_running
        if running:
            log.warning("%d tasks go on running; start this worker again to take over", running)
        else:
            self.keeping.send({"type": "shutdown"})
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hands.porter.close()
        self.hands.write_down()
        await self.containers.close()
        self.keeping.flush()
        self.keeping.close()
        self.journal.close()


@contextlib.contextmanager
def _only_one(options: WorkerOptions) -> Iterator[None]:
    """Refuse a second worker in the same work directory."""
    fd = os.open(options.home / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise WorkerError(
            f"another worker already uses {options.home};"
            " give --name NAME to run a second one on this machine"
        ) from error
    finally:
        os.close(fd)


@contextlib.contextmanager
def _stop_on_signals(stopped: asyncio.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
