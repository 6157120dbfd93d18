"""Every REST endpoint, declared once: the server's routes, the OpenAPI page and the client read it.

Paths are below `/api/v1`. An endpoint's `query` model gives its query parameters, `body` and
`answer` its JSON bodies; `raw` marks an answer that is bytes.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter

from pytq.schema import limits
from pytq.schema.states import Outcome, Stream, TaskStatus
from pytq.schema.tasks import TaskSubmit
from pytq.schema.text import Attempt, Label, Model, Name, TaskId
from pytq.schema.views import (
    Affected,
    BatchUpdate,
    BatchView,
    Cleaning,
    Counts,
    EventView,
    ExecutionView,
    Followed,
    Page,
    Pin,
    ResourceView,
    ServerInfo,
    SignalOrder,
    Standing,
    Submitted,
    TaskUpdate,
    TaskView,
    WaitFor,
    WorkerUpdate,
    WorkerView,
)

PREFIX: Final = "/api/v1"

Limit = Annotated[int, Field(ge=1, le=limits.PAGE_MAX)]
Offset = Annotated[int, Field(ge=0, le=limits.ID_MAX)]
Wait = Annotated[float, Field(ge=0, le=limits.WAIT_SECONDS)]
# Eighteen digits always fit the databases' 64 bits.
Cursor = Annotated[str, Field(pattern=r"^[0-9]{1,18}(\.[0-9]{1,18})?$")]
Search = Annotated[Label, Field(description="part of a name")]


class TaskFilter(Model):
    """Which tasks to list, newest first unless `oldest_first`."""

    batch: Name | None = None
    status: Annotated[list[TaskStatus], Field(max_length=len(TaskStatus))] = Field(
        default_factory=list
    )
    name: Label | None = None
    search: Search | None = None
    ids: Annotated[list[TaskId], Field(max_length=limits.PAGE_MAX)] = Field(default_factory=list)
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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One REST endpoint."""

    method: str
    path: str
    summary: str
    tag: str
    answer: Any = None  # a model, or None for an answer without a body
    place: type[Model] | None = None
    query: type[Model] | None = None
    body: Any = None
    status: int = 200
    raw: bool = False
    idempotent_by_key: bool = False  # takes an Idempotency-Key header
    problems: tuple[int, ...] = ()  # beside those every endpoint may answer with


TaskBody = (
    TaskSubmit
    | Annotated[list[TaskSubmit], Field(min_length=1, max_length=limits.TASKS_PER_REQUEST)]
)
task_body: TypeAdapter[TaskSubmit | list[TaskSubmit]] = TypeAdapter(TaskBody)

