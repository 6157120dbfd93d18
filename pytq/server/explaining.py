"""Pure: why a task is not running, in words, and what keeps each worker of its batch from it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pytq.schema import limits
from pytq.schema.states import Phase, TaskStatus, WorkerStatus
from pytq.schema.views import Explanation, WorkerReason
from pytq.server.rules import Needs

_STEP: Final = 1024
_RESTING: Final = {
    WorkerStatus.OFFLINE: "it is offline",
    WorkerStatus.PAUSED: "it is paused",
    WorkerStatus.DRAINING: "it is draining: it finishes what it holds and takes nothing new",
    WorkerStatus.GONE: "it is gone",
}
_DOING: Final = {
    Phase.ASSIGNED: "worker {worker} has it and has not begun yet",
    Phase.DOWNLOADING: "worker {worker} fetches its inputs",
    Phase.READY: "its inputs are on worker {worker}, where it waits for a slot",
    Phase.RUNNING: "it runs on worker {worker}",
    Phase.UPLOADING: "worker {worker} carries its outputs away",
    Phase.ENDED: "it has just ended on worker {worker}",
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of a task that somebody asks about."""

    task: int
    status: TaskStatus
    batch: str
    needs: Needs
    batch_paused: bool = False
    reason: str = ""  # why it failed or was cancelled, or how its last try ended
    awaits: Sequence[tuple[int, TaskStatus]] = ()  # requirements that are not met, some of them
    awaited: int = 0  # how many they are
    due: float | None = None  # seconds until its next try
    avoid: int | None = None  # the worker where it came to grief
    ahead: int = 0  # tasks of its batch that go first, as far as they were counted
    worker: str | None = None  # of its latest execution
    phase: Phase | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Mate:
    """A worker of the task's batch."""

    id: int
    name: str
    status: WorkerStatus
    slots: int  # what it would hold at once
    held: int
    total: Needs  # what its machine has
    free: Needs  # what of that nobody has asked for


def explain(case: Case, mates: Sequence[Mate]) -> Explanation:
    """Where a task is, or why it is nowhere; for one that is pending, worker by worker."""
    pending = case.status is TaskStatus.PENDING
    reasons = [(mate, why_not(case, mate, mates)) for mate in mates] if pending else []
    return Explanation(
        task=case.task,
        summary=_SUMMARIES[case.status](case, mates),
        workers=[
            WorkerReason(worker=mate.name, reason=why) for mate, why in reasons[: limits.REASONS]
        ],
    )


def why_not(case: Case, mate: Mate, mates: Sequence[Mate]) -> str:
    """What keeps a worker from a pending task: the first thing, as there may be several."""
    return next(_obstacles(case, mate, mates))


def _obstacles(case: Case, mate: Mate, mates: Sequence[Mate]) -> Iterator[str]:
    if mate.status in _RESTING:
        yield _RESTING[mate.status]
    if lack := _lack(case.needs, mate.total):
        yield f"its machine does not suffice: {lack}"
    if mate.slots == 0:
        yield "its concurrency is 0"
    if case.avoid == mate.id and any(_takes(other) for other in mates if other is not mate):
        yield "the task came to grief here a moment ago and goes to another first"
    if mate.held >= mate.slots:
        yield f"it is full: it holds {mate.held} of {mate.slots}"
    if lack := _lack(case.needs, mate.free):
        yield f"what it holds leaves too little: {lack}"
    if case.batch_paused:
        yield "it has room, but the batch is paused"
    yield "it has room; " + ("others go first" if case.ahead else "the task goes here next")


def _takes(mate: Mate) -> bool:
    return mate.status is WorkerStatus.ONLINE and mate.slots > 0


def _lack(needs: Needs, has: Needs) -> str:
    """What the task asks for and there is too little of; empty where all of it fits."""
    if needs.containers and not has.containers:
        return "it has no Docker, and the task runs in a container"
    asked: list[tuple[float, float, Callable[[float], str]]] = [
        (needs.cpus, has.cpus, lambda number: _units(number, "CPU")),
        (needs.memory, has.memory, lambda size: f"{_bytes(size)} of memory"),
        (needs.disk, has.disk, lambda size: f"{_bytes(size)} of disk"),
        (needs.gpus, has.gpus, lambda number: _units(number, "GPU")),
    ]
    for amount, there, shown in asked:
        if amount > there:
            return f"the task asks for {shown(amount)}, here are {shown(max(0, there))}"
    return ""


def _units(number: float, unit: str) -> str:
    return f"{number:g} {unit}" + ("" if number == 1 else "s")


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _STEP:
            return f"{size:.4g} {unit}"
        size /= _STEP
    return f"{size:.4g} TiB"


# --- the summary, by status


def _waiting(case: Case, _mates: Sequence[Mate]) -> str:
    if not case.awaits:
        pause = "a moment" if case.due is None else f"{max(0.0, case.due):.0f} s"
        last = f"; the last one: {case.reason}" if case.reason else ""
        return f"its next try comes in {pause}{last}"
    named = ", ".join(f"task {task} ({status})" for task, status in case.awaits)
    more = case.awaited - len(case.awaits)
    return f"it waits on {named}" + (f" and {more} more" if more > 0 else "")


def _pending(case: Case, mates: Sequence[Mate]) -> str:
    if case.batch_paused:
        return f"its batch {case.batch} is paused"
    if not mates:
        return f"there is no worker in batch {case.batch}: start or recruit one, or move one there"
    awake = [mate for mate in mates if mate.status is WorkerStatus.ONLINE]
    if not awake:
        return f"no worker of batch {case.batch} takes tasks now: {_tally(mates)}"
    fit = [mate for mate in awake if not _lack(case.needs, mate.total)]
    if not fit:
        first = awake[0]
        lack = _lack(case.needs, first.total)
        return f"no worker of batch {case.batch} can run it; {first.name}: {lack}"
    if all(mate.held >= mate.slots or _lack(case.needs, mate.free) for mate in fit):
        return "every worker that could run it is busy" + _queue(case)
    return "it is about to be given to a worker" + _queue(case)


def _tally(mates: Sequence[Mate]) -> str:
    statuses = [mate.status for mate in mates]
    return ", ".join(f"{statuses.count(each)} {each}" for each in dict.fromkeys(statuses))


def _queue(case: Case) -> str:
    if not case.ahead:
        return "; it is the next one of its batch"
    many = f"more than {limits.AHEAD:,}" if case.ahead > limits.AHEAD else f"{case.ahead:,}"
    return f"; {many} of its batch go first"


def _active(case: Case, _mates: Sequence[Mate]) -> str:
    doing = _DOING[case.phase or Phase.ASSIGNED].format(worker=case.worker)
    return f"{doing}, paused" if case.paused else doing


def _ended(case: Case, _mates: Sequence[Mate]) -> str:
    said = "was cancelled" if case.status is TaskStatus.CANCELLED else str(case.status)
    return f"it {said}" + (f": {case.reason}" if case.reason else "")


_SUMMARIES: Final[dict[TaskStatus, Callable[[Case, Sequence[Mate]], str]]] = {
    TaskStatus.WAITING: _waiting,
    TaskStatus.PENDING: _pending,
    TaskStatus.ACTIVE: _active,
    TaskStatus.SUCCEEDED: _ended,
    TaskStatus.FAILED: _ended,
    TaskStatus.CANCELLED: _ended,
}
