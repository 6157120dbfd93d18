"""What people and programs can ask of the queue: one method per endpoint of the API."""

import asyncio
import base64
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeVar

from pytq import __version__
from pytq.schema.access import Role
from pytq.schema.frames import PROTOCOL
from pytq.schema.problems import ConflictError, ForbiddenError, NotFoundError
from pytq.schema.queries import (
    CountsFilter,
    EventFilter,
    ExecutionFilter,
    FollowFrom,
    OutputRange,
    TaskFilter,
)
from pytq.schema.states import TASK_ENDED, Cause, Phase, Signal, Stream, TaskStatus
from pytq.schema.tasks import TaskSubmit
from pytq.schema.views import (
    Counts,
    EventView,
    ExecutionView,
    Explanation,
    Followed,
    OutputPart,
    Page,
    Reason,
    ServerInfo,
    SignalOrder,
    Standing,
    Submitted,
    TaskUpdate,
    TaskView,
    WaitFor,
    moment,
)
from pytq.server.batches import Batches
from pytq.server.dispatcher import Dispatcher, clock
from pytq.server.explaining import explain
from pytq.server.keyring import Keyring, actor, calling
from pytq.server.recruit.jobs import Jobs
from pytq.server.recruit.office import Office
from pytq.server.recruit.providers import Provider
from pytq.server.recruit.recruiter import Recruiter
from pytq.server.store import acting, insight, listing, outputs, reading, submitting, tries
from pytq.server.store.changes import Changes
from pytq.server.store.database import Connection
from pytq.server.store.tables import AnyRow
from pytq.server.store.writer import Verb
from pytq.server.tokens import Tokens

T = TypeVar("T")

_FOLLOW_BYTES: Final = 256 * 1024


