"""What may stand in an address: which things to list, which stretch to read, which one is meant."""

from typing import Annotated, Literal

from pydantic import Field

from pytq.schema import limits
from pytq.schema.states import Outcome, Stream, TaskStatus
from pytq.schema.text import Attempt, Label, Model, Name, TaskId

Limit = Annotated[int, Field(ge=1, le=limits.PAGE_MAX)]
Offset = Annotated[int, Field(ge=0, le=limits.ID_MAX)]
Wait = Annotated[float, Field(ge=0, le=limits.WAIT_SECONDS)]
# Eighteen digits always fit the databases' 64 bits.
Cursor = Annotated[str, Field(pattern=r"^[0-9]{1,18}(\.[0-9]{1,18})?$")]
JobId = Annotated[int, Field(ge=1, le=limits.ID_MAX)]
Search = Annotated[
    Label, Field(description="words that all occur in the name or in the command, in any order")
]
Sort = Annotated[
    Literal["id", "changed", "priority"],
    Field(
        description="newest first, latest change first, or most urgent first (the order in which"
        " workers take them); a cursor is ID, MICROSECONDS.ID or PRIORITY.ID, with the latter's"
        " priority counted downwards from a million"
    ),
]


class TaskFilter(Model):
    """Which tasks to list, in the order of `sort`; `oldest_first` turns that order round."""

    batch: Name | None = None
    status: Annotated[list[TaskStatus], Field(max_length=len(TaskStatus))] = Field(
        default_factory=list
    )
    name: Label | None = None
    worker: Name | None = None  # their latest execution is, or was, there
    search: Search | None = None
    ids: Annotated[list[TaskId], Field(max_length=limits.PAGE_MAX)] = Field(default_factory=list)
    sort: Sort = "id"
    oldest_first: bool = False
    limit: Limit = limits.PAGE_DEFAULT
    after: Cursor | None = None


class ExecutionFilter(Model):
    """Which executions to list, newest first."""

    task: TaskId | None = None
    worker: Name | None = None
    open: bool | None = None
    outcome: Outcome | None = None
    limit: Limit = limits.PAGE_DEFAULT
    after: Cursor | None = None


class EventFilter(Model):
    """Which events to list, newest first unless `oldest_first`."""

    task: TaskId | None = None
    batch: Name | None = None
    worker: Name | None = None
    oldest_first: bool = False
    limit: Limit = limits.PAGE_DEFAULT
    after: Cursor | None = None


class CountsFilter(Model):
    """Whose tasks to count."""

    batch: Name | None = None


class OutputRange(Model):
    """Which bytes of a stream; the tail when `offset` is left out."""

    offset: Offset | None = None
    limit: Annotated[int, Field(ge=1, le=limits.OUTPUT_READ_BYTES)] = limits.OUTPUT_READ_BYTES


class FollowFrom(Model):
    """What the caller has already seen of a task's output, and how long to wait for more."""

    attempt: Annotated[int, Field(ge=0, le=limits.ID_MAX)] = 0
    stdout: Offset = 0
    stderr: Offset = 0
    wait: Wait = 0.0


class TaskPlace(Model):
    """A task, in a path."""

    task: TaskId


class ExecutionPlace(Model):
    """An execution, in a path: TASK.ATTEMPT."""

    task: TaskId
    attempt: Attempt


class StreamPlace(Model):
    """An output stream of an execution, in a path."""

    task: TaskId
    attempt: Attempt
    stream: Stream


class NamePlace(Model):
    """A batch or a worker, in a path."""

    name: Name


class WorkerRemoval(Model):
    """How to remove a worker."""

    force: bool = False


class JobPlace(Model):
    """A job, in a path."""

    job: JobId


class LogFrom(Model):
    """Which part of a job's log."""

    offset: Offset = 0
