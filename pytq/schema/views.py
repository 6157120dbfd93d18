"""What the API shows: tasks, executions, batches, workers, events and the server itself.

Times are UTC. Durations are seconds, sizes bytes.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BeforeValidator, Field

from pytq.schema import limits
from pytq.schema.states import (
    Cause,
    Outcome,
    Phase,
    RunWhen,
    Signal,
    Stream,
    TaskStatus,
    WorkerStatus,
)
from pytq.schema.tasks import Command, Tags, TaskSpec
from pytq.schema.text import Attempt, Count, Label, Model, Name, Sentence, TaskId, TaskPath, UriText

T = TypeVar("T")


def moment(microseconds: int) -> datetime:
    """A time as the store keeps it, as the API shows it."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def _from_microseconds(value: Any) -> Any:
    return moment(value) if isinstance(value, int) else value


# The store keeps times as microseconds since 1970; the API shows ISO 8601 in UTC, which the client
# reads back: after a validator of ours JSON's strings count as Python's, hence not strict.
Time = Annotated[datetime, Field(strict=False), BeforeValidator(_from_microseconds)]


class Reason(Model):
    """Why something is as it is: a word for programs, a sentence for people."""

    cause: Cause
    detail: Sentence = ""


class Transfer(Model):
    """One file or folder on its way to or from a worker."""

    uri: UriText
    done: Count = 0  # bytes
    total: Count | None = None  # bytes, where the source tells


class Staging(Model):
    """How far the inputs or outputs of an execution have come."""

    direction: Literal["in", "out"]
    done: Count = 0  # bytes
    total: Count | None = None
    rate: Annotated[float, Field(ge=0)] = 0.0  # bytes a second, of late
    eta: Annotated[float, Field(ge=0)] | None = None  # seconds
    transfers: Annotated[list[Transfer], Field(max_length=limits.TRANSFERS_SHOWN)] = Field(
        default_factory=list
    )  # those under way
    waiting: Count = 0  # transfers that have not begun


class TaskView(Model):
    """A task, with its core and where it stands."""

    id: TaskId
    name: Label | None
    batch: Name
    owner: str | None = None  # who submitted it: the name of their token
    status: TaskStatus
    priority: int
    retries: Count
    failures: Count  # tries that used up a retry
    losses: Count  # tries that ended through no fault of the task
    attempt: Count  # the latest execution's number; 0 before the first
    due_at: Time | None = None  # when it will be tried again, if it waits for that
    run_when: RunWhen
    requirements: list[TaskId]
    tags: Tags
    reason: Reason | None
    created_at: Time
    changed_at: Time
    spec: TaskSpec


class ExecutionView(Model):
    """One try of a task on one worker, with its own short history."""

    id: str  # "TASK.ATTEMPT"
    task: TaskId
    attempt: Attempt
    worker: Name
    phase: Phase
    outcome: Outcome | None
    reason: Reason | None
    exit_code: int | None
    paused: bool
    stop_wanted: Signal | None
    assigned_at: Time
    downloading_at: Time | None
    ready_at: Time | None
    running_at: Time | None
    uploading_at: Time | None
    ended_at: Time | None
    cpu_seconds: float | None
    memory: Count | None  # the largest resident set, bytes
    stdout_bytes: Count
    stderr_bytes: Count
    staging: Staging | None = None  # while inputs or outputs are on their way


class Counts(Model):
    """How many tasks there are of each status."""

    waiting: Count = 0
    pending: Count = 0
    active: Count = 0
    succeeded: Count = 0
    failed: Count = 0
    cancelled: Count = 0


class BatchView(Model):
    """A named group of tasks and of workers."""

    name: Name
    paused: bool
    created_at: Time
    counts: Counts
    workers: Count  # online ones


class WorkerSettings(Model):
    """What an operator may turn on a living worker."""

    version: Count = 0  # grows with every change, so that a worker can say which it has applied
    batch: Name = "default"
    concurrency: Annotated[int, Field(ge=0, le=limits.CONCURRENCY)] = 1
    prefetch: Annotated[int, Field(ge=0, le=limits.PREFETCH)] = 0
    paused: bool = False
    draining: bool = False


class Disk(Model):
    """One file system of a worker's machine. Bytes."""

    path: TaskPath
    free: Count
    total: Count


class Load(Model):
    """How a worker's machine is doing. Percentages are 0 to 100, rates bytes a second."""

    load: float = 0.0  # one-minute average
    cpu: float = 0.0
    iowait: float = 0.0
    memory: float = 0.0
    swap: float = 0.0
    disk_free: Count = 0  # bytes, where the work directory is
    disks: Annotated[list[Disk], Field(max_length=limits.DISKS)] = Field(default_factory=list)
    received: Count = 0  # over the network
    sent: Count = 0
    read: Count = 0  # from disks
    written: Count = 0


