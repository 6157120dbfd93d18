"""Every REST endpoint, declared once: the server's routes, the OpenAPI page and the client read it.

Paths are below `/api/v1`. An endpoint's `query` model gives its query parameters, `body` and
`answer` its JSON bodies; `raw` marks an answer that is bytes.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter

from pytq.schema import limits, queries
from pytq.schema.recruit import JobLog, JobView, ProviderView, Recruit
from pytq.schema.tasks import TaskSubmit
from pytq.schema.text import Model
from pytq.schema.views import (
    Affected,
    BatchUpdate,
    BatchView,
    Cleaning,
    Counts,
    EventView,
    ExecutionView,
    Explanation,
    FailureView,
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
        "GET", "/tasks", "List tasks", "tasks", answer=Page[TaskView], query=queries.TaskFilter
    ),
    "count_tasks": Endpoint(
        "GET",
        "/counts",
        "Count tasks by status",
        "tasks",
        answer=Counts,
        query=queries.CountsFilter,
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
        place=queries.TaskPlace,
        problems=(404,),
    ),
    "update_task": Endpoint(
        "PATCH",
        "/tasks/{task}",
        "Change a task that is not running",
        "tasks",
        answer=TaskView,
        place=queries.TaskPlace,
        body=TaskUpdate,
        problems=(404, 409),
    ),
    "delete_task": Endpoint(
        "DELETE",
        "/tasks/{task}",
        "Delete a task that is not running, with its history",
        "tasks",
        place=queries.TaskPlace,
        status=204,
        problems=(404, 409),
    ),
    "cancel_task": Endpoint(
        "POST",
        "/tasks/{task}/cancel",
        "Cancel a task, ending it if it runs",
        "tasks",
        answer=TaskView,
        place=queries.TaskPlace,
        problems=(404, 409),
    ),
    "retry_task": Endpoint(
        "POST",
        "/tasks/{task}/retry",
        "Run an ended task again",
        "tasks",
        answer=TaskView,
        place=queries.TaskPlace,
        problems=(404, 409),
    ),
    "follow_task": Endpoint(
        "GET",
        "/tasks/{task}/follow",
        "Wait for news of a task: status and output",
        "tasks",
        answer=Followed,
        place=queries.TaskPlace,
        query=queries.FollowFrom,
        problems=(404,),
    ),
    "explain_task": Endpoint(
        "GET",
        "/tasks/{task}/explain",
        "Tell why a task is not running",
        "tasks",
        answer=Explanation,
        place=queries.TaskPlace,
        problems=(404,),
    ),
    "list_executions": Endpoint(
        "GET",
        "/executions",
        "List executions",
        "executions",
        answer=Page[ExecutionView],
        query=queries.ExecutionFilter,
    ),
    "get_execution": Endpoint(
        "GET",
        "/executions/{task}.{attempt}",
        "Show an execution",
        "executions",
        answer=ExecutionView,
        place=queries.ExecutionPlace,
        problems=(404,),
    ),
    "get_output": Endpoint(
        "GET",
        "/executions/{task}.{attempt}/{stream}",
        "Read an output stream, byte by byte",
        "executions",
        place=queries.StreamPlace,
        query=queries.OutputRange,
        raw=True,
        problems=(404,),
    ),
    "signal_execution": Endpoint(
        "POST",
        "/executions/{task}.{attempt}/signal",
        "Pause, resume, terminate or kill",
        "executions",
        answer=ExecutionView,
        place=queries.ExecutionPlace,
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
        place=queries.NamePlace,
        problems=(404,),
    ),
    "update_batch": Endpoint(
        "PATCH",
        "/batches/{name}",
        "Pause a batch or let it go on",
        "batches",
        answer=BatchView,
        place=queries.NamePlace,
        body=BatchUpdate,
        problems=(404,),
    ),
    "cancel_batch": Endpoint(
        "POST",
        "/batches/{name}/cancel",
        "Cancel every open task of a batch",
        "batches",
        answer=Affected,
        place=queries.NamePlace,
        problems=(404,),
    ),
    "retry_batch": Endpoint(
        "POST",
        "/batches/{name}/retry",
        "Run every failed task of a batch again",
        "batches",
        answer=Affected,
        place=queries.NamePlace,
        problems=(404,),
    ),
    "signal_batch": Endpoint(
        "POST",
        "/batches/{name}/signal",
        "Pause, resume, terminate or kill every running execution of a batch",
        "batches",
        answer=Affected,
        place=queries.NamePlace,
        body=SignalOrder,
        problems=(404,),
    ),
    "list_failures": Endpoint(
        "GET",
        "/batches/{name}/failures",
        "List how the failed tasks of a batch failed, the most frequent way first",
        "batches",
        answer=list[FailureView],
        place=queries.NamePlace,
        problems=(404,),
    ),
    "delete_batch": Endpoint(
        "DELETE",
        "/batches/{name}",
        "Delete a batch and its tasks, if none runs",
        "batches",
        answer=Affected,
        place=queries.NamePlace,
        problems=(404, 409),
    ),
    "list_workers": Endpoint("GET", "/workers", "List workers", "workers", answer=list[WorkerView]),
    "get_worker": Endpoint(
        "GET",
        "/workers/{name}",
        "Show a worker",
        "workers",
        answer=WorkerView,
        place=queries.NamePlace,
        problems=(404,),
    ),
    "update_worker": Endpoint(
        "PATCH",
        "/workers/{name}",
        "Tune a worker: concurrency, prefetch, batch, pause, drain",
        "workers",
        answer=WorkerView,
        place=queries.NamePlace,
        body=WorkerUpdate,
        problems=(404,),
    ),
    "delete_worker": Endpoint(
        "DELETE",
        "/workers/{name}",
        "Forget a worker that is offline; `force` hands on what it still held",
        "workers",
        place=queries.NamePlace,
        query=queries.WorkerRemoval,
        status=204,
        problems=(404, 409),
    ),
    "list_resources": Endpoint(
        "GET",
        "/workers/{name}/resources",
        "List what a connected worker keeps: resources and images",
        "workers",
        answer=list[ResourceView],
        place=queries.NamePlace,
        problems=(404, 409),
    ),
    "pin_resource": Endpoint(
        "POST",
        "/workers/{name}/pin",
        "Have a connected worker keep a resource or image whatever happens, or no longer",
        "workers",
        place=queries.NamePlace,
        body=Pin,
        status=204,
        problems=(404, 409),
    ),
    "clean_worker": Endpoint(
        "POST",
        "/workers/{name}/clean",
        "Have a connected worker throw away what it keeps and nothing uses",
        "workers",
        place=queries.NamePlace,
        body=Cleaning,
        status=204,
        problems=(404, 409),
    ),
    "release_worker": Endpoint(
        "POST",
        "/workers/{name}/release",
        "Drain a worker, wait until it is empty, end it, and give its machine back",
        "workers",
        answer=JobView,
        place=queries.NamePlace,
        status=201,
        problems=(404, 409),
    ),
    "list_providers": Endpoint(
        "GET",
        "/providers",
        "List who has machines, and which",
        "recruiting",
        answer=list[ProviderView],
    ),
    "recruit": Endpoint(
        "POST",
        "/jobs",
        "Recruit new workers",
        "recruiting",
        answer=JobView,
        body=Recruit,
        status=201,
        problems=(404, 409),
    ),
    "list_jobs": Endpoint(
        "GET", "/jobs", "List jobs, newest first", "recruiting", answer=list[JobView]
    ),
    "get_job": Endpoint(
        "GET",
        "/jobs/{job}",
        "Show a job",
        "recruiting",
        answer=JobView,
        place=queries.JobPlace,
        problems=(404,),
    ),
    "get_job_log": Endpoint(
        "GET",
        "/jobs/{job}/log",
        "Read a job's log",
        "recruiting",
        answer=JobLog,
        place=queries.JobPlace,
        query=queries.LogFrom,
        problems=(404,),
    ),
    "cancel_job": Endpoint(
        "POST",
        "/jobs/{job}/cancel",
        "Cancel a job",
        "recruiting",
        answer=JobView,
        place=queries.JobPlace,
        problems=(404, 409),
    ),
    "list_events": Endpoint(
        "GET", "/events", "List events", "events", answer=Page[EventView], query=queries.EventFilter
    ),
    "get_server": Endpoint(
        "GET", "/server", "What this server is and how it is doing", "server", answer=ServerInfo
    ),
}