ENDPOINTS: Final[dict[str, Endpoint]] = {
    "submit_tasks": Endpoint(
        "POST",
        "/tasks",
        "Queue one task, or a list of tasks: all of them or none",
        "tasks",
        answer=Submitted,
        body=TaskBody,
        status=201,
        idempotent_by_key=True,
        problems=(409,),
    ),
    "list_tasks": Endpoint(
        "GET", "/tasks", "List tasks", "tasks", answer=Page[TaskView], query=TaskFilter
    ),
    "count_tasks": Endpoint(
        "GET", "/counts", "Count tasks by status", "tasks", answer=Counts, query=CountsFilter
    ),
    "wait_for_tasks": Endpoint(
        "POST",
        "/tasks/wait",
        "Wait until all of some tasks have ended, or the time is up",
        "tasks",
        answer=Standing,
        body=WaitFor,
        problems=(404,),
    ),
    "get_task": Endpoint(
        "GET",
        "/tasks/{task}",
        "Show a task",
        "tasks",
        answer=TaskView,
        place=TaskPlace,
        problems=(404,),
    ),
    "update_task": Endpoint(
        "PATCH",
        "/tasks/{task}",
        "Change a task that is not running",
        "tasks",
        answer=TaskView,
        place=TaskPlace,
        body=TaskUpdate,
        problems=(404, 409),
    ),
    "delete_task": Endpoint(
        "DELETE",
        "/tasks/{task}",
        "Delete a task that is not running, with its history",
        "tasks",
        place=TaskPlace,
        status=204,
        problems=(404, 409),
    ),
    "cancel_task": Endpoint(
        "POST",
        "/tasks/{task}/cancel",
        "Cancel a task, ending it if it runs",
        "tasks",
        answer=TaskView,
        place=TaskPlace,
        problems=(404, 409),
    ),
    "retry_task": Endpoint(
        "POST",
        "/tasks/{task}/retry",
        "Run an ended task again",
        "tasks",
        answer=TaskView,
        place=TaskPlace,
        problems=(404, 409),
    ),
    "follow_task": Endpoint(
        "GET",
        "/tasks/{task}/follow",
        "Wait for news of a task: status and output",
        "tasks",
        answer=Followed,
        place=TaskPlace,
        query=FollowFrom,
        problems=(404,),
    ),
    "list_executions": Endpoint(
        "GET",
        "/executions",
        "List executions",
        "executions",
        answer=Page[ExecutionView],
        query=ExecutionFilter,
    ),
    "get_execution": Endpoint(
        "GET",
        "/executions/{task}.{attempt}",
        "Show an execution",
        "executions",
        answer=ExecutionView,
        place=ExecutionPlace,
        problems=(404,),
    ),
    "get_output": Endpoint(
        "GET",
        "/executions/{task}.{attempt}/{stream}",
        "Read an output stream, byte by byte",
        "executions",
        place=StreamPlace,
        query=OutputRange,
        raw=True,
        problems=(404,),
    ),
    "signal_execution": Endpoint(
        "POST",
        "/executions/{task}.{attempt}/signal",
        "Pause, resume, terminate or kill",
        "executions",
        answer=ExecutionView,
        place=ExecutionPlace,
        body=SignalOrder,
        status=202,
        problems=(404, 409),
    ),
    "list_batches": Endpoint(
        "GET", "/batches", "List batches with their counts", "batches", answer=list[BatchView]
    ),
    "get_batch": Endpoint(
        "GET",
        "/batches/{name}",
        "Show a batch",
        "batches",
        answer=BatchView,
        place=NamePlace,
        problems=(404,),
    ),
    "update_batch": Endpoint(
        "PATCH",
        "/batches/{name}",
        "Pause a batch or let it go on",
        "batches",
        answer=BatchView,
        place=NamePlace,
        body=BatchUpdate,
        problems=(404,),
    ),
    "cancel_batch": Endpoint(
        "POST",
        "/batches/{name}/cancel",
        "Cancel every open task of a batch",
        "batches",
        answer=Affected,
        place=NamePlace,
        problems=(404,),
    ),
    "retry_batch": Endpoint(
        "POST",
        "/batches/{name}/retry",
        "Run every failed task of a batch again",
        "batches",
        answer=Affected,
        place=NamePlace,
        problems=(404,),
    ),
    "delete_batch": Endpoint(
        "DELETE",
        "/batches/{name}",
        "Delete a batch and its tasks, if none runs",
        "batches",
        answer=Affected,
        place=NamePlace,
        problems=(404, 409),
    ),
    "list_workers": Endpoint("GET", "/workers", "List workers", "workers", answer=list[WorkerView]),
    "get_worker": Endpoint(
        "GET",
        "/workers/{name}",
        "Show a worker",
        "workers",
        answer=WorkerView,
        place=NamePlace,
        problems=(404,),
    ),
    "update_worker": Endpoint(
        "PATCH",
        "/workers/{name}",
        "Tune a worker: concurrency, prefetch, batch, pause, drain",
        "workers",
        answer=WorkerView,
        place=NamePlace,
        body=WorkerUpdate,
        problems=(404,),
    ),
    "delete_worker": Endpoint(
        "DELETE",
        "/workers/{name}",
        "Forget a worker that is offline; `force` hands on what it still held",
        "workers",
        place=NamePlace,
        query=WorkerRemoval,
        status=204,
        problems=(404, 409),
    ),
    "list_resources": Endpoint(
        "GET",
        "/workers/{name}/resources",
        "List what a connected worker keeps: resources and images",
        "workers",
        answer=list[ResourceView],
        place=NamePlace,
        problems=(404, 409),
    ),
    "pin_resource": Endpoint(
        "POST",
        "/workers/{name}/pin",
        "Have a connected worker keep a resource or image whatever happens, or no longer",
        "workers",
        place=NamePlace,
        body=Pin,
        status=204,
        problems=(404, 409),
    ),
    "clean_worker": Endpoint(
        "POST",
        "/workers/{name}/clean",
        "Have a connected worker throw away what it keeps and nothing uses",
        "workers",
        place=NamePlace,
        body=Cleaning,
        status=204,
        problems=(404, 409),
    ),
    "list_events": Endpoint(
        "GET", "/events", "List events", "events", answer=Page[EventView], query=EventFilter
    ),
    "get_server": Endpoint(
        "GET", "/server", "What this server is and how it is doing", "server", answer=ServerInfo
    ),
}
