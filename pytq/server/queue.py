"""What people and programs can ask of the queue: one method per endpoint of the API."""

import asyncio
import base64
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeVar

from pytq import __version__
from pytq.schema.frames import PROTOCOL
from pytq.schema.problems import ConflictError, NotFoundError
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
    Affected,
    BatchUpdate,
    BatchView,
    Counts,
    EventView,
    ExecutionView,
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
from pytq.server.crew import ACTOR, Crew, Unfinished
from pytq.server.dispatcher import Dispatcher, clock
from pytq.server.store import acting, outputs, reading, submitting
from pytq.server.store.changes import Changes
from pytq.server.store.database import Connection
from pytq.server.store.tables import AnyRow
from pytq.server.store.writer import Verb

T = TypeVar("T")

_FOLLOW_BYTES: Final = 256 * 1024


class Queue(Crew, Unfinished):
    """Tasks, executions and batches; workers come with `Crew`."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self._known_batches: set[str] = set()  # spares a statement for each submit

    # --- tasks

    async def submit_tasks(
        self, tasks: list[TaskSubmit], key: str | None, body_hash: str
    ) -> Submitted:
        """Queue all of the tasks or none; the same key and hash again change nothing."""
        # Without a key of the caller's own, one of ours keeps a repeated commit harmless.
        key = key or f"server-{secrets.token_hex(16)}"
        submission = submitting.prepare(tasks, key, body_hash, ACTOR)
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
        return await self._read(lambda conn: reading.list_tasks(conn, query))

    async def count_tasks(self, query: CountsFilter) -> Counts:
        """Count tasks by status."""
        return await self._read(lambda conn: reading.count(conn, query.batch))

    async def get_task(self, task: int) -> TaskView:
        """Show a task."""
        return await self._read(lambda conn: reading.get_task(conn, task))

    async def update_task(self, task: int, body: TaskUpdate) -> TaskView:
        """Change a task that is not running."""
        await self._act(lambda conn: acting.update(conn, clock(), task, body, ACTOR))
        return await self.get_task(task)

    async def delete_task(self, task: int) -> None:
        """Delete a task that is not running, with its history."""
        await self._act(lambda conn: acting.delete(conn, clock(), task, ACTOR))

    async def cancel_task(self, task: int) -> TaskView:
        """Cancel a task, ending it if it runs."""
        await self._act(lambda conn: acting.cancel_one(conn, clock(), task, ACTOR))
        self._order_stop([task])
        return await self.get_task(task)

    async def retry_task(self, task: int) -> TaskView:
        """Run an ended task again."""
        await self._act(lambda conn: acting.retry_one(conn, clock(), task, ACTOR))
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
        page = await self._read(lambda conn: reading.list_executions(conn, query))
        for execution in page.items:
            self._add_staging(execution)
        return page

    async def get_execution(self, task: int, attempt: int) -> ExecutionView:
        """Show an execution."""
        execution = await self._read(lambda conn: reading.get_execution(conn, task, attempt))
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
            execution = reading.get_execution(conn, task, attempt)
            size = getattr(execution, f"{stream}_bytes")
            offset = max(0, size - query.limit) if query.offset is None else query.offset
            return *outputs.read_output(conn, task, attempt, stream, offset, query.limit), size

        return await self._read(look)

    async def signal_execution(self, task: int, attempt: int, body: SignalOrder) -> ExecutionView:
        """Pause, resume, terminate or kill."""
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

    # --- batches

    async def list_batches(self) -> list[BatchView]:
        """List batches with their counts."""
        return await self._read(
            lambda conn: reading.list_batches(conn, self.dispatcher.fleet.online_by_batch())
        )

    async def get_batch(self, name: str) -> BatchView:
        """Show a batch."""
        online = self.dispatcher.fleet.online_by_batch()
        found = await self._read(lambda conn: reading.list_batches(conn, online, name))
        if not found:
            raise NotFoundError(f"there is no batch {name!r}", field="name")
        return found[0]

    async def update_batch(self, name: str, body: BatchUpdate) -> BatchView:
        """Pause a batch or let it go on."""
        if body.paused is not None:
            paused = body.paused
            await self._act(
                lambda conn: acting.pause_batch(conn, clock(), name, ACTOR, paused=paused)
            )
        return await self.get_batch(name)

    async def cancel_batch(self, name: str) -> Affected:
        """Cancel every open task of a batch."""
        await self.get_batch(name)
        running = await self._some_of(name, [TaskStatus.ACTIVE])
        count = await self._sweep(name, (TaskStatus.WAITING, TaskStatus.PENDING), acting.cancel)
        if running:
            await self._act(lambda conn: acting.cancel(conn, clock(), running, ACTOR))
            self._order_stop(running)
        return Affected(count=count + len(running))

    async def retry_batch(self, name: str) -> Affected:
        """Run every failed task of a batch again."""
        await self.get_batch(name)
        return Affected(count=await self._sweep(name, (TaskStatus.FAILED,), acting.retry))

    async def delete_batch(self, name: str) -> Affected:
        """Delete a batch and its tasks, if none runs."""
        count = await self.dispatcher.db.write(
            lambda conn: acting.delete_batch(conn, clock(), name, ACTOR),
            lambda _: self._known_batches.discard(name),
        )
        return Affected(count=count)

    async def _sweep(self, name: str, statuses: Sequence[TaskStatus], act: acting.Act) -> int:
        """Do something to all tasks of a batch, a few thousand to a transaction."""
        count = 0
        while True:
            ids = await self._some_of(name, statuses)
            if not ids:
                return count
            await self._act(partial(_on, act, ids))
            count += len(ids)

    # --- events and the server

    async def list_events(self, query: EventFilter) -> Page[EventView]:
        """List events."""
        return await self._read(lambda conn: reading.list_events(conn, query))

    async def get_server(self) -> ServerInfo:
        """What this server is and how it is doing."""
        counts = await self._read(lambda conn: reading.count(conn, None))
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

    async def _act(self, verb: acting.Verb) -> None:
        await self.dispatcher.db.write(verb, self.dispatcher.told)

    def _order_stop(self, tasks: Sequence[int]) -> None:
        for task in tasks:
            holder = self.dispatcher.fleet.holder(task)
            if holder is not None:
                holder.order(task, Signal.TERM)

    async def _read(self, look: Verb[T]) -> T:
        return await self.dispatcher.db.read(look)

    async def _some_of(self, batch: str, statuses: Sequence[TaskStatus]) -> list[int]:
        return await self._read(lambda conn: acting.some_of_batch(conn, batch, statuses))


def _on(act: acting.Act, ids: Sequence[int], conn: Connection) -> Changes:
    return act(conn, clock(), ids, ACTOR)


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
