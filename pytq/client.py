"""The one HTTP client of PYTQ's REST API: async, typed, a method for each endpoint.

Method names are those of `pytq.schema.endpoints`. What the server refuses is raised as the
`PytqError` that the problem names; a server that cannot be reached as `UnreachableError`.
"""

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from pytq.schema import limits
from pytq.schema.access import (
    CallerView,
    LoginCode,
    NewCode,
    NewToken,
    Session,
    TokenOrder,
    TokenView,
)
from pytq.schema.queries import (
    CountsFilter,
    EventFilter,
    ExecutionFilter,
    FollowFrom,
    LogFrom,
    OutputRange,
    TaskFilter,
    WorkerRemoval,
)
from pytq.schema.recruit import JobLog, JobView, ProviderView, Recruit
from pytq.schema.states import Signal, Stream
from pytq.schema.tasks import TaskSubmit
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
from pytq.transport import Raw, Transport, UnreachableError, json_of

__all__ = ["Client", "Stretch", "Submission", "UnreachableError"]

Submission = TaskSubmit | dict[str, Any]

# A body is kept well below what the server takes.
_CHUNK_BYTES: Final = limits.BODY_BYTES // 2


class Stretch(NamedTuple):
    """Bytes of an output stream: where they begin, what they are, how long the stream is."""

    offset: int
    data: bytes
    size: int


