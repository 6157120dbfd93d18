"""Pure decisions: who gets which task, and what becomes of a task when an execution ends.

No I/O, no clock, no randomness: everything comes in as an argument.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pytq.schema import limits
from pytq.schema.states import Cause, Outcome, TaskStatus

# Failures that no try of the command can mend.
STAGING: Final = frozenset({Cause.INPUT, Cause.IMAGE, Cause.OUTPUT})


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

    @property
    def modest(self) -> bool:
        """Whether it asks for nothing but a slot."""
        return not (self.cpus or self.memory or self.disk or self.gpus or self.containers)


def fits(task: Candidate, worker: Hungry) -> bool:
    """Whether the worker's machine has what the task asks for."""
    return (
        task.cpus <= worker.cpus
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a task when its execution ends."""

    status: TaskStatus
    failures: int
    losses: int
    cause: Cause | None = None
    detail: str = ""


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
    if outcome is Outcome.FAILED and cause in STAGING:
        return Verdict(TaskStatus.FAILED, failures, losses, cause, detail)
    if outcome is Outcome.FAILED:
        failures += 1
        again = failures <= tries.retries
        status = TaskStatus.PENDING if again else TaskStatus.FAILED
        return Verdict(status, failures, losses, cause, detail)
    if cause is Cause.RETURNED:
        return Verdict(TaskStatus.PENDING, failures, losses)
    losses += 1
    if losses < limits.LOST_LIMIT:
        return Verdict(TaskStatus.PENDING, failures, losses, cause, detail)
    detail = f"{outcome} {losses} times, the last time: {detail}"
    return Verdict(TaskStatus.FAILED, failures, losses, cause or Cause.LOST, detail)
