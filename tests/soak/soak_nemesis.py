"""What goes wrong in the soak: one fault after the other, some side by side, all mended at the end.

A fault is a coroutine: it does its harm, waits, and mends it. A program is hurt by one at a time,
and half of the workers are left alone.
"""

import asyncio
import contextlib
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

import psutil
import soak_fleet
from servers.meddler import Fault, Meddler, Seen
from soak_fleet import Fleet, Postgres, Worker

PAUSE_SECONDS: Final = 2.5  # between the beginnings of two faults, on average
HURT_AT_ONCE: Final = 2  # workers
SHORT: Final = (0.5, 2.0, 5.0)
LONG: Final = (2.0, 5.0, 10.0, 20.0, 1.7 * soak_fleet.LEASE_SECONDS)  # the last: beyond a lease
UNLIMITED: Final = (65_536, 65_536)

ServerFault = Callable[[], Coroutine[Any, Any, None]]
WorkerFault = Callable[[Worker], Coroutine[Any, Any, None]]


class Nemesis:
    """Chooses faults by chance, and counts them."""

    def __init__(
        self, fleet: Fleet, chance: random.Random, database: Postgres | None, proxy: Meddler
    ) -> None:
        self.fleet, self.chance, self.database, self.proxy = fleet, chance, database, proxy
        self.done: Counter[str] = Counter()
        self.story: list[str] = []
        self._hurt: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_server: list[ServerFault] = [
            self.server_killed,
            self.server_stopped,
            self.server_frozen,
            self.server_out_of_files,
            *(
                [self.database_locked, self.server_disk_full]
                if database is None
                else [self.database_stopped, self.database_crashed, self.connections_terminated]
            ),
        ]
        self._of_worker: list[WorkerFault] = [
            self.agent_killed,
            self.agent_stopped,
            self.agent_frozen,
            self.keeper_killed,
            self.guardian_killed,
            self.keeper_frozen,
            self.all_killed,
            self.tasks_killed,
            self.worker_disk_full,
            self.worker_out_of_files,
            self.partition,
            self.half_partition,
            self.packets_lost,
            self.connections_reset,
        ]

    async def run(self) -> None:
        """Do harm until cancelled."""
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / PAUSE_SECONDS))
            for task in [task for task in self._tasks if task.done()]:
                self._tasks.discard(task)
                task.result()  # a fault that could not be made ends the soak
            what = self.chance.random()
            if what < 0.1:
                self._begin("replies", self.replies_broken())
            elif what < 0.25:
                self._begin("server", self.chance.choice(self._of_server)())
            else:
                worker = self.chance.choice(self.fleet.workers)
                hurt = len(self._hurt & {one.name for one in self.fleet.workers})
                if hurt < HURT_AT_ONCE:
                    self._begin(worker.name, self.chance.choice(self._of_worker)(worker))

    async def mend(self) -> None:
        """Wait until every fault that was begun is mended."""
        await asyncio.gather(*self._tasks)

    def _begin(self, target: str, fault: Coroutine[Any, Any, None]) -> None:
        if target in self._hurt:
            fault.close()
            return
        self._hurt.add(target)
        self.done[fault.__name__] += 1
        now = asyncio.get_running_loop().time()
        self.story.append(f"{now:10.1f} {fault.__name__} {target}")
        task = asyncio.create_task(fault)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._hurt.discard(target))

    async def _wait(self, *seconds: float) -> None:
        await asyncio.sleep(self.chance.choice(seconds or SHORT) * self.chance.uniform(0.7, 1.3))

    # --- the server

    async def server_killed(self) -> None:
        """Kill -9, and a new one later."""
        self.fleet.server.end(signal.SIGKILL)
        await self._wait()
        self.fleet.server.start()

    async def server_stopped(self) -> None:
        """Ended politely, as for an upgrade."""
        await asyncio.to_thread(self.fleet.server.end, signal.SIGTERM)
        await self._wait(0.5, 3.0)
        self.fleet.server.start()

    async def server_frozen(self) -> None:
        """SIGSTOP, SIGCONT."""
        self.fleet.server.signal(signal.SIGSTOP)
        await self._wait(*SHORT, 15.0)
        self.fleet.server.signal(signal.SIGCONT)

    async def server_disk_full(self) -> None:
        """Not one byte left where the queue lives."""
        ballast = await asyncio.to_thread(soak_fleet.fill, self.fleet.data)
        await self._wait(2.0, 5.0, 10.0)
        ballast.unlink()

    async def server_out_of_files(self) -> None:
        """No file and no connection can be opened any more."""
        await self._without_files(self.fleet.server.process)

    async def database_locked(self) -> None:
        """Somebody looks at the database with sqlite3, and holds its lock."""

        def lock() -> sqlite3.Connection:
            file = self.fleet.data / "pytq.db"
            assert file.exists()
            human = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            human.execute("PRAGMA busy_timeout = 10000")
            with contextlib.suppress(sqlite3.OperationalError):
                human.execute("BEGIN EXCLUSIVE")
            return human

        human = await asyncio.to_thread(lock)
        await self._wait(1.0, 3.0, 8.0)
        human.close()

    async def database_stopped(self) -> None:
        """PostgreSQL is restarted by its operator."""
        await self._restart_database("fast")

    async def database_crashed(self) -> None:
        """PostgreSQL goes down without a goodbye, and recovers."""
        await self._restart_database("immediate")

    async def connections_terminated(self) -> None:
        """All connections to PostgreSQL are cut."""
        assert self.database is not None
        await asyncio.to_thread(self.database.terminate_backends)

    async def _restart_database(self, mode: str) -> None:
        assert self.database is not None
        await asyncio.to_thread(self.database.stop, mode)
        await self._wait(0.5, 2.0, 8.0)
        await asyncio.to_thread(self.database.start)

    async def replies_broken(self) -> None:
        """What passes the proxy may not arrive; or it does, but its answer does not."""

        def choose(_: Seen) -> Fault | None:
            faults = (Fault.RESET, Fault.LOST, Fault.CUT, Fault.SLOW_DOWN, None)
            return self.chance.choice(faults)

        self.proxy.choose = choose
        await self._wait(5.0, 15.0)
        self.proxy.choose = lambda _: None

    # --- a worker

    async def agent_killed(self, worker: Worker) -> None:
        """Kill -9 of the agent alone; its tasks go on until the lease passes."""
        worker.end(signal.SIGKILL)
        await self._wait(*LONG)
        worker.start()

    async def agent_stopped(self, worker: Worker) -> None:
        """Ended politely, as for an upgrade: it leaves its tasks to the next one."""
        await asyncio.to_thread(worker.end, signal.SIGTERM)
        await self._wait(0.5, 3.0)
        worker.start()

    async def agent_frozen(self, worker: Worker) -> None:
        """SIGSTOP, SIGCONT; its tasks go on until the lease passes."""
        worker.signal(signal.SIGSTOP)
        await self._wait(*LONG)
        worker.signal(signal.SIGCONT)

    async def keeper_killed(self, worker: Worker) -> None:
        """Kill -9 of what holds the tasks: they die, and are lost."""
        for keeper in worker.keepers()[1:]:
            _send(keeper, signal.SIGKILL)

    async def guardian_killed(self, worker: Worker) -> None:
        """Kill -9 of what would bury the keeper's tasks."""
        for guardian in worker.keepers()[:1]:
            _send(guardian, signal.SIGKILL)

    async def keeper_frozen(self, worker: Worker) -> None:
        """Nothing starts or is seen to end for a while; shorter than the lease."""
        frozen = worker.keepers()[1:]
        for keeper in frozen:
            _send(keeper, signal.SIGSTOP)
        await self._wait(1.0, 5.0, 10.0)
        for keeper in frozen:
            _send(keeper, signal.SIGCONT)

    async def all_killed(self, worker: Worker) -> None:
        """Agent, keeper and tasks at once, as when a machine dies; it comes back."""
        everything = worker.everything()
        worker.end(signal.SIGKILL)
        for process in everything:
            _send(process, signal.SIGKILL)
        await self._wait(*LONG)
        worker.start()

    async def tasks_killed(self, worker: Worker) -> None:
        """Somebody kills what a task runs."""
        running = [one for keeper in worker.keepers()[1:] for one in _children(keeper)]
        for process in self.chance.sample(running, min(3, len(running))):
            _send(process, signal.SIGKILL)

    async def worker_disk_full(self, worker: Worker) -> None:
        """Not one byte left where tasks work and the journal lies."""
        ballast = await asyncio.to_thread(soak_fleet.fill, worker.home)
        await self._wait(2.0, 5.0, 15.0)
        ballast.unlink()

    async def worker_out_of_files(self, worker: Worker) -> None:
        """The agent can open nothing any more."""
        await self._without_files(worker.process)

    async def partition(self, worker: Worker) -> None:
        """No packet either way; once in a while for longer than a lease."""
        worker.cable.cut()
        await self._wait(*LONG)
        worker.cable.mend()

    async def half_partition(self, worker: Worker) -> None:
        """What is said arrives, the answers do not; or the other way round."""
        up = self.chance.random() < 0.5
        worker.cable.cut(up=up, down=not up)
        await self._wait(*LONG)
        worker.cable.mend()

    async def packets_lost(self, worker: Worker) -> None:
        """A third of all packets."""
        worker.cable.lose(0.3)
        await self._wait(5.0, 15.0)
        worker.cable.mend()

    async def connections_reset(self, worker: Worker) -> None:
        """Whatever connects is hung up on."""
        worker.cable.reset()
        await self._wait(1.0, 5.0)
        worker.cable.mend()

    async def _without_files(self, popen: Any) -> None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(popen.pid)
            process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 1, UNLIMITED[1]))
            await self._wait(2.0, 5.0, 10.0)
            process.rlimit(psutil.RLIMIT_NOFILE, UNLIMITED)


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return list(process.children())
    return []
