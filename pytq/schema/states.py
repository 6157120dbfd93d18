"""The lives of tasks, executions and workers: every state, and every legal move between them.

Read this page first. No other file decides which move is legal.
"""

from enum import StrEnum
from typing import Final


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    WAITING = "waiting"  # on the tasks it requires, or for the time of its next try; then pending
    PENDING = "pending"  # until a worker of its batch has room; then active
    ACTIVE = "active"  # exactly one execution is open
    SUCCEEDED = "succeeded"  # its output is safe
    FAILED = "failed"  # it will not be tried again unless a person says so
    CANCELLED = "cancelled"  # a person stopped it


class Phase(StrEnum):
    """How far one execution has come. Phases move forward only."""

    ASSIGNED = "assigned"  # leased to a worker, nothing touched yet: can be taken back at once
    DOWNLOADING = "downloading"  # inputs and resources are staged in
    READY = "ready"  # staged; starts the moment a slot is free
    RUNNING = "running"  # the command runs
    UPLOADING = "uploading"  # outputs are staged out
    ENDED = "ended"  # has an outcome, never changes again


class Outcome(StrEnum):
    """How an execution ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the task's own doing: uses up one of its retries
    CANCELLED = "cancelled"
    LOST = "lost"  # the worker or its keeper went away: free, but bounded
    REFUSED = "refused"  # never started here: handed back, free


class Cause(StrEnum):
    """Why an execution did not succeed, in a word that programs can read."""

    EXIT = "exit"  # the command returned a code other than 0
    SIGNAL = "signal"  # the command was ended by a signal nobody here sent
    COMMAND = "command"  # the command could not be started
    OOM = "oom"
    TIMEOUT = "timeout"
    INPUT = "input"
    OUTPUT = "output"
    IMAGE = "image"
    DISK = "disk"
    LOST = "lost"
    EVICTED = "evicted"
    REFUSED = "refused"
    RETURNED = "returned"  # taken back before it started
    CANCELLED = "cancelled"
    REQUIREMENT = "requirement"  # a task it waits on did not succeed


class WorkerStatus(StrEnum):
    """What a worker is to the server."""

    ONLINE = "online"
    OFFLINE = "offline"  # silent; its executions stay its own until the lease passes
    PAUSED = "paused"  # online, takes nothing new
    DRAINING = "draining"  # online, finishes what runs, takes nothing new
    GONE = "gone"  # will not come back: its executions were handed on


class Signal(StrEnum):
    """What can be sent to a running execution, and so to its whole process tree."""

    PAUSE = "pause"  # SIGSTOP
    RESUME = "resume"  # SIGCONT
    TERM = "term"  # SIGTERM, then SIGKILL after a grace period
    KILL = "kill"  # SIGKILL


class Stream(StrEnum):
    """The two output streams of an execution."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Scope(StrEnum):
    """How widely a mount is shared."""

    TASK = "task"
    WORKER = "worker"


class RunWhen(StrEnum):
    """What a task's requirements must have come to before it may run."""

    SUCCEEDED = "succeeded"  # all of them succeeded; if one fails, so does this task
    ENDED = "ended"  # all of them ended, whatever their outcome


TASK_MOVES: Final[dict[TaskStatus, frozenset[TaskStatus]]] = {
    TaskStatus.WAITING: frozenset({TaskStatus.PENDING, TaskStatus.FAILED, TaskStatus.CANCELLED}),
    TaskStatus.PENDING: frozenset({TaskStatus.ACTIVE, TaskStatus.CANCELLED}),
    TaskStatus.ACTIVE: frozenset(
        {
            TaskStatus.PENDING,
            TaskStatus.WAITING,
            TaskStatus.SUCCEEDED,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
        }
    ),
    # A person may run an ended task again.
    TaskStatus.SUCCEEDED: frozenset({TaskStatus.PENDING, TaskStatus.WAITING}),
    TaskStatus.FAILED: frozenset({TaskStatus.PENDING, TaskStatus.WAITING}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.PENDING, TaskStatus.WAITING}),
}

TASK_ENDED: Final = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED})

PHASE_ORDER: Final[dict[Phase, int]] = {phase: order for order, phase in enumerate(Phase)}

# What a worker may say of an execution it holds: forward, never back.
PHASE_MOVES: Final[dict[Phase, frozenset[Phase]]] = {
    phase: frozenset(later for later in Phase if PHASE_ORDER[later] > PHASE_ORDER[phase])
    for phase in Phase
}

# Until here nothing of the task has run, so it can be handed to another worker without harm.
NOT_STARTED: Final = frozenset({Phase.ASSIGNED, Phase.DOWNLOADING, Phase.READY})

# Outcomes that are nobody's fault: they never use up a user's retries.
INFRASTRUCTURE: Final = frozenset({Outcome.LOST, Outcome.REFUSED})


class IllegalMoveError(ValueError):
    """Somebody asked for a move that is not in the tables above."""


def check_task_move(before: TaskStatus, after: TaskStatus) -> None:
    """Raise `IllegalMoveError` unless a task may go from `before` to `after`."""
    if after not in TASK_MOVES[before]:
        legal = ", ".join(sorted(TASK_MOVES[before])) or "nothing"
        raise IllegalMoveError(f"a task that is {before} can become {legal}, not {after}")
