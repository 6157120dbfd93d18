"""What befalls the world: a seeded choice of everything that can go wrong."""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final

from sim_people import People
from sim_world import Worker, World

PAUSE_SECONDS: Final = 6.0  # between two faults, on average
ACT_SECONDS: Final = 3.0  # between two acts of people
LONG: Final = (0.2, 1.0, 5.0, 20.0, 40.0, 90.0)  # seconds; some are longer than a lease


class Fates:
    """Lets things go wrong, and mends them at the end."""

    def __init__(self, world: World, people: People, only: Collection[str] = ()) -> None:
        self.world, self.people = world, people
        self.timeline, self.chance = world.timeline, world.timeline.random
        self.done: Counter[str] = Counter()
        self._over = False
        self._supervise()
        faults: list[Callable[[], None]] = [
            self.server_killed,
            self.server_frozen,
            self.disk_slow,
            self.database_broken,
            self.database_in_doubt,
        ]
        with_worker: list[Callable[[Worker], None]] = [
            self.agent_killed,
            self.agent_frozen,
            self.keeper_killed,
            self.keeper_frozen,
            self.guardian_killed,
            self.all_killed,
            self.machine_asleep,
            self.machine_restarted,
            self.machine_replaced,
            self.partition,
            self.half_partition,
            self.connection_cut,
            self.network_slow,
        ]
        self._faults: list[tuple[Callable[..., None], bool]] = [(f, False) for f in faults]
        self._faults += [(f, True) for f in with_worker]
        if only:
            self._faults = [(f, about) for f, about in self._faults if f.__name__ in only]

    def begin(self) -> None:
        """From now on things go wrong."""
        self.timeline.after(self._pause(PAUSE_SECONDS), self._strike)
        self.timeline.after(self._pause(ACT_SECONDS), self._act)

    def _supervise(self) -> None:
        """Start agents that have given up, as systemd would."""
        for worker in self.world.workers:
            if worker.agent is not None and worker.agent.left:
                worker.start()
        self.timeline.after(5.0, self._supervise)

    def _pause(self, mean: float) -> float:
        return self.chance.expovariate(1 / mean)

    def _act(self) -> None:
        if not self._over:
            self.people.act()
            self.timeline.after(self._pause(ACT_SECONDS), self._act)

    def _strike(self) -> None:
        if self._over:
            return
        fault, about_worker = self.chance.choice(self._faults)
        self.done[fault.__name__] += 1
        worker = self.chance.choice(self.world.workers)
        self.world.truth.tell(f"-- {fault.__name__} {worker.name if about_worker else ''}")
        fault(worker) if about_worker else fault()
        self.timeline.after(self._pause(PAUSE_SECONDS), self._strike)

    def _then(self, what: Callable[..., None], *arguments: Any) -> None:
        """Later, after a time that may be shorter or longer than a lease."""
        seconds = self.chance.choice(LONG) * self.chance.uniform(0.5, 1.5)
        self.timeline.after(seconds, what, *arguments)

    # --- the server

    def server_killed(self) -> None:
        self.world.kill_server()
        self._then(self.world.start_server)

    def server_frozen(self) -> None:
        server = self.world.server
        server.loop.freeze()
        self._then(server.loop.thaw)

    def disk_slow(self) -> None:
        self.world.disk.slow = self.chance.choice([20.0, 300.0, 2000.0])
        self._then(self._mend_disk)

    def database_broken(self) -> None:
        self.world.disk.broken = self.chance.choice([0.3, 1.0])
        self._then(self._mend_disk)

    def database_in_doubt(self) -> None:
        self.world.disk.in_doubt = 0.3
        self._then(self._mend_disk)

    def _mend_disk(self) -> None:
        disk = self.world.disk
        disk.slow, disk.broken, disk.in_doubt = 1.0, 0.0, 0.0

    # --- a worker

    def agent_killed(self, worker: Worker) -> None:
        worker.kill()
        self._then(worker.start)

    def agent_frozen(self, worker: Worker) -> None:
        agent = worker.agent
        assert agent is not None
        agent.loop.freeze()
        self._then(self._thaw, worker, agent.loop)

    def keeper_killed(self, worker: Worker) -> None:
        worker.machine.kill_keeper()

    def keeper_frozen(self, worker: Worker) -> None:
        keeper = worker.machine.keeper
        if keeper is not None:
            keeper.frozen = True
            self._then(setattr, keeper, "frozen", False)

    def guardian_killed(self, worker: Worker) -> None:
        worker.machine.kill_guardian()

    def all_killed(self, worker: Worker) -> None:
        """Agent, keeper and guardian at once: what they held is left to itself."""
        worker.kill()
        worker.machine.kill_guardian()
        worker.machine.kill_keeper()
        self._then(worker.start)

    def machine_asleep(self, worker: Worker) -> None:
        worker.sleep()
        self._then(worker.wake)

    def machine_restarted(self, worker: Worker) -> None:
        worker.wake()
        worker.kill()
        worker.machine.reboot()
        self._then(worker.start)

    def machine_replaced(self, worker: Worker) -> None:
        """Another machine of the same name, with nothing on its disk."""
        worker.wake()
        worker.kill()
        worker.machine.reboot()
        worker.forget()
        self._then(worker.start)

    def _thaw(self, worker: Worker, loop: Any) -> None:
        if not worker.machine.asleep:
            loop.thaw()

    # --- the network

    def partition(self, worker: Worker) -> None:
        worker.wire.block("up", "down")
        self._then(worker.wire.unblock)

    def half_partition(self, worker: Worker) -> None:
        worker.wire.block(self.chance.choice(["up", "down"]))
        self._then(worker.wire.unblock)

    def connection_cut(self, worker: Worker) -> None:
        worker.wire.cut()

    def network_slow(self, worker: Worker) -> None:
        worker.wire.least, worker.wire.most = 0.05, self.chance.choice([0.3, 3.0])
        self._then(self._mend_wire, worker)

    def _mend_wire(self, worker: Worker) -> None:
        worker.wire.least, worker.wire.most = 0.0005, 0.002

    # --- the end

    def heal(self) -> None:
        """Nothing goes wrong any more, and everybody is there again."""
        self._over = True
        self.world.truth.tell("-- everything is mended")
        self._mend_disk()
        self.world.start_server()
        self.world.server.loop.thaw()
        for worker in self.world.workers:
            self._mend_wire(worker)
            worker.wire.unblock()
            worker.wake()
            if worker.agent is not None and worker.agent.loop.frozen:
                worker.agent.loop.thaw()
            if worker.machine.keeper is not None:
                worker.machine.keeper.frozen = False
            worker.start()