class WorkerView(Model):
    """A worker: what it is, what was asked of it and what it does."""

    id: Count
    name: Name
    hostname: Label
    status: WorkerStatus
    settings: WorkerSettings
    applied: Count  # the settings version the worker has put into effect
    version: Label
    cpus: Count
    memory: Count
    containers: bool
    open: Count  # executions it holds; those in none of these phases have not begun
    downloading: Count = 0
    ready: Count = 0
    running: Count
    uploading: Count = 0
    load: Load | None
    created_at: Time
    seen_at: Time | None


class ResourceView(Model):
    """Something a worker keeps for the tasks to come: a resource, or a container image."""

    kind: Literal["resource", "image"]
    uri: UriText
    bytes: Count
    used: Annotated[float, Field(ge=0)] = 0.0  # for the last time, so many seconds ago
    users: Count = 0  # executions that use it now
    ready: bool = True  # False: on its way
    pinned: bool = False  # never evicted


Kept = Literal["resources", "images", "failed"]


class Cleaning(Model):
    """What a worker should throw away; nothing that is pinned or in use."""

    what: Annotated[list[Kept], Field(min_length=1, max_length=3)] = [
        "resources",
        "images",
        "failed",
    ]
    uris: Annotated[list[UriText], Field(max_length=limits.RESOURCES)] = Field(
        default_factory=list
    )  # only these; none: all


class Pin(Model):
    """Keep a resource or an image whatever happens, or no longer."""

    uri: UriText
    pinned: bool = True


class EventView(Model):
    """Something that happened: what, when, to whom, through whom."""

    id: Count
    at: Time
    kind: Label
    actor: Label
    task: Count | None
    attempt: Count | None
    batch: str | None
    worker: str | None
    detail: str | None


class FailureView(Model):
    """Tasks of a batch that failed alike. Only the newest `limits.FAILURES_EXAMINED` are looked at.

    `sampled` tells that there are more of them than that.
    """

    cause: Cause
    exit_code: int | None
    count: Count
    task: TaskId  # the newest of them, and what it says
    detail: Sentence
    sampled: bool = False


class WorkerReason(Model):
    """Why a worker does not run a task."""

    worker: Name
    reason: Sentence


class Explanation(Model):
    """Why a task is not running, or where it is."""

    task: TaskId
    summary: Sentence
    workers: list[WorkerReason]  # those of its batch; at most `limits.REASONS`


class Page(Model, Generic[T]):
    """One page of a list; `next` is the cursor of the following one, None at the end.

    Where few things fit a search, a page may be short, or empty, before the end.
    """

    items: list[T]
    next: str | None = None


class ServerInfo(Model):
    """What this server is and how it is doing."""

    version: Label
    api: Label
    protocol: Count
    database: Label  # "sqlite" or "postgresql"
    started_at: Time
    now: Time
    workers_connected: Count
    counts: Counts


class Submitted(Model):
    """The ids of the tasks that are now safe, in the order they were sent."""

    ids: list[TaskId]
    repeated: bool = False  # the same Idempotency-Key had already created them


class TaskUpdate(Model):
    """What may change of a task that is not running. Only the fields given are changed."""

    name: Label | None = None
    batch: Name | None = None
    priority: Annotated[int, Field(ge=-limits.PRIORITY, le=limits.PRIORITY)] | None = None
    retries: Annotated[int, Field(ge=0, le=limits.RETRIES)] | None = None
    command: Command | None = None  # of a task with a single step


class WorkerUpdate(Model):
    """What may change of a worker. Only the fields given are changed."""

    batch: Name | None = None
    concurrency: Annotated[int, Field(ge=0, le=limits.CONCURRENCY)] | None = None
    prefetch: Annotated[int, Field(ge=0, le=limits.PREFETCH)] | None = None
    paused: bool | None = None
    draining: bool | None = None


class BatchUpdate(Model):
    """What may change of a batch. A paused batch starts nothing new."""

    paused: bool | None = None


class SignalOrder(Model):
    """A signal for an execution's whole process tree."""

    signal: Signal


class WaitFor(Model):
    """Tasks to wait for."""

    ids: Annotated[list[TaskId], Field(min_length=1, max_length=limits.IDS_PER_REQUEST)]
    timeout: Annotated[float, Field(ge=0, le=limits.WAIT_SECONDS)] = limits.WAIT_SECONDS


class Standing(Model):
    """How the tasks that were asked for stand."""

    done: bool  # every one of them has ended
    statuses: dict[TaskStatus, list[TaskId]]


class Affected(Model):
    """How many things an act touched."""

    count: Count


class OutputPart(Model):
    """A stretch of one output stream, base64 in `data`. Offsets count bytes from its beginning."""

    stream: Stream
    offset: Count  # of the first byte of `data`; larger than asked for where bytes were left out
    next_offset: Count
    data: str


class Followed(Model):
    """What is new of a task: where it stands, and the output since the offsets given."""

    status: TaskStatus
    reason: Reason | None
    attempt: Count
    exit_code: int | None
    parts: list[OutputPart]
