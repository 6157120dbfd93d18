"""What the API asks of the queue: one method per endpoint, named as in `schema.endpoints`.

A method takes what its endpoint declares, in this order: the fields of the place in the path, the
query, the body. It raises `PytqError`s; the API shows them as problems.
"""

from typing import Protocol

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
from pytq.schema.states import Stream
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


class QueueContract(Protocol):
    """Everything that can be asked of a queue over REST."""

    async def submit_tasks(
        self, tasks: list[TaskSubmit], key: str | None, body_hash: str
    ) -> Submitted:
        """Queue all of the tasks or none; the same key and hash again change nothing."""

    async def list_tasks(self, query: TaskFilter) -> Page[TaskView]:
        """List tasks."""

    async def count_tasks(self, query: CountsFilter) -> Counts:
        """Count tasks by status."""

    async def wait_for_tasks(self, body: WaitFor) -> Standing:
        """Wait until all of the tasks have ended, or the time is up."""

    async def get_task(self, task: int) -> TaskView:
        """Show a task."""

    async def update_task(self, task: int, body: TaskUpdate) -> TaskView:
        """Change a task that is not running."""

    async def delete_task(self, task: int) -> None:
        """Delete a task that is not running, with its history."""

    async def cancel_task(self, task: int) -> TaskView:
        """Cancel a task, ending it if it runs."""

    async def retry_task(self, task: int) -> TaskView:
        """Run an ended task again."""

    async def explain_task(self, task: int) -> Explanation:
        """Tell why a task is not running."""

    async def follow_task(self, task: int, query: FollowFrom) -> Followed:
        """Wait for news of a task."""

    async def list_executions(self, query: ExecutionFilter) -> Page[ExecutionView]:
        """List executions."""

    async def get_execution(self, task: int, attempt: int) -> ExecutionView:
        """Show an execution."""

    async def get_output(
        self, task: int, attempt: int, stream: Stream, query: OutputRange
    ) -> tuple[int, bytes, int]:
        """Read a stream: where the bytes begin, the bytes, how many the stream has in all."""

    async def signal_execution(self, task: int, attempt: int, body: SignalOrder) -> ExecutionView:
        """Pause, resume, terminate or kill."""

    async def list_batches(self) -> list[BatchView]:
        """List batches with their counts."""

    async def get_batch(self, name: str) -> BatchView:
        """Show a batch."""

    async def update_batch(self, name: str, body: BatchUpdate) -> BatchView:
        """Pause a batch or let it go on."""

    async def cancel_batch(self, name: str) -> Affected:
        """Cancel every open task of a batch."""

    async def retry_batch(self, name: str) -> Affected:
        """Run every failed task of a batch again."""

    async def signal_batch(self, name: str, body: SignalOrder) -> Affected:
        """Pause, resume, terminate or kill every running execution of a batch."""

    async def list_failures(self, name: str) -> list[FailureView]:
        """List how the failed tasks of a batch failed."""

    async def delete_batch(self, name: str) -> Affected:
        """Delete a batch and its tasks, if none runs."""

    async def list_workers(self) -> list[WorkerView]:
        """List workers."""

    async def get_worker(self, name: str) -> WorkerView:
        """Show a worker."""

    async def update_worker(self, name: str, body: WorkerUpdate) -> WorkerView:
        """Tune a worker."""

    async def delete_worker(self, name: str, query: WorkerRemoval) -> None:
        """Forget a worker that is offline."""

    async def list_resources(self, name: str) -> list[ResourceView]:
        """List what a connected worker keeps."""

    async def pin_resource(self, name: str, body: Pin) -> None:
        """Have a connected worker keep something whatever happens, or no longer."""

    async def clean_worker(self, name: str, body: Cleaning) -> None:
        """Have a connected worker throw away what it keeps and nothing uses."""

    async def release_worker(self, name: str) -> JobView:
        """Drain a worker, wait until it is empty, end it, and give its machine back."""

    async def list_providers(self) -> list[ProviderView]:
        """List who has machines, and which."""

    async def recruit(self, body: Recruit) -> JobView:
        """Recruit new workers."""

    async def list_jobs(self) -> list[JobView]:
        """List jobs, newest first."""

    async def get_job(self, job: int) -> JobView:
        """Show a job."""

    async def get_job_log(self, job: int, query: LogFrom) -> JobLog:
        """Read a job's log."""

    async def cancel_job(self, job: int) -> JobView:
        """Cancel a job."""

    async def list_events(self, query: EventFilter) -> Page[EventView]:
        """List events."""

    async def get_server(self) -> ServerInfo:
        """Tell what this server is and how it is doing."""

    async def create_token(self, body: TokenOrder) -> NewToken:
        """Make a token."""

    async def list_tokens(self) -> list[TokenView]:
        """List tokens."""

    async def revoke_token(self, name: str) -> None:
        """Revoke a token."""

    async def get_caller(self) -> CallerView:
        """Tell who is calling."""

    async def offer_login(self) -> NewCode:
        """Make a code that logs a browser in."""

    async def log_in(self, body: LoginCode) -> Session:
        """Turn a login code into a token."""
