"""A worker's machine: its processes, its disk, and the real keeper's logic over them."""

import errno
import json
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sim_timeline import Timeline

from pytq.worker.keeper import containers, holdings, oom, tasks
from pytq.worker.keeper import keeper as keeping
from pytq.worker.keeper.keeper import Keeper
from pytq.worker.keeper.spawners import Start
from pytq.worker.keeper.tasks import Message, Task

WIRE_SECONDS: Final = 0.0002  # between agent and keeper
TIRED: Final = 0.02  # of SIGTERMs that a command takes its time over, or ignores


@dataclass(eq=False)
class Process:
    """A command that runs. What it would do is decided when it starts."""

    task: int
    attempt: int
    step: int
    machine: "Machine"
    pid: int
    began: float
    seconds: float  # it still wants to run
    code: int
    stubborn: bool  # it ignores SIGTERM
    stopped: bool = False
    resumed: float = 0.0  # when it last began to run
    over: bool = False
    ended: float = 0.0
    status: tuple[int | None, int | None] = (None, None)  # exit code, signal

    @property
    def runs(self) -> bool:
        """Whether it could do something at this moment."""
        return not (self.over or self.stopped or self.machine.asleep)


class Machine:
    """A machine that workers' processes run on. It can be asleep, and it can be restarted."""

    def __init__(self, timeline: Timeline, name: str, watched: "Watcher") -> None:
        self.timeline, self.name, self.watched = timeline, name, watched
        self.rate = timeline.between(0.9995, 1.0005)  # of its clock
        self.boot = 1
        self.processes: dict[int, Process] = {}
        self.keeper: SimKeeper | None = None
        self.guarded = False  # the guardian lives
        self.log: list[Message] = []  # keeper.log, and the boot it was written in
        self.log_boot = 0
        self.asleep = False  # all of it: suspended, or a virtual machine that is paused
        self.woke = float("-inf")
        self._pids = 0

    def clock(self) -> float:
        """CLOCK_BOOTTIME."""
        return self.timeline.now * self.rate

    # --- processes

    def spawn(self, name: str) -> int:
        """Start a command; OSError when it cannot be."""
        task, attempt, step = map(int, name.split("."))
        if self.timeline.chance(0.01):
            raise OSError(errno.ENOENT, "command not found", "nonsense")
        self._pids += 1
        process = self.watched.plan(self, task, attempt, step, self._pids)
        self.processes[process.pid] = process
        process.resumed = self.timeline.now
        self._finish_later(process)
        self.watched.started(process)
        return process.pid

    def signal(self, pid: int, number: int) -> None:
        """Send a signal."""
        process = self.processes.get(pid)
        if process is None or process.over:
            return
        if number == signal.SIGSTOP and not process.stopped:
            process.seconds -= self.timeline.now - process.resumed
            process.stopped = True
        elif number == signal.SIGCONT and process.stopped:
            process.stopped, process.resumed = False, self.timeline.now
            self._finish_later(process)
        elif number == signal.SIGKILL:
            self.end(process, None, number)
        elif number == signal.SIGTERM and not process.stubborn:
            self.timeline.after(self.timeline.between(0, 0.2), self._obey, process)

    def end(self, process: Process, code: int | None, number: int | None) -> None:
        """A process is over; its keeper hears of it."""
        if process.over:
            return
        process.over, process.ended = True, self.timeline.now
        process.status = (code, number)
        del self.processes[process.pid]
        self.watched.stopped(process)
        if self.keeper is not None:
            self.keeper.zombies.append(process)
            self.keeper.nudge()

    def _obey(self, process: Process) -> None:
        if process.stopped:
            self.timeline.after(0.2, self._obey, process)  # what is stopped hears nothing
        else:
            self.end(process, None, signal.SIGTERM)

    def _finish_later(self, process: Process) -> None:
        self.timeline.after(process.seconds, self._finish, process, process.resumed)

    def _finish(self, process: Process, since: float) -> None:
        if process.over or process.stopped or process.resumed != since:
            return
        if self.asleep:
            self.timeline.after(1.0, self._finish, process, since)
        else:
            self.end(process, process.code, None)

    # --- the keeper's life

    def start_keeper(self) -> None:
        """A keeper and its guardian; nothing happens while others hold the lock."""
        if self.keeper is None and not self.guarded:
            for process in list(self.processes.values()):  # `end_leftovers`
                self.end(process, None, signal.SIGKILL)
            self.guarded = True
            self.keeper = SimKeeper(self)

    def kill_keeper(self) -> None:
        """SIGKILL to the keeper: what it held falls to the guardian, which ends it."""
        if self.keeper is None:
            return
        keeper, self.keeper = self.keeper, None
        keeper.die()
        if self.guarded:
            for process in list(self.processes.values()):
                self.end(process, None, signal.SIGKILL)
            self.guarded = False

    def kill_guardian(self) -> None:
        """SIGKILL to the guardian: the keeper goes on alone."""
        self.guarded = False

    def reboot(self) -> None:
        """Everything ends at once."""
        self.boot += 1
        keeper, self.keeper, self.guarded = self.keeper, None, False
        for process in list(self.processes.values()):
            self.end(process, None, signal.SIGKILL)
        if keeper is not None:
            keeper.die()


