"""PYTQ for scripts and notebooks: `from pytq.lib import *` gives `Server`.

    s = Server("127.0.0.1")
    task = s.task_create("echo hello > $OUTPUT/hello.txt", output="s3://results/hello/")
    s.join([task])

If the server is down, reads wait for it, and what is created or changed is kept and sent in the
background as soon as it is back; a lazy object stands in for the answer until then.
"""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar, Unpack, cast

from pytq.arguments import TaskFields, TaskRef, filter_of, id_of, model_of, wish_of
from pytq.background import Background, Lazy, Resolver, done, next_of
from pytq.client import Client, UnreachableError
from pytq.schema import address, limits
from pytq.schema.problems import BusyError, PytqError, TooManyError
from pytq.schema.queries import ExecutionFilter, OutputRange, TaskFilter
from pytq.schema.recruit import JobView, ProviderView, Recruit
from pytq.schema.states import Stream, TaskStatus
from pytq.schema.views import (
    Affected,
    BatchUpdate,
    BatchView,
    Cleaning,
    Counts,
    ExecutionView,
    Explanation,
    FailureView,
    ResourceView,
    ServerInfo,
    SignalOrder,
    Submitted,
    TaskUpdate,
    TaskView,
    WorkerUpdate,
    WorkerView,
)
from pytq.tokens import Tokens

__all__ = ["Created", "Joined", "PytqError", "Server", "TaskStatus"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Joined:
    """How the tasks that were waited for stand."""

    done: bool  # every one of them has ended
    counts: Counts
    statuses: dict[int, TaskStatus]


class Created:
    """A task that was created here. Its `id` waits until the server has given it one.

    Any other attribute is the task's own, asked of the server anew each time.
    """

    __slots__ = ("_later", "_place", "_server")

    def __init__(self, server: "Server", later: "Future[Submitted]", place: int = 0) -> None:
        self._server = server
        self._later = later
        self._place = place

    @property
    def id(self) -> int:
        """The task's number."""
        return self._later.result().ids[self._place]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._server.task_get(self), name)

    def __int__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        known = self._later.done() and self._later.exception() is None
        return f"<task {self.id}>" if known else "<a task that waits for the server>"