class Queue(Batches, Office, Tokens):
    """Tasks and executions; the rest comes with `Batches`, `Crew`, `Office` and `Tokens`."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        keyring: Keyring | None = None,
        providers: Sequence[Provider] = (),
    ) -> None:
        super().__init__(dispatcher)
        self.keyring = keyring or Keyring()
        self.recruiter = Recruiter(self, Jobs(dispatcher), providers)

    # --- tasks

    async def submit_tasks(
        self, tasks: list[TaskSubmit], key: str | None, body_hash: str
    ) -> Submitted:
        """Queue all of the tasks or none; the same key and hash again change nothing."""
        # Without a key of the caller's own, one of ours keeps a repeated commit harmless.
        key = key or f"server-{secrets.token_hex(16)}"
        submission = submitting.prepare(tasks, key, body_hash, actor())
        self.dispatcher.fleet.awaken(submission.batches)

        def prepare() -> Verb[tuple[range, bool, Changes]]:
            new = [name for name in submission.batches if name not in self._known_batches]
            return partial(submitting.submit, now=clock(), submission=submission, new_batches=new)

        def then(result: tuple[range, bool, Changes]) -> None:
            self._known_batches.update(submission.batches)
            self.dispatcher.told(result[2])

        done = self.dispatcher.db.post(prepare, then)
        self.dispatcher.lease_soon()
        ids, repeated, _ = await done
        return Submitted(ids=list(ids), repeated=repeated)

    async def list_tasks(self, query: TaskFilter) -> Page[TaskView]:
        """List tasks."""
        return await self._read(lambda conn: listing.list_tasks(conn, query))

    async def count_tasks(self, query: CountsFilter) -> Counts:
        """Count tasks by status."""
        return await self._read(lambda conn: reading.count(conn, query.batch))

    async def get_task(self, task: int) -> TaskView:
        """Show a task."""
        return await self._read(lambda conn: reading.get_task(conn, task))

    async def update_task(self, task: int, body: TaskUpdate) -> TaskView:
        """Change a task that is not running."""
        by = await self._who_may(task)
        await self._act(lambda conn: acting.update(conn, clock(), task, body, by))
        return await self.get_task(task)

    async def delete_task(self, task: int) -> None:
        """Delete a task that is not running, with its history."""
        by = await self._who_may(task)
        await self._act(lambda conn: acting.delete(conn, clock(), task, by))

    async def cancel_task(self, task: int) -> TaskView:
        """Cancel a task, ending it if it runs."""
        by = await self._who_may(task)
        await self._act(lambda conn: acting.cancel_one(conn, clock(), task, by))
        self.dispatcher.fleet.order([task], Signal.TERM)
        return await self.get_task(task)

    async def retry_task(self, task: int) -> TaskView:
        """Run an ended task again."""
        by = await self._who_may(task)
        await self._act(lambda conn: acting.retry_one(conn, clock(), task, by))
        return await self.get_task(task)

    async def wait_for_tasks(self, body: WaitFor) -> Standing:
        """Wait until all of the tasks have ended, or the time is up."""
        loop = asyncio.get_running_loop()
        until = loop.time() + body.timeout
        with self.dispatcher.hub.watch(body.ids) as watcher:
            standing = await self._statuses(body.ids)
            missing = [task for task in body.ids if task not in standing]
            if missing:
                raise NotFoundError(f"there is no task {missing[0]}", field="ids")
            left = {task for task, status in standing.items() if status not in TASK_ENDED}
            while left and await watcher.wait(max(0.0, until - loop.time())):
                for task, status in watcher.news.items():
                    if status is not None:
                        standing[task] = status
                        (left.discard if status in TASK_ENDED else left.add)(task)
                watcher.news.clear()
        statuses: dict[TaskStatus, list[int]] = {}
        for task in dict.fromkeys(body.ids):
            statuses.setdefault(standing[task], []).append(task)
        return Standing(done=not left, statuses=statuses)

    async def _statuses(self, ids: Sequence[int]) -> dict[int, TaskStatus]:
        return await self._read(lambda conn: reading.statuses(conn, ids))

    async def explain_task(self, task: int) -> Explanation:
        """Tell why a task is not running."""
        case = await self._read(lambda conn: insight.case_of(conn, clock(), task))
        return explain(case, await self.mates(case.batch))

    async def follow_task(self, task: int, query: FollowFrom) -> Followed:
        """Wait for news of a task: its status and new output."""
        loop = asyncio.get_running_loop()
        until = loop.time() + query.wait
        with self.dispatcher.hub.watch([task]) as watcher:
            while True:
                row, parts = await self._read(lambda conn: _news(conn, task, query))
                news = parts or row.attempt != query.attempt or row.status in TASK_ENDED
                if news or not await watcher.wait(max(0.0, until - loop.time())):
                    break
        return Followed(
            status=TaskStatus(row.status),
            reason=Reason(cause=Cause(row.cause), detail=row.detail or "") if row.cause else None,
            attempt=row.attempt,
            exit_code=row.exit_code,
            parts=parts,
        )

    # --- executions

    async def list_executions(self, query: ExecutionFilter) -> Page[ExecutionView]:
        """List executions."""
        page = await self._read(lambda conn: tries.list_executions(conn, query))
        for execution in page.items:
            self._add_staging(execution)
        return page

    async def get_execution(self, task: int, attempt: int) -> ExecutionView:
        """Show an execution."""
        execution = await self._read(lambda conn: tries.get_execution(conn, task, attempt))
        self._add_staging(execution)
        return execution

    def _add_staging(self, execution: ExecutionView) -> None:
        """What is known of the transfers of an execution lives in memory."""
        if execution.phase in (Phase.DOWNLOADING, Phase.UPLOADING):
            ref = (execution.task, execution.attempt)
            execution.staging = self.dispatcher.fleet.staging(ref)

    async def get_output(
        self, task: int, attempt: int, stream: Stream, query: OutputRange
    ) -> tuple[int, bytes, int]:
        """Read a stream: where the bytes begin, the bytes, how many the stream has in all."""

        def look(conn: Connection) -> tuple[int, bytes, int]:
            execution = tries.get_execution(conn, task, attempt)
            size = getattr(execution, f"{stream}_bytes")
            offset = max(0, size - query.limit) if query.offset is None else query.offset
            return *outputs.read_output(conn, task, attempt, stream, offset, query.limit), size

        return await self._read(look)

    async def signal_execution(self, task: int, attempt: int, body: SignalOrder) -> ExecutionView:
        """Pause, resume, terminate or kill."""
        await self._who_may(task)
        execution = await self.get_execution(task, attempt)
        if execution.ended_at is not None:
            raise ConflictError(f"execution {task}.{attempt} has ended", field="execution")
        if body.signal in (Signal.TERM, Signal.KILL):
            await self.dispatcher.db.write(lambda conn: acting.want_stop(conn, [task], body.signal))
        holder = self.dispatcher.fleet.holder(task)
        if holder is not None and holder.held[task].attempt == attempt:
            holder.order(task, body.signal)
        elif body.signal not in (Signal.TERM, Signal.KILL):
            raise ConflictError(
                f"worker {execution.worker} is not connected",
                field="execution",
                cure="try again when it is back",
            )
        return await self.get_execution(task, attempt)

    # --- events and the server

    async def list_events(self, query: EventFilter) -> Page[EventView]:
        """List events."""
        return await self._read(lambda conn: reading.list_events(conn, query))

    async def get_server(self) -> ServerInfo:
        """What this server is and how it is doing."""
        return self.describe(await self._read(lambda conn: reading.count(conn, None)))

    def describe(self, counts: Counts) -> ServerInfo:
        """What this server is and how it is doing, when that are its tasks."""
        return ServerInfo(
            version=__version__,
            api="v1",
            protocol=PROTOCOL,
            database=self.dispatcher.db.kind,
            started_at=moment(self.started_at),
            now=moment(clock()),
            workers_connected=len(self.dispatcher.fleet.members),
            counts=counts,
        )

    # --- inside

    async def _who_may(self, task: int) -> str:
        """The caller's name, if they may change this task: submitters may change their own."""
        caller = calling()
        if caller.role is Role.SUBMITTER:
            owner = await self._read(lambda conn: reading.owner(conn, task))
            if owner != caller.name:
                raise ForbiddenError(
                    f"task {task} was submitted by {owner or 'somebody else'}",
                    field="task",
                    cure="use a token that was made with --role operator",
                )
        return caller.name


def _news(conn: Connection, task: int, query: FollowFrom) -> tuple[AnyRow, list[OutputPart]]:
    row = reading.latest(conn, task)
    parts = []
    for stream in Stream:
        size = getattr(row, f"{stream}_bytes") or 0
        seen = getattr(query, stream) if row.attempt == query.attempt else 0
        if size <= seen:
            continue
        start, data = outputs.read_output(conn, task, row.attempt, stream, seen, _FOLLOW_BYTES)
        if data:
            parts.append(
                OutputPart(
                    stream=stream,
                    offset=start,
                    next_offset=start + len(data),
                    data=base64.b64encode(data).decode(),
                )
            )
    return row, parts
