"""A queue of plain dictionaries: enough for plausible answers, and for nothing else."""

# ruff: noqa: ARG002 - the contract says which arguments there are

from dataclasses import dataclass, field
from itertools import count

from fake_access import FakeAccess
from fake_recruiting import FakeRecruiting
from fake_views import NOW, execution, missing, worker_view

from pytq import __version__
from pytq.schema.problems import (
    ConflictError,
    InvalidError,
)
from pytq.schema.queries import (
    CountsFilter,
    EventFilter,
    ExecutionFilter,
    FollowFrom,
    OutputRange,
    TaskFilter,
    WorkerRemoval,
)
from pytq.schema.recruit import (
    JobKind,
    JobView,
)
from pytq.schema.states import Cause, RunWhen, Stream, TaskStatus
from pytq.schema.tasks import TaskSpec, TaskSubmit, core_of
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
    WorkerReason,
    WorkerUpdate,
    WorkerView,
)


@dataclass
class FakeQueue(FakeRecruiting, FakeAccess):
    """Tasks by id; every task of an even id has had one execution."""

    tasks: dict[int, TaskView] = field(default_factory=dict)
    workers: dict[str, WorkerView] = field(default_factory=lambda: {"anna": worker_view("anna")})
    keys: dict[str, tuple[str, list[int]]] = field(default_factory=dict)
    ids: "count[int]" = field(default_factory=lambda: count(1))

    async def submit_tasks(
        self, tasks: list[TaskSubmit], key: str | None, body_hash: str
    ) -> Submitted:
        self.calls.append(("submit_tasks", tasks, key, body_hash))
        if key in self.keys:
            old_hash, ids = self.keys[key]
            if old_hash != body_hash:
                raise InvalidError("the key was used for another body", field="Idempotency-Key")
            return Submitted(ids=ids, repeated=True)
        try:
            specs = [TaskSpec.model_validate(core_of(task), strict=False) for task in tasks]
        except ValueError as error:
            raise InvalidError(str(error), field=getattr(error, "field", None)) from None
        ids = [self.add(task, spec) for task, spec in zip(tasks, specs, strict=True)]
        if key is not None:
            self.keys[key] = (body_hash, ids)
        return Submitted(ids=ids)

    def add(self, task: TaskSubmit, spec: TaskSpec) -> int:
        number = next(self.ids)
        self.tasks[number] = TaskView(
            id=number,
            name=task.name,
            batch=task.batch,
            status=TaskStatus.PENDING,
            priority=task.priority,
            retries=task.retries,
            failures=0,
            losses=0,
            attempt=0,
            run_when=RunWhen.SUCCEEDED,
            requirements=task.requirements,
            tags=task.tags,
            reason=None,
            created_at=NOW,
            changed_at=NOW,
            spec=spec,
        )
        return number

    async def list_tasks(self, query: TaskFilter) -> Page[TaskView]:
        self.calls.append(("list_tasks", query))
        items = list(self.tasks.values())
        return Page(items=items[: query.limit], next="7" if len(items) > query.limit else None)

    async def count_tasks(self, query: CountsFilter) -> Counts:
        return Counts(pending=len(self.tasks))

    async def wait_for_tasks(self, body: WaitFor) -> Standing:
        known = [self.task(number).id for number in body.ids]
        return Standing(done=False, statuses={TaskStatus.PENDING: known})

    def task(self, number: int) -> TaskView:
        return self.tasks.get(number) or missing(f"task {number}")

    async def get_task(self, task: int) -> TaskView:
        self.calls.append(("get_task", task))
        return self.task(task)

    async def update_task(self, task: int, body: TaskUpdate) -> TaskView:
        changes = body.model_dump(exclude_unset=True, exclude={"command"}, exclude_none=True)
        self.tasks[task] = self.task(task).model_copy(update=changes)
        return self.tasks[task]

    async def delete_task(self, task: int) -> None:
        del self.tasks[self.task(task).id]

    async def cancel_task(self, task: int) -> TaskView:
        if self.task(task).status is TaskStatus.CANCELLED:
            raise ConflictError(f"task {task} is cancelled already")
        changed = self.task(task).model_copy(update={"status": TaskStatus.CANCELLED})
        self.tasks[task] = changed
        return changed

    async def retry_task(self, task: int) -> TaskView:
        self.tasks[task] = self.task(task).model_copy(update={"status": TaskStatus.PENDING})
        return self.tasks[task]

    async def explain_task(self, task: int) -> Explanation:
        reasons = [WorkerReason(worker=name, reason="it is full") for name in self.workers]
        return Explanation(task=self.task(task).id, summary="no worker has room", workers=reasons)

    async def follow_task(self, task: int, query: FollowFrom) -> Followed:
        status = self.task(task).status
        return Followed(status=status, reason=None, attempt=0, exit_code=None, parts=[])

    async def list_executions(self, query: ExecutionFilter) -> Page[ExecutionView]:
        return Page(items=[execution(number) for number in self.tasks if not number % 2])

    async def get_execution(self, task: int, attempt: int) -> ExecutionView:
        self.calls.append(("get_execution", task, attempt))
        if self.task(task).id % 2 or attempt != 1:
            missing(f"execution {task}.{attempt}")
        return execution(task)

    async def get_output(
        self, task: int, attempt: int, stream: Stream, query: OutputRange
    ) -> tuple[int, bytes, int]:
        self.calls.append(("get_output", task, attempt, stream, query))
        await self.get_execution(task, attempt)
        return 5, b"<b>\x00\xff", 9

    async def signal_execution(self, task: int, attempt: int, body: SignalOrder) -> ExecutionView:
        return await self.get_execution(task, attempt)

    async def list_batches(self) -> list[BatchView]:
        return [await self.get_batch(name) for name in self.batches()]

    def batches(self) -> list[str]:
        return sorted({task.batch for task in self.tasks.values()})

    async def get_batch(self, name: str) -> BatchView:
        if name not in self.batches():
            missing(f"batch {name}")
        return BatchView(name=name, paused=False, created_at=NOW, counts=Counts(), workers=0)

    async def update_batch(self, name: str, body: BatchUpdate) -> BatchView:
        return await self.get_batch(name)

    async def cancel_batch(self, name: str) -> Affected:
        await self.get_batch(name)
        return Affected(count=1)

    async def retry_batch(self, name: str) -> Affected:
        await self.get_batch(name)
        return Affected(count=1)

    async def signal_batch(self, name: str, body: SignalOrder) -> Affected:
        await self.get_batch(name)
        return Affected(count=2)

    async def list_failures(self, name: str) -> list[FailureView]:
        await self.get_batch(name)
        return [FailureView(cause=Cause.EXIT, exit_code=1, count=3, task=1, detail="exit code 1")]

    async def delete_batch(self, name: str) -> Affected:
        await self.get_batch(name)
        doomed = [number for number, task in self.tasks.items() if task.batch == name]
        for number in doomed:
            del self.tasks[number]
        return Affected(count=len(doomed))

    async def list_workers(self) -> list[WorkerView]:
        return list(self.workers.values())

    async def get_worker(self, name: str) -> WorkerView:
        return self.workers.get(name) or missing(f"worker {name}")

    async def update_worker(self, name: str, body: WorkerUpdate) -> WorkerView:
        self.calls.append(("update_worker", name, body))
        return await self.get_worker(name)

    async def delete_worker(self, name: str, query: WorkerRemoval) -> None:
        self.calls.append(("delete_worker", name, query))
        await self.get_worker(name)
        raise ConflictError(f"worker {name} is online", cure="stop it first")

    async def list_resources(self, name: str) -> list[ResourceView]:
        await self.get_worker(name)
        return [ResourceView(kind="resource", uri="s3://database/my.db", bytes=10)]

    async def pin_resource(self, name: str, body: Pin) -> None:
        self.calls.append(("pin_resource", name, body))
        await self.get_worker(name)

    async def clean_worker(self, name: str, body: Cleaning) -> None:
        self.calls.append(("clean_worker", name, body))
        await self.get_worker(name)

    async def release_worker(self, name: str) -> JobView:
        await self.get_worker(name)
        return self.begin(JobKind.RELEASE, f"release {name}", [name])

    async def list_events(self, query: EventFilter) -> Page[EventView]:
        event = EventView(
            id=1,
            at=NOW,
            kind="submitted",
            actor="api",
            task=1,
            attempt=None,
            batch="default",
            worker=None,
            detail=None,
        )
        return Page(items=[event])

    async def get_server(self) -> ServerInfo:
        return ServerInfo(
            version=__version__,
            api="v1",
            protocol=1,
            database="sqlite",
            started_at=NOW,
            now=NOW,
            workers_connected=1,
            counts=Counts(),
        )
