"""What the keeper holds: tasks that wait for a slot, start, run, are buried, or have ended."""

import errno
import json
from abc import ABC, abstractmethod

from pytq.worker.keeper.containers import Guarded
from pytq.worker.keeper.programs import FIRST_STEP
from pytq.worker.keeper.spawners import Spawners
from pytq.worker.keeper.tasks import LOG_BYTES, Log, Message, Task, now

NOTHING_RAN = {"type": "exited", "code": None, "signal": None, "cpu": 0.0, "rss": 0}


class Holdings(ABC):
    """The books: what was asked for, what came of it, what is to be told and written down."""

    def __init__(self, boot: str, wake: int) -> None:
        self.log = Log("keeper.log", boot)
        self.spawners = Spawners(wake)
        self.guarded = Guarded()
        self.past = self.guarded.restore(self.log.read())  # records of the keeper before
        self.tasks: dict[str, Task] = {}
        self.starts: list[Message] = []
        self.queue: dict[str, Message] = {}  # starts that wait for a slot, first come, first served
        self.slots = 0
        self.deadline = 0.0  # of the lease; 0: none was ever given
        self.starting: dict[str, Task] = {}  # their pids are not known yet, by id
        self.mains: dict[int, Task] = {}  # running, by pid
        self.buried: list[Task] = []  # ended by themselves, their strays not yet
        self.dying: dict[str, Task] = {}  # told to end, by id
        self.told: list[str] = []  # lines for the agent
        self.kept: list[str] = []  # lines for the log
        self.rewrite_log()

    @property
    def expired(self) -> bool:
        """Whether the lease has passed: others may have by now what is held here."""
        return 0 < self.deadline <= now()

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return len(self.starting) + len(self.mains) + len(self.buried)

    def expect(self, order: Message) -> None:
        """Note a start; all of a batch are written down at once before the first happens."""
        known = self.tasks.get(order["id"])
        if order["id"] in self.queue:
            return
        if known is not None:  # the guard against starting twice
            self.told.append(json.dumps(known.state()))
        elif order["id"] in self.past:
            self.told.append(json.dumps(self.past[order["id"]]))
        else:
            order["argv"][0], order["env"]["PATH"], order["cwd"], order["stdout"], order["stderr"]
            if self.expired:
                self.refuse(order)
            elif order.get("ahead"):
                self.queue[order["id"]] = order
            else:
                self.note(order)

    def refuse(self, order: Message) -> None:
        """Start nothing without a lease: the first step is given back, a later one has ended."""
        if order["id"].endswith(FIRST_STEP):
            self.told.append(json.dumps({"type": "withdrawn", "ids": [order["id"]]}))
        else:
            task = self.tasks[order["id"]] = Task(order)
            self.end(task, {**NOTHING_RAN, "cause": "lease"})

    def note(self, order: Message) -> None:
        """See to it that something is started with the next batch."""
        self.starts.append(order)
        self.tasks[order["id"]] = Task(order)
        start = {"type": "start", "id": order["id"], "note": order.get("note", "")}
        self.kept.append(json.dumps(start))

    def advance(self) -> None:
        """Start what was noted, and from the queue what has a slot."""
        self.start_all()
        while self.queue and not self.expired and (free := self.slots - self.busy) > 0:
            for name in list(self.queue)[:free]:
                self.note(self.queue.pop(name))
            self.start_all()

    def start_all(self) -> None:
        """Start what was noted."""
        if not self.starts:
            return
        refusal = self.write_down()
        for order in self.starts:
            task = self.tasks[order["id"]]
            if refusal:
                self.fail(task, refusal)
            else:
                self.starting[task.id] = task
                self.spawners.start(task, order)
        self.starts.clear()
        self.collect()

    def collect(self) -> None:
        """Take in what came of starts."""
        while self.spawners.done:
            task, pid, error = self.spawners.done.popleft()
            del self.starting[task.id]
            if error:
                self.fail(task, error)
                continue
            task.pid = pid
            self.mains[pid] = task
            for order in task.late:
                self.signal(order)

    def fail(self, task: Task, error: Exception) -> None:
        """A task could not be started."""
        number = getattr(error, "errno", None) or errno.EINVAL
        said = getattr(error, "strerror", None) or str(error)
        failure = {"errno": number, "file": getattr(error, "filename", None)}
        self.end(task, {"type": "failed", **failure, "message": said})

    def set_slots(self, order: Message) -> None:
        """So many at once, of those that queue."""
        self.slots = int(order["count"])

    def withdraw(self, order: Message) -> None:
        """Take starts back out of the queue; tell of each whether it was too late."""
        names = order["ids"]
        gone = [name for name in names if self.queue.pop(name, None)]
        self.told.append(json.dumps({"type": "withdrawn", "ids": gone}))
        late = [self.tasks[name] for name in names if name in self.tasks]
        self.told += [json.dumps(task.state()) for task in late if task.record is None]

    def end(self, task: Task, record: Message) -> None:
        """Keep and tell how a task ended, now that all of it has."""
        record["id"], record["ran"] = task.id, round(now() - task.since, 6)
        task.record, task.since = record, now()
        self.dying.pop(task.id, None)
        line = json.dumps(record)
        self.kept.append(line)
        self.told.append(line)

    def write_down(self) -> OSError | None:
        """Log what has gathered; a full disk must not stop the burying, only what is new."""
        try:
            self.log.write(self.kept)
        except OSError as error:
            return error
        finally:
            self.kept.clear()
        return None

    def forget(self, order: Message) -> None:
        """Drop the records of tasks whose outcome the agent has safe."""
        self.guarded.forget(order["ids"])
        for name in order["ids"]:
            self.past.pop(name, None)
            task = self.tasks.get(name)
            if task is not None and task.record is not None:
                del self.tasks[name]
        empty = not self.tasks and not self.past
        if self.log.size > (LOG_BYTES // 16 if empty else LOG_BYTES):
            self.rewrite_log()

    def rewrite_log(self) -> None:
        """Make the log as short as what is held."""
        held = [{**task.state(), "type": "start"} for task in self.tasks.values()]
        ended = [task.record for task in self.tasks.values() if task.record]
        guarded = self.guarded.held.values()
        self.log.rewrite([*self.past.values(), *guarded, *held, *ended])

    @abstractmethod
    def signal(self, order: Message) -> None:
        """Pause, resume, term or kill a task."""