@dataclass
class Watcher:
    """Those of the world who decide what commands do, and see what becomes of them."""

    plan: Callable[[Machine, int, int, int, int], Process]
    started: Callable[[Process], None]
    stopped: Callable[[Process], None]


# --- what the keeper's module finds in place of the operating system


class _Socket:
    """The keeper's end of its socket."""

    def __init__(self, machine: Machine, tell: Callable[[bytes], None]) -> None:
        self.machine, self.tell = machine, tell
        self.coming = deque[bytes]()
        self.gone = False

    def setblocking(self, _flag: bool) -> None:
        """It never blocks."""

    def fileno(self) -> int:
        return id(self)

    def recv(self, _size: int) -> bytes:
        if self.coming:
            return self.coming.popleft()
        if self.gone:
            return b""
        raise BlockingIOError

    def send(self, data: bytes) -> int:
        if self.gone:
            raise BrokenPipeError
        self.tell(bytes(data))
        return len(data)

    def close(self) -> None:
        """The keeper hangs up."""
        if not self.gone:
            self.gone = True
            self.tell(b"")


class _Nothing:
    """Stands for epoll and for the sockets that wake the keeper."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None

    def fileno(self) -> int:
        return 0


@dataclass
class _Log:
    """keeper.log, on the machine's disk."""

    machine: Machine
    size: int = 0

    def read(self) -> dict[str, Message]:
        records: dict[str, Message] = {}
        for entry in self.machine.log if self.machine.log_boot == self.machine.boot else ():
            if entry["type"] == "start":
                records[entry["id"]] = {**entry, "type": "vanished"}
            else:
                records[entry["id"]] = {**records.get(entry["id"], {}), **entry}
        return records

    def write(self, lines: list[str]) -> None:
        self.size += sum(map(len, lines))
        self.machine.log.extend(map(json.loads, lines))

    def rewrite(self, entries: list[Message]) -> None:
        self.machine.log, self.machine.log_boot = list(entries), self.machine.boot
        self.size = 100 * len(entries)


@dataclass
class _Spawners:
    """Starts commands a moment after it was asked to."""

    machine: Machine
    waited_for: bool = False
    done: deque[Start] = field(default_factory=deque)

    def start(self, task: Task, _order: Message) -> None:
        delay = self.machine.timeline.between(0.0005, 0.005)
        self.machine.timeline.after(delay, self._start, task, self.machine.keeper)

    def _start(self, task: Task, keeper: "SimKeeper | None") -> None:
        if keeper is None or keeper is not self.machine.keeper:
            return  # killed before it came to that
        if keeper.suspended:
            self.machine.timeline.after(0.5, self._start, task, keeper)
            return
        try:
            self.done.append(Start(task, self.machine.spawn(task.id)))
        except OSError as error:
            self.done.append(Start(task, 0, error))
        keeper.nudge()


