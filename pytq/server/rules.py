"""Pure decisions: who gets which task, and what becomes of a task when an execution ends.

No I/O, no clock, no randomness: everything comes in as an argument.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pytq.schema import limits
from pytq.schema.states import Cause, Outcome, TaskStatus

# Failures that no try of the command can mend.
STAGING: Final = frozenset({Cause.INPUT, Cause.IMAGE, Cause.OUTPUT})

# Seconds until the next try after the first loss, the second, and so on: a dead worker is no
# reason to wait, a store that cannot be reached is, and longer each time.
_LOST_PAUSES: Final = (0.0, 1.0, 5.0, 25.0)
_REFUSED_PAUSES: Final = (1.0, 5.0, 25.0, 125.0)


@dataclass(slots=True)
class Hungry:
    """A worker that would take more: how much it holds, and what of its machine is free."""

    worker: int
    batch: str
    concurrency: int
    held: int
    room: int  # executions it would still take
    cpus: float
    memory: int
    disk: int
    gpus: int
    containers: bool
    peers: int = 0  # other connected workers of its batch

    @property
    def crowding(self) -> float:
        """How busy it is: executions held per slot."""
        return self.held / max(1, self.concurrency)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pending task, and what it asks of a worker."""

    task: int
    attempt: int  # of its latest execution
    name: str | None
    spec: str
    cpus: float
    memory: int
    disk: int
    gpus: int
    containers: bool
    avoid: int | None = None  # the worker where it came to grief a moment ago

    @property
    def modest(self) -> bool:
        """Whether it asks for nothing but a slot, anywhere."""
        asks = self.cpus or self.memory or self.disk or self.gpus or self.containers
        return not asks and self.avoid is None


def fits(task: Candidate, worker: Hungry) -> bool:
    """Whether the worker's machine has what the task asks for, and it may go there again."""
    return (
        not (task.avoid == worker.worker and worker.peers)
        and task.cpus <= worker.cpus
        and task.memory <= worker.memory
        and task.disk <= worker.disk
        and task.gpus <= worker.gpus
        and (worker.containers or not task.containers)
    )


def choose(tasks: Iterable[Candidate], workers: Sequence[Hungry]) -> list[tuple[Candidate, int]]:
    """Hand tasks, in their order, each to the least crowded worker it fits on.

    Changes the workers' `held`, `room` and free amounts as it goes.
    """
    heap = [(worker.crowding, worker.worker, worker) for worker in workers if worker.room > 0]
    heapq.heapify(heap)
    chosen: list[tuple[Candidate, int]] = []
    for task in tasks:
        if not heap:
            break
        passed_over = []
        while heap and not (task.modest or fits(task, heap[0][2])):
            passed_over.append(heapq.heappop(heap))
        if heap:
            _, _, worker = heap[0]
            chosen.append((task, worker.worker))
            _take(worker, task)
            if worker.room > 0:
                heapq.heapreplace(heap, (worker.crowding, worker.worker, worker))
            else:
                heapq.heappop(heap)
        for entry in passed_over:
            heapq.heappush(heap, entry)
    return chosen


class Needs(NamedTuple):
    """What executions ask of a worker."""

    cpus: float
    memory: int
    disk: int
    gpus: int
    containers: bool

    def fit(self, worker: Hungry) -> bool:
        """Whether a worker's machine has all of it."""
        return (
            self.cpus <= worker.cpus
            and self.memory <= worker.memory
            and self.disk <= worker.disk
            and self.gpus <= worker.gpus
            and (worker.containers or not self.containers)
        )


class Laden(NamedTuple):
    """A worker that holds more executions than it can run at once."""

    worker: int
    batch: str
    surplus: int
    needs: Needs  # the most that any of them asks


def share_out(idle: Iterable[Hungry], laden: Iterable[Laden]) -> dict[int, int]:
    """How many executions each laden worker should hand back, so that no slot elsewhere is empty.

    From the most laden first, and only what fits whoever idles: the rest would come back.
    """
    slots = [(worker, max(0, worker.concurrency - worker.held)) for worker in idle]
    taken: dict[int, int] = {}
    for giver in sorted(laden, key=lambda giver: -giver.surplus):
        wanted = 0
        for place, (worker, free) in enumerate(slots):
            if worker.batch == giver.batch and giver.needs.fit(worker):
                count = min(free, giver.surplus - wanted)
                slots[place] = (worker, free - count)
                wanted += count
        if wanted:
            taken[giver.worker] = wanted
    return taken


def _take(worker: Hungry, task: Candidate) -> None:
    worker.room -= 1
    worker.held += 1
    worker.cpus -= task.cpus
    worker.memory -= task.memory
    worker.disk -= task.disk
    worker.gpus -= task.gpus


@dataclass(frozen=True, slots=True)
class Tries:
    """What a task has behind it, and what it may still cost."""

    retries: int
    failures: int
    losses: int
    stop_wanted: bool = False
    retry_delay: float = 0.0  # seconds before the first retry
    oom_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a task when its execution ends."""

    status: TaskStatus
    failures: int
    losses: int
    cause: Cause | None = None
    detail: str = ""
    delay: float = 0.0  # seconds until the next try
    grow: float = 1.0  # so many times as much memory for it
    elsewhere: bool = False  # on another worker, if there is one


def settle(tries: Tries, outcome: Outcome, cause: Cause | None, detail: str) -> Verdict:
    """Retry, fail, or be done: what an execution's outcome means for its task.

    Failures of the infrastructure never use up a retry; they are bounded instead. What cannot be
    staged (what might have come is `REFUSED` instead) fails at once: running it again, for hours
    maybe, would end the same way, and the tries are kept for when a person has mended it.
    """
    failures, losses = tries.failures, tries.losses
    if outcome is Outcome.SUCCEEDED:
        return Verdict(TaskStatus.SUCCEEDED, failures, losses)
    if outcome is Outcome.CANCELLED or tries.stop_wanted:
        return Verdict(TaskStatus.CANCELLED, failures, losses, Cause.CANCELLED, detail)
    if outcome is Outcome.FAILED:
        return _failed(tries, cause, detail)
    if cause is Cause.RETURNED:
        return Verdict(TaskStatus.PENDING, failures, losses)
    losses += 1
    if losses < limits.LOST_LIMIT:
        pause = _LOST_PAUSES if outcome is Outcome.LOST else _REFUSED_PAUSES
        return _again(failures, losses, cause, detail, pause[losses - 1])
    detail = f"{outcome} {losses} times, the last time: {detail}"
    return Verdict(TaskStatus.FAILED, failures, losses, cause or Cause.LOST, detail)


def _failed(tries: Tries, cause: Cause | None, detail: str) -> Verdict:
    if cause in STAGING:
        return Verdict(TaskStatus.FAILED, tries.failures, tries.losses, cause, detail)
    failures = tries.failures + 1
    if failures > tries.retries:
        return Verdict(TaskStatus.FAILED, failures, tries.losses, cause, detail)
    delay = min(tries.retry_delay * 2 ** (failures - 1), limits.RETRY_SECONDS)
    grow = tries.oom_factor if cause is Cause.OOM else 1.0
    return _again(failures, tries.losses, cause, detail, delay, grow)


def _again(
    failures: int, losses: int, cause: Cause | None, detail: str, delay: float, grow: float = 1.0
) -> Verdict:
    status = TaskStatus.WAITING if delay else TaskStatus.PENDING
    return Verdict(status, failures, losses, cause, detail, delay, grow, elsewhere=True)