class Server(Tokens):
    """A PYTQ server, in plain calls. Safe to share between threads.

    `server` is a host, host:port or URL ($PYTQ_SERVER if left out). `timeout` bounds in seconds
    how long reads wait for a server that is down. With `background=False` so do writes, instead
    of being kept and sent later.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        timeout: float | None = None,
        background: bool = True,
        token: str | None = None,
    ) -> None:
        given = server or os.environ.get("PYTQ_SERVER") or address.DEFAULT_SERVER
        self.address = address.parse(given)
        self.timeout = timeout
        self._keeps = background
        self._token = token
        self._open()

    def _open(self) -> None:
        self._process = os.getpid()
        self._background = Background(
            lambda: Client(
                self.address, token=self._token, patience=self.timeout, resolver=Resolver()
            )
        )

    @property
    def _behind(self) -> Background:
        if self._process != os.getpid():  # a fork has the object, but not its thread
            self._open()
        return self._background

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Send what is unsent, if that takes only a moment, and end the connection."""
        self._behind.close()

    @property
    def unsent(self) -> int:
        """How many creations and changes wait for the server to come back."""
        return self._behind.unsent

    # --- tasks

    def task_create(self, command: str | list[str], **fields: Unpack[TaskFields]) -> Created:
        """Queue one task: shell text as it is, or a list of words."""
        return self.task_create_many([{"command": command, **fields}])[0]

    def task_create_many(self, tasks: Iterable[dict[str, Any]]) -> list[Created]:
        """Queue many tasks at once, each a dict of `command` and what `task_create` takes."""
        wanted = [wish_of(fields) for fields in tasks]
        if not wanted:
            return []
        key = secrets.token_hex(16)
        later = self._write(
            lambda client: client.submit_tasks((wish.resolved() for wish in wanted), key=key),
            keyed=True,
        )
        return [Created(self, later, place) for place in range(len(wanted))]

    def tasks(self, **wanted: Any) -> Iterator[TaskView]:
        """Each task that fits: batch, status, name, search, ids, oldest_first."""
        query = filter_of(TaskFilter, wanted)
        return self._each(self._client.each_task(query))

    def task_get(self, task: TaskRef) -> TaskView:
        """One task."""
        return self._read(self._client.get_task(id_of(task)))

    def task_explain(self, task: TaskRef) -> Explanation:
        """Why a task is not running: a summary, and what keeps each worker of its batch from it."""
        return self._read(self._client.explain_task(id_of(task)))

    def task_update(self, task: TaskRef, **changes: Any) -> TaskView | Lazy[TaskView]:
        """Change name, batch, priority, retries or command of a task that is not running."""
        change = model_of(TaskUpdate, changes)
        return self._change(lambda client: client.update_task(id_of(task), change))

    def task_delete(self, task: TaskRef) -> None:
        """Delete a task that is not running."""
        self._write(lambda client: client.delete_task(id_of(task)))

    def task_cancel(self, task: TaskRef) -> TaskView | Lazy[TaskView]:
        """Cancel a task, ending it if it runs."""
        return self._change(lambda client: client.cancel_task(id_of(task)))

    def task_retry(self, task: TaskRef) -> TaskView | Lazy[TaskView]:
        """Run an ended task again."""
        return self._change(lambda client: client.retry_task(id_of(task)))

    def task_output(
        self, task: TaskRef, stream: str = "stdout", *, attempt: int | None = None
    ) -> bytes:
        """What a task has written: the last MiB of stdout, or of stderr; latest attempt first."""
        if attempt is None:
            attempt = self.task_get(task).attempt
        if attempt == 0:
            return b""
        query = OutputRange()
        return self._read(self._client.get_output(id_of(task), attempt, Stream(stream), query)).data

    def join(self, tasks: Iterable[TaskRef], timeout: float | None = None) -> Joined:
        """Wait until every task has ended, or `timeout` seconds are over; how they stand then."""
        deadline = None if timeout is None else time.monotonic() + timeout
        ids = [id_of(task) for task in tasks]
        statuses: dict[int, TaskStatus] = {}
        done = True
        for start in range(0, len(ids), limits.IDS_PER_REQUEST):
            part = ids[start : start + limits.IDS_PER_REQUEST]
            done &= self._join_part(part, deadline, statuses)
        amounts = {status.value: 0 for status in TaskStatus}
        for status in statuses.values():
            amounts[status.value] += 1
        return Joined(done=done, counts=Counts(**amounts), statuses=statuses)

    def _join_part(
        self, ids: list[int], deadline: float | None, statuses: dict[int, TaskStatus]
    ) -> bool:
        while True:
            left = limits.WAIT_SECONDS if deadline is None else deadline - time.monotonic()
            wait = min(max(left, 0.0), limits.WAIT_SECONDS)
            standing = self._read(self._client.wait_for_tasks(ids, wait))
            for status, some in standing.statuses.items():
                statuses.update(dict.fromkeys(some, status))
            if standing.done or left <= 0:
                return standing.done

    # --- executions

    def executions(self, **wanted: Any) -> Iterator[ExecutionView]:
        """Each execution that fits: task, worker, open, outcome."""
        query = filter_of(ExecutionFilter, wanted)
        return self._each(self._client.each_execution(query))

    def execution_get(self, task: TaskRef, attempt: int) -> ExecutionView:
        """One execution."""
        return self._read(self._client.get_execution(id_of(task), attempt))

    def execution_signal(
        self, task: TaskRef, attempt: int, signal: str
    ) -> ExecutionView | Lazy[ExecutionView]:
        """Send pause, resume, term or kill to a running execution."""
        wanted = model_of(SignalOrder, {"signal": signal}).signal
        return self._change(lambda client: client.signal_execution(id_of(task), attempt, wanted))

    # --- workers

    def workers(self) -> list[WorkerView]:
        """Every worker."""
        return self._read(self._client.list_workers())

    def worker_get(self, name: str) -> WorkerView:
        """One worker."""
        return self._read(self._client.get_worker(name))

    def worker_update(self, name: str, **changes: Any) -> WorkerView | Lazy[WorkerView]:
        """Change concurrency, prefetch, batch, paused or draining of a worker."""
        change = model_of(WorkerUpdate, changes)
        return self._change(lambda client: client.update_worker(name, change))

    def worker_delete(self, name: str, *, force: bool = False) -> None:
        """Forget a worker that is offline; `force` hands on what it still held."""
        self._write(lambda client: client.delete_worker(name, force=force))

    def worker_resources(self, name: str) -> list[ResourceView]:
        """What a connected worker keeps: resources and images."""
        return self._read(self._client.list_resources(name))

    def worker_clean(self, name: str, **wish: Any) -> None:
        """Have a connected worker throw away what nothing uses: `what`, `uris`."""
        body = Cleaning(**wish)
        self._write(lambda client: client.clean_worker(name, body))

    # --- batches

    def batches(self) -> list[BatchView]:
        """Every batch, with its counts."""
        return self._read(self._client.list_batches())

    def batch_get(self, name: str) -> BatchView:
        """One batch."""
        return self._read(self._client.get_batch(name))

    def batch_pause(self, name: str) -> BatchView | Lazy[BatchView]:
        """Start nothing new of a batch."""
        return self._change(lambda client: client.update_batch(name, BatchUpdate(paused=True)))

    def batch_go(self, name: str) -> BatchView | Lazy[BatchView]:
        """Let a paused batch go on."""
        return self._change(lambda client: client.update_batch(name, BatchUpdate(paused=False)))

    def batch_cancel(self, name: str) -> Affected | Lazy[Affected]:
        """Cancel every open task of a batch."""
        return self._change(lambda client: client.cancel_batch(name))

    def batch_retry(self, name: str) -> Affected | Lazy[Affected]:
        """Run every failed task of a batch again."""
        return self._change(lambda client: client.retry_batch(name))

    def batch_signal(self, name: str, signal: str) -> Affected | Lazy[Affected]:
        """Pause, resume, term or kill every running execution of a batch."""
        order = model_of(SignalOrder, {"signal": signal}).signal
        return self._change(lambda client: client.signal_batch(name, order))

    def batch_failures(self, name: str) -> list[FailureView]:
        """How the failed tasks of a batch failed, the most frequent way first."""
        return self._read(self._client.list_failures(name))

    def batch_delete(self, name: str) -> Affected | Lazy[Affected]:
        """Delete a batch and its tasks, if none runs."""
        return self._change(lambda client: client.delete_batch(name))

    # --- recruiting

    def providers(self) -> list[ProviderView]:
        """Who has machines, and which."""
        return self._read(self._client.list_providers())

    def recruit(self, **wish: Any) -> JobView | Lazy[JobView]:
        """Recruit workers: provider, region, flavor, count, batch, concurrency, prefetch."""
        body = model_of(Recruit, wish)
        return self._change(lambda client: client.recruit(body))

    def worker_release(self, name: str) -> JobView | Lazy[JobView]:
        """Drain a worker, wait until it is empty, end it, and give its machine back."""
        return self._change(lambda client: client.release_worker(name))

    def jobs(self) -> list[JobView]:
        """Every job that is remembered, newest first."""
        return self._read(self._client.list_jobs())

    def job_get(self, job: int) -> JobView:
        """One job."""
        return self._read(self._client.get_job(job))

    def job_log(self, job: int) -> str:
        """What a job has said so far."""
        return self._read(self._client.whole_job_log(job))

    def job_cancel(self, job: int) -> JobView | Lazy[JobView]:
        """Cancel a job."""
        return self._change(lambda client: client.cancel_job(job))

    # --- the server

    def counts(self, batch: str | None = None) -> Counts:
        """How many tasks there are of each status."""
        return self._read(self._client.count_tasks(batch))

    def info(self) -> ServerInfo:
        """What the server is and how it is doing."""
        return self._read(self._client.get_server())

    # --- how

    @property
    def _client(self) -> Client:
        return self._behind.client

    def _read(self, work: Coroutine[Any, Any, T]) -> T:
        return self._behind.run(self._after_writes(work))

    async def _after_writes(self, work: Coroutine[Any, Any, T]) -> T:
        # So that a read shows what was written before it.
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.timeout):
                    await self._behind.settled()
            return await work
        finally:
            work.close()  # if it was given up before it began

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        end = object()
        while (item := self._read(next_of(items, end))) is not end:
            yield cast(T, item)

    def _change(self, send: Callable[[Client], Coroutine[Any, Any, T]]) -> T | Lazy[T]:
        later = self._write(send)
        return later.result() if later.done() else Lazy(later)

    def _write(
        self, send: Callable[[Client], Coroutine[Any, Any, T]], *, keyed: bool = False
    ) -> "Future[T]":
        if not self._keeps:
            return done(self._read(send(self._client)))
        if not self._behind.unsent:  # otherwise it would overtake what waits
            try:
                return done(self._behind.run(send(self._client.patient(0))))
            except (BusyError, TooManyError):
                pass
            except UnreachableError as error:
                if not (keyed or error.unsent):
                    raise
        return self._behind.keep(lambda: send(self._client.patient(None)))