class SimKeeper(Keeper):
    """The real keeper's decisions; the machine around it is simulated."""

    _on: Machine  # the machine whose keeper is being made, or has its turn

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.zombies: list[Process] = []
        self.frozen = False
        self.turns_at = float("inf")
        self.callers: deque[_Socket] = deque()
        SimKeeper._on = machine
        super().__init__(str(machine.boot))
        self.nudge()

    @property
    def suspended(self) -> bool:
        return self.frozen or self.machine.asleep

    def call(self, tell: Callable[[bytes], None]) -> _Socket:
        """An agent connects; `tell` takes what the keeper says, nothing when it hangs up."""
        socket = _Socket(self.machine, tell)
        self.callers.append(socket)
        self.nudge()
        return socket

    def nudge(self, after: float = WIRE_SECONDS) -> None:
        """Give it a turn soon."""
        when = self.machine.timeline.now + after
        if when < self.turns_at:
            self.turns_at = when
            self.machine.timeline.at(when, self._due, when)

    def die(self) -> None:
        """It is no more."""
        self.turns_at = float("-inf")
        if self.agent is not None:
            self.agent.socket.close()
        for socket in self.callers:
            socket.close()

    def _due(self, when: float) -> None:
        if when != self.turns_at:
            return
        self.turns_at = float("inf")
        if self.suspended:
            self.nudge(0.1)
            return
        SimKeeper._on = self.machine
        self._turn()
        if self.may_go() and self.machine.keeper is self:
            self.machine.keeper, self.machine.guarded = None, False
            self.rewrite_log()
            self.die()
            return
        patience = self.patience()
        if patience is not None:
            self.nudge(max(WIRE_SECONDS, patience))

    def _turn(self) -> None:
        """Once around the real one's loop."""
        poll: Any = _Nothing()
        self.reap()
        while self.callers:
            self.welcome(self.callers.popleft(), poll)  # type: ignore[arg-type]
        while self.agent is not None and (self.agent.socket.coming or self.agent.socket.gone):  # type: ignore[attr-defined]
            self.listen(poll)
        self.collect()
        self.check_deadlines()
        self.flush(poll)

    # --- in place of the operating system

    def reap(self) -> None:
        self.collect()
        while self.zombies:
            process = self.zombies.pop(0)
            task = self.mains.pop(process.pid, None)
            if task is not None:
                code, number = process.status
                task.verdict = {
                    "type": "exited",
                    "id": task.id,
                    "code": code,
                    "signal": number,
                    "cpu": 0.0,
                    "rss": 0,
                    "cause": task.cause,
                }
                self.buried.append(task)
        self.bury()
        self.advance()

    def bury(self) -> None:
        for task in self.buried:
            assert task.verdict is not None
            self.end(task, task.verdict)
        self.buried = []

    def reach(self, task: Task, *numbers: int) -> None:
        for number in numbers:
            self.machine.signal(task.pid, number)


def put_in_place(patch: Callable[[object, str, object], None]) -> None:
    """Let the keeper's modules find the simulated machine."""

    def clock() -> float:
        return SimKeeper._on.clock()

    for module in (keeping, holdings, tasks, containers, oom):
        patch(module, "now", clock)
    patch(oom, "kills", lambda: 0)
    patch(holdings, "Log", lambda _path, _boot: _Log(SimKeeper._on))
    patch(holdings, "Spawners", lambda _wake: _Spawners(SimKeeper._on))
    sockets = type("sockets", (), {"socketpair": staticmethod(lambda: (_Nothing(), _Nothing()))})
    patch(keeping, "socket", sockets)
    patch(keeping, "os", type("os", (), {"getpid": staticmethod(lambda: 1)}))
