"""The keeper proper: a loop over the agent's lines, exits, and deadlines."""

# pathlib would double what this process costs to start and to keep.
# ruff: noqa: PTH108, PTH109

import contextlib
import json
import os
import select
import signal
import socket

from pytq.worker.keeper.agent import Agent, listener
from pytq.worker.keeper.holdings import Holdings
from pytq.worker.keeper.oom import OomKiller
from pytq.worker.keeper.processes import children, environment_of, kill, place_of, processes
from pytq.worker.keeper.tasks import Message, Task, now

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL
IDLE_SECONDS = 10.0  # holding nothing, with no agent: then it ends itself
TELL_SECONDS = 0.005  # exits may wait so long to be told, while there is more to start
STARTING_SECONDS = 0.05  # then see what came of starts, should nothing else have woken us
DYING_SECONDS = 0.2  # look so often for those whose grace is over, with containers to guard too
LEASE_CHECK_SECONDS = 5.0  # epoll's clock stands still while the machine sleeps
SIGNALS = {"pause": signal.SIGSTOP, "resume": signal.SIGCONT, "kill": signal.SIGKILL}


class Keeper(Holdings):
    """The keeper proper: a loop over the agent's lines, exits, and deadlines."""

    def __init__(self, boot: str) -> None:
        self.wake, self.woken = socket.socketpair()
        for end in (self.wake, self.woken):
            end.setblocking(False)
        super().__init__(boot, self.woken.fileno())
        self.oom = OomKiller()
        self.strays: dict[int, Task | None] = {}  # adopted orphans, by pid
        self.agent: Agent | None = None
        self.alone_since = now()
        self.grace = GRACE_SECONDS  # after the lease, for tasks to end
        self.length = 0.0  # of a whole lease, for the next agent to know
        self.leaving = False
        self.asked = False  # by SIGTERM
        self.tell_at = 0.0  # when the lines for the agent must go

    def run(self) -> None:
        """Keep, until nothing is held and nobody is there."""
        home = os.getcwd()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "asked", True))
        signal.set_wakeup_fd(self.woken.fileno(), warn_on_full_buffer=False)
        with listener() as door, select.epoll() as poll:
            poll.register(door, select.EPOLLIN)
            poll.register(self.wake, select.EPOLLIN)
            while not self.may_go():
                for fd, _ in poll.poll(self.patience()):
                    if fd == self.wake.fileno():
                        self.wake.recv(4096)
                        self.reap()
                    elif fd == door.fileno():
                        self.welcome(door.accept()[0], poll)
                    elif self.agent and fd == self.agent.socket.fileno():
                        self.listen(poll)
                self.collect()
                self.check_deadlines()
                self.flush(poll)
                if self.asked and not self.leaving:
                    self.shut_down({"kill": True})
            os.chdir(home)
            os.unlink("keeper.sock")
            self.rewrite_log()

    # --- the agent

    def welcome(self, connection: socket.socket, poll: select.epoll) -> None:
        """Take a new agent in place of the one before, and tell it all that is held."""
        self.part(poll)
        connection.setblocking(False)
        self.agent = Agent(connection)
        self.queue.clear()  # whoever is new asks anew
        poll.register(connection, select.EPOLLIN)
        held = [task.state() for task in self.tasks.values()]
        held += [record for name, record in self.past.items() if name not in self.tasks]
        held += self.guarded.states()
        left = self.deadline - now() if self.deadline else 0.0
        holding = {"type": "holding", "held": held, "pid": os.getpid()}
        self.told = [json.dumps(holding | {"lease": left, "length": self.length})]

    def part(self, poll: select.epoll) -> None:
        """Let the agent go."""
        if self.agent is not None:
            poll.unregister(self.agent.socket)
            self.agent.socket.close()
            self.agent = None
            self.alone_since = now()

    def listen(self, poll: select.epoll) -> None:
        """Do what the agent says; a line that makes no sense is answered, never fatal."""
        assert self.agent is not None  # noqa: S101 - tells mypy what the caller checked
        lines = self.agent.read()
        if lines is None:
            self.part(poll)
            return
        for line in lines:
            try:
                message = json.loads(line)
                if message["type"] == "start":
                    self.expect(message)
                else:
                    self.start_all()
                    ORDERS[message["type"]](self, message)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self.told.append(json.dumps({"type": "bad", "message": repr(error)}))
        self.advance()

    def flush(self, poll: select.epoll) -> None:
        """Write down and tell what has gathered, each in one write."""
        if self.kept:
            self.write_down()
        if self.agent is None:
            self.told.clear()
        elif (self.told or self.agent.going) and not self.may_wait():
            waited = bool(self.agent.going)
            self.told.append("")
            data = "\n".join(self.told).encode()
            self.told.clear()
            if not self.agent.send(data):
                self.part(poll)
            elif waited or self.agent.going:
                writing = select.EPOLLOUT if self.agent.going else 0
                poll.modify(self.agent.socket, select.EPOLLIN | writing)

    def may_wait(self) -> bool:
        """Whether telling can wait for more to tell: the agent is not needed to go on."""
        if len(self.queue) <= self.slots:
            self.tell_at = 0.0
        elif not self.tell_at:
            self.tell_at = now() + TELL_SECONDS
        elif now() >= self.tell_at:
            self.tell_at = 0.0
        return self.tell_at > 0

    # --- orders

    def signal(self, order: Message) -> None:
        """Pause, resume, term or kill a task: all of its tree."""
        task, wanted = self.tasks.get(order["id"]), order["signal"]
        if task is None or task.record is not None:
            return
        if order["id"] in self.starting:
            task.late.append(order)
            return
        if wanted in ("term", "kill"):
            task.cause = task.cause or str(order.get("cause", wanted))
        if wanted == "term":
            self.terminate(task, order.get("grace", GRACE_SECONDS))
        else:
            self.reach(task, SIGNALS[wanted])

    def terminate(self, task: Task, grace: float) -> None:
        """Ask a task to end; after the grace it is killed."""
        task.kill_at = now() + grace
        self.dying[task.id] = task
        self.reach(task, signal.SIGTERM, signal.SIGCONT)  # what is stopped hears nothing

    def lease(self, order: Message) -> None:
        """Tasks may run so much longer without another word from the server."""
        self.deadline = now() + float(order["seconds"])
        self.length = float(order.get("length", 0.0))
        self.grace = min(GRACE_SECONDS, float(order.get("grace", GRACE_SECONDS)))

    def shut_down(self, order: Message) -> None:
        """Go as soon as nothing runs; with `kill`, see to it that nothing does."""
        self.leaving = True
        self.withdraw({"ids": list(self.queue)})
        term = {"signal": "term", "cause": "stopped", "grace": order.get("grace", GRACE_SECONDS)}
        for task in [*self.mains.values(), *self.starting.values()] if order.get("kill") else ():
            self.signal({**term, "id": task.id})

    # --- exits

    def reap(self) -> None:
        """Take in every exit; the group goes with its leader, before the pid can be reused."""
        self.collect()
        self.spawners.waited_for = False
        with contextlib.suppress(ChildProcessError):
            while info := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                pid = info.si_pid
                if self.starting and pid not in self.mains and self.may_be_starting(pid):
                    break
                task = self.mains.pop(pid, None)
                if task is not None:
                    with contextlib.suppress(OSError):
                        os.killpg(pid, signal.SIGKILL)
                _, status, usage = os.wait4(pid, 0)
                self.strays.pop(pid, None)
                if task is not None:
                    task.verdict = task.verdict_of(status, usage)
                    self.oom.explain(task.verdict)
                    self.buried.append(task)
        self.bury()
        self.advance()

    def may_be_starting(self, pid: int) -> bool:
        """Whether a process may have ended before its start was reported; then that wakes us."""
        self.spawners.waited_for = True
        self.collect()
        return bool(self.starting) and pid not in self.mains and pid not in children()

    def bury(self) -> None:
        """End what ended tasks left behind; tell the verdict of those that left nothing."""
        orphans = children() - self.mains.keys()
        if orphans:
            for pid in orphans - self.strays.keys():
                self.strays[pid] = self.owner(pid)
            for pid, owner in self.strays.items():
                if owner.verdict if owner else not self.mains:
                    kill(pid, signal.SIGKILL)
        haunted = set(self.strays.values())
        for task in self.buried:
            if task not in haunted and task.verdict is not None:
                self.end(task, task.verdict)
        self.buried = [task for task in self.buried if task.record is None]

    def owner(self, pid: int) -> Task | None:
        """Whose a stray is: by its session, else by the marker in its environment."""
        suspects = [*self.mains.values(), *self.buried, *self.starting.values()]
        with contextlib.suppress(OSError, IndexError):
            session = place_of(pid)[2]
            for task in suspects:
                if task.pid == session:
                    return task
        environment = environment_of(pid)
        marker = b"%b.%b" % (
            environment.get(b"PYTQ_TASK", b""),
            environment.get(b"PYTQ_ATTEMPT", b""),
        )
        for task in suspects:
            if task.marker == marker:
                return task
        return suspects[0] if len(suspects) == 1 else None

    def reach(self, task: Task, *numbers: int) -> None:
        """Signal the whole tree of a task, whatever sessions its parts have fled to."""
        places = processes()
        families: dict[int, list[int]] = {}
        for pid, (parent, _, _) in places.items():
            families.setdefault(parent, []).append(pid)
        tree = {pid for pid, place in places.items() if place[2] == task.pid}
        strays = children() - self.mains.keys()
        rest = [*tree, task.pid, *(pid for pid in strays if self.owner(pid) is task)]
        while rest:
            pid = rest.pop()
            tree.add(pid)
            rest += [child for child in families.get(pid, ()) if child not in tree]
        for number in numbers:
            with contextlib.suppress(OSError):
                os.killpg(task.pid, number)
            for pid in tree:
                if places.get(pid, (0, 0, 0))[1] != task.pid:
                    kill(pid, number)

    # --- time

    def check_deadlines(self) -> None:
        """End what outlived its lease, kill what outlived its grace."""
        self.oom.look()
        if self.guarded.held:
            self.guarded.check(self.deadline, self.grace)
            news = self.guarded.news()
            self.kept += news
            self.told += news
        if self.expired:
            if self.queue:
                self.withdraw({"ids": list(self.queue)})
            self.end_all_in_time()
        for task in [task for task in self.dying.values() if now() >= task.kill_at]:
            task.killed, task.kill_at = True, now() + GRACE_SECONDS  # then once more
            self.reach(task, signal.SIGKILL)

    def end_all_in_time(self) -> None:
        """The lease has passed: all have ended before anybody else may have them.

        Whoever comes too late for that, after a sleep of the whole machine, has no time to be kind.
        """
        last = self.deadline + self.grace
        for task in self.mains.values():
            if not task.kill_at:
                task.cause = "lease"
                self.terminate(task, max(0.0, last - now()))
            elif not task.killed:
                task.kill_at = min(task.kill_at, last)

    def patience(self) -> float | None:
        """How long the loop may sleep."""
        if self.tell_at:
            return max(0.0, self.tell_at - now())
        if self.starting:
            return STARTING_SECONDS
        if self.guarded.busy:
            return self.guarded.patience(self.deadline) if not self.dying else DYING_SECONDS
        if not self.mains and not self.buried:
            return None if self.agent else max(0.0, self.alone_since + IDLE_SECONDS - now())
        soonest = [task.kill_at for task in self.dying.values()]
        if self.deadline:
            soonest.append(min(self.deadline, now() + LEASE_CHECK_SECONDS))
        return max(0.0, min(soonest) - now()) if soonest else None

    def may_go(self) -> bool:
        """Whether nobody would miss this process."""
        if self.busy or self.guarded.busy:
            return False
        alone = self.agent is None and now() - self.alone_since >= IDLE_SECONDS
        return alone or self.leaving


ORDERS = {
    "signal": Keeper.signal,
    "forget": Keeper.forget,
    "guard": lambda keeper, order: keeper.guarded.take(order),
    "lease": Keeper.lease,
    "slots": Keeper.set_slots,
    "withdraw": Keeper.withdraw,
    "shutdown": Keeper.shut_down,
}