class Client(Transport):
    """A connection to one server: `async with Client("host:port") as client: …`."""

    # --- tasks

    async def submit_tasks(
        self, tasks: Submission | Iterable[Submission], *, key: str | None = None
    ) -> Submitted:
        """Queue tasks; a repeat with the same `key` is harmless. Each request is all or nothing."""
        key = key or secrets.token_hex(16)
        bodies = [_encoded(tasks)] if isinstance(tasks, (TaskSubmit, dict)) else [*_chunks(tasks)]
        ids: list[int] = []
        repeated = False
        for number, body in enumerate(bodies):
            part_key = key if len(bodies) == 1 else f"{key}-{number}"
            part = await self.call(Submitted, "submit_tasks", body=body, key=part_key)
            ids += part.ids
            repeated |= part.repeated
        return Submitted(ids=ids, repeated=repeated)

    async def list_tasks(self, query: TaskFilter | None = None) -> Page[TaskView]:
        """One page of tasks."""
        return await self.call(Page[TaskView], "list_tasks", query=query)

    async def each_task(self, query: TaskFilter | None = None) -> AsyncIterator[TaskView]:
        """Every task of a filter, page after page."""
        query = query or TaskFilter(limit=limits.PAGE_MAX)
        while True:
            page = await self.list_tasks(query)
            for task in page.items:
                yield task
            if page.next is None:
                return
            query = query.model_copy(update={"after": page.next})

    async def count_tasks(self, batch: str | None = None) -> Counts:
        """How many tasks there are of each status."""
        return await self.call(Counts, "count_tasks", query=CountsFilter(batch=batch))

    async def wait_for_tasks(self, ids: list[int], wait: float = limits.WAIT_SECONDS) -> Standing:
        """How tasks stand once all of them have ended, or after `wait` seconds."""
        return await self.call(Standing, "wait_for_tasks", body=WaitFor(ids=ids, timeout=wait))

    async def get_task(self, task: int) -> TaskView:
        """Show a task."""
        return await self.call(TaskView, "get_task", {"task": task})

    async def update_task(self, task: int, change: TaskUpdate) -> TaskView:
        """Change a task that is not running."""
        return await self.call(TaskView, "update_task", {"task": task}, body=change)

    async def delete_task(self, task: int) -> None:
        """Delete a task that is not running, with its history."""
        await self.call(Raw, "delete_task", {"task": task})

    async def cancel_task(self, task: int) -> TaskView:
        """Cancel a task, ending it if it runs."""
        return await self.call(TaskView, "cancel_task", {"task": task})

    async def retry_task(self, task: int) -> TaskView:
        """Run an ended task again."""
        return await self.call(TaskView, "retry_task", {"task": task})

    async def explain_task(self, task: int) -> Explanation:
        """Why a task is not running."""
        return await self.call(Explanation, "explain_task", {"task": task})

    async def follow_task(self, task: int, seen: FollowFrom) -> Followed:
        """What is new of a task since `seen`."""
        return await self.call(Followed, "follow_task", {"task": task}, query=seen)

    # --- executions

    async def list_executions(self, query: ExecutionFilter | None = None) -> Page[ExecutionView]:
        """One page of executions."""
        return await self.call(Page[ExecutionView], "list_executions", query=query)

    async def each_execution(
        self, query: ExecutionFilter | None = None
    ) -> AsyncIterator[ExecutionView]:
        """Every execution of a filter, page after page."""
        query = query or ExecutionFilter(limit=limits.PAGE_MAX)
        while True:
            page = await self.list_executions(query)
            for execution in page.items:
                yield execution
            if page.next is None:
                return
            query = query.model_copy(update={"after": page.next})

    async def get_execution(self, task: int, attempt: int) -> ExecutionView:
        """Show an execution."""
        place = {"task": task, "attempt": attempt}
        return await self.call(ExecutionView, "get_execution", place)

    async def get_output(
        self, task: int, attempt: int, stream: Stream, query: OutputRange | None = None
    ) -> Stretch:
        """Bytes of an output stream: its tail, or those from an offset on."""
        place = {"task": task, "attempt": attempt, "stream": stream}
        raw = await self.call(Raw, "get_output", place, query=query)
        offset = int(raw.headers.get("X-PYTQ-Offset", 0))
        size = int(raw.headers.get("X-PYTQ-Size", offset + len(raw.content)))
        return Stretch(offset, raw.content, size)

    async def each_output(self, task: int, attempt: int, stream: Stream) -> AsyncIterator[Stretch]:
        """All that was kept of a stream, from its beginning; where bytes are missing, a gap."""
        offset = 0
        while True:
            part = await self.get_output(task, attempt, stream, OutputRange(offset=offset))
            if not part.data:
                return
            yield part
            offset = part.offset + len(part.data)

    async def signal_execution(self, task: int, attempt: int, signal: Signal) -> ExecutionView:
        """Pause, resume, terminate or kill."""
        place = {"task": task, "attempt": attempt}
        order = SignalOrder(signal=signal)
        return await self.call(ExecutionView, "signal_execution", place, body=order)

    # --- batches

    async def list_batches(self) -> list[BatchView]:
        """Every batch, with its counts."""
        return await self.call(list[BatchView], "list_batches")

    async def get_batch(self, name: str) -> BatchView:
        """Show a batch."""
        return await self.call(BatchView, "get_batch", {"name": name})

    async def update_batch(self, name: str, change: BatchUpdate) -> BatchView:
        """Pause a batch or let it go on."""
        return await self.call(BatchView, "update_batch", {"name": name}, body=change)

    async def cancel_batch(self, name: str) -> Affected:
        """Cancel every open task of a batch."""
        return await self.call(Affected, "cancel_batch", {"name": name})

    async def retry_batch(self, name: str) -> Affected:
        """Run every failed task of a batch again."""
        return await self.call(Affected, "retry_batch", {"name": name})

    async def signal_batch(self, name: str, signal: Signal) -> Affected:
        """Pause, resume, terminate or kill every running execution of a batch."""
        order = SignalOrder(signal=signal)
        return await self.call(Affected, "signal_batch", {"name": name}, body=order)

    async def list_failures(self, name: str) -> list[FailureView]:
        """How the failed tasks of a batch failed, the most frequent way first."""
        return await self.call(list[FailureView], "list_failures", {"name": name})

    async def delete_batch(self, name: str) -> Affected:
        """Delete a batch and its tasks, if none runs."""
        return await self.call(Affected, "delete_batch", {"name": name})

    # --- workers

    async def list_workers(self) -> list[WorkerView]:
        """Every worker."""
        return await self.call(list[WorkerView], "list_workers")

    async def get_worker(self, name: str) -> WorkerView:
        """Show a worker."""
        return await self.call(WorkerView, "get_worker", {"name": name})

    async def update_worker(self, name: str, change: WorkerUpdate) -> WorkerView:
        """Tune a worker."""
        return await self.call(WorkerView, "update_worker", {"name": name}, body=change)

    async def delete_worker(self, name: str, *, force: bool = False) -> None:
        """Forget a worker that is offline; `force` hands on what it still held."""
        query = WorkerRemoval(force=force)
        await self.call(Raw, "delete_worker", {"name": name}, query=query)

    async def list_resources(self, name: str) -> list[ResourceView]:
        """What a connected worker keeps: resources and images."""
        return await self.call(list[ResourceView], "list_resources", {"name": name})

    async def pin_resource(self, name: str, pin: Pin) -> None:
        """Have a connected worker keep something whatever happens, or no longer."""
        await self.call(Raw, "pin_resource", {"name": name}, body=pin)

    async def clean_worker(self, name: str, wish: Cleaning) -> None:
        """Have a connected worker throw away what it keeps and nothing uses."""
        await self.call(Raw, "clean_worker", {"name": name}, body=wish)

    async def release_worker(self, name: str) -> JobView:
        """Drain a worker, wait until it is empty, end it, and give its machine back."""
        return await self.call(JobView, "release_worker", {"name": name})

    # --- recruiting

    async def list_providers(self) -> list[ProviderView]:
        """Who has machines, and which."""
        return await self.call(list[ProviderView], "list_providers")

    async def recruit(self, wish: Recruit) -> JobView:
        """Recruit new workers; the job that this became."""
        return await self.call(JobView, "recruit", body=wish)

    async def list_jobs(self) -> list[JobView]:
        """Every job that is remembered, newest first."""
        return await self.call(list[JobView], "list_jobs")

    async def get_job(self, job: int) -> JobView:
        """Show a job."""
        return await self.call(JobView, "get_job", {"job": job})

    async def get_job_log(self, job: int, offset: int = 0) -> JobLog:
        """A stretch of a job's log, from a character on."""
        return await self.call(JobLog, "get_job_log", {"job": job}, query=LogFrom(offset=offset))

    async def whole_job_log(self, job: int) -> str:
        """All that was kept of a job's log."""
        text, offset = "", 0
        while (part := await self.get_job_log(job, offset)).text:
            text, offset = text + part.text, part.next_offset
        return text

    async def cancel_job(self, job: int) -> JobView:
        """Cancel a job."""
        return await self.call(JobView, "cancel_job", {"job": job})

    # --- the server

    async def list_events(self, query: EventFilter | None = None) -> Page[EventView]:
        """One page of events."""
        return await self.call(Page[EventView], "list_events", query=query)

    async def get_server(self) -> ServerInfo:
        """What the server is and how it is doing."""
        return await self.call(ServerInfo, "get_server")

    # --- who may do what

    async def get_caller(self) -> CallerView:
        """Who the server takes us for."""
        return await self.call(CallerView, "get_caller")

    async def list_tokens(self) -> list[TokenView]:
        """Every token that was not revoked; not what they are."""
        return await self.call(list[TokenView], "list_tokens")

    async def create_token(self, order: TokenOrder) -> NewToken:
        """Make a token; the answer is the only time it is shown."""
        return await self.call(NewToken, "create_token", body=order)

    async def revoke_token(self, name: str) -> None:
        """Revoke a token; whoever is connected with it is cut off."""
        await self.call(Raw, "revoke_token", {"name": name})

    async def offer_login(self) -> NewCode:
        """A code that logs a browser in, once, with our rights."""
        return await self.call(NewCode, "offer_login")

    async def log_in(self, code: str) -> Session:
        """What a browser gets for a login code."""
        return await self.call(Session, "log_in", body=LoginCode(code=code))


def _encoded(task: Submission) -> bytes:
    return json_of(task) if isinstance(task, TaskSubmit) else to_json(task)


def _chunks(tasks: Iterable[Submission]) -> Iterator[bytes]:
    """Bodies of as many tasks as one request takes."""
    gathered: list[bytes] = []
    size = 0
    for task in tasks:
        encoded = _encoded(task)
        full = len(gathered) >= limits.TASKS_PER_REQUEST or size + len(encoded) > _CHUNK_BYTES
        if gathered and full:
            yield b"[" + b",".join(gathered) + b"]"
            gathered, size = [], 0
        gathered.append(encoded)
        size += len(encoded) + 1
    if gathered:
        yield b"[" + b",".join(gathered) + b"]"
