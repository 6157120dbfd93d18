"""A server that speaks the schema and does what a test tells it: real HTTP, a real WebSocket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel, TypeAdapter
from world import World, ago

from pytq.schema.access import CallerView, Role
from pytq.schema.endpoints import ENDPOINTS, PREFIX
from pytq.schema.problems import Problem
from pytq.schema.queries import EventFilter, ExecutionFilter, LogFrom, OutputRange, TaskFilter
from pytq.schema.recruit import JobKind, JobLog, JobStatus, JobView, Recruit
from pytq.schema.states import TASK_ENDED, TaskStatus
from pytq.schema.stream import STREAM_PATH, Changes, Snapshot, Watched, from_viewer
from pytq.schema.views import (
    Affected,
    BatchUpdate,
    Explanation,
    Page,
    SignalOrder,
    TaskUpdate,
    TaskView,
    WorkerReason,
    WorkerUpdate,
    WorkerView,
)


class RefusalError(Exception):
    """The answer is a problem."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(status=status, code=code, message=message)


class FakeServer:
    """A world behind a port."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[tuple[str, Any, Any]] = []
        self.refusals: dict[str, RefusalError] = {}
        self.delay = 0.0
        self.applies = True  # workers obey at once
        self.watched: list[int] = []
        self.heard = asyncio.Event()
        self.sockets: set[web.WebSocketResponse] = set()
        self.http: TestServer | None = None

    # --- the door

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(PREFIX + STREAM_PATH, self._stream)
        for name, endpoint in ENDPOINTS.items():
            app.router.add_route(endpoint.method, PREFIX + endpoint.path, self._handler(name))
        return app

    def _handler(self, name: str) -> Any:
        endpoint = ENDPOINTS[name]

        async def handle(request: web.Request) -> web.Response:
            await asyncio.sleep(self.delay)
            place = dict(request.match_info)
            given = _query(endpoint.query, request) if endpoint.query else None
            body = None
            if endpoint.body is not None:
                body = TypeAdapter(endpoint.body).validate_json(await request.read())
            self.calls.append((name, place, body if body is not None else given))
            self.heard.set()
            try:
                if name in self.refusals:
                    raise self.refusals[name]
                answer = getattr(self, name)(place, given if body is None else body)
            except RefusalError as refusal:
                text = refusal.problem.model_dump_json()
                return web.Response(status=refusal.problem.status, text=text)
            if isinstance(answer, web.Response):
                return answer
            if answer is None:
                return web.Response(status=204)
            text = TypeAdapter(endpoint.answer).dump_json(answer).decode()
            return web.Response(status=endpoint.status, text=text, content_type="application/json")

        return handle

    def made(self, name: str) -> list[Any]:
        """What was asked of an endpoint: its place and what came with it."""
        return [(place, given) for called, place, given in self.calls if called == name]

    async def until(self, name: str, amount: int = 1) -> list[Any]:
        """Wait until an endpoint has been called so often."""
        async with asyncio.timeout(10):
            while len(self.made(name)) < amount:
                self.heard.clear()
                await self.heard.wait()
        return self.made(name)

    # --- the stream

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        await self._send(socket, self.world.snapshot())
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self.watched = from_viewer.validate_json(message.data).tasks
                    self.heard.set()
                    await self._send(socket, self.world.changes(watched=self.seen(*self.watched)))
        finally:
            self.sockets.discard(socket)
        return socket

    async def _send(self, socket: web.WebSocketResponse, frame: Snapshot | Changes) -> None:
        await socket.send_str(frame.model_dump_json())

    async def send(self, frame: Snapshot | Changes | None = None, **parts: object) -> None:
        """Send a frame, or what of the world has changed, to everybody who looks."""
        for socket in list(self.sockets):
            await self._send(socket, frame or self.world.changes(**parts))

    def send_soon(self, **parts: object) -> None:
        """Likewise, right after the answer."""
        self._sending = asyncio.get_running_loop().create_task(self.send(**parts))

    def seen(self, *tasks: int) -> list[Watched]:
        """These tasks, as a viewer that watches them is told."""
        return [self._seen(task) for task in tasks]

    def _seen(self, task: int) -> Watched:
        view = self.world.tasks.get(task)
        if view is None:
            return Watched(id=task, task=None, execution=None)
        execution = self.world.executions.get((task, view.attempt))
        return Watched(id=task, task=view, execution=execution, output=True)

    async def hang_up(self) -> None:
        """Close every viewer's connection."""
        for socket in list(self.sockets):
            await socket.close()

    async def close(self) -> None:
        """Be gone, as a server that was stopped."""
        assert self.http is not None
        await self.http.runner.sites.copy().pop().stop()
        await self.hang_up()
        await self.http.close()

    # --- tasks

    def _task(self, place: dict[str, str]) -> TaskView:
        view = self.world.tasks.get(int(place["task"]))
        if view is None:
            raise RefusalError(404, "not_found", f"there is no task {place['task']}")
        return view

    def _change(self, view: TaskView, **fields: object) -> TaskView:
        view = view.model_copy(update={**fields, "changed_at": ago(seconds=0)})
        self.world.tasks[view.id] = view
        if view.id in self.watched:
            self.send_soon(watched=self.seen(view.id))
        return view

    def list_tasks(self, _place: Any, query: TaskFilter) -> Page[TaskView]:
        found = [one for one in self.world.tasks.values() if self._fits(one, query)]
        falls = (query.sort != "priority") != query.oldest_first
        found.sort(key=lambda one: _rank(one, query.sort), reverse=falls)
        if query.after is not None:
            after = tuple(int(part) for part in query.after.split("."))
            found = [
                one
                for one in found
                if (_rank(one, query.sort) < after if falls else _rank(one, query.sort) > after)
            ]
        page = found[: query.limit]
        more = len(found) > len(page)
        cursor = ".".join(str(part) for part in _rank(page[-1], query.sort)) if more else None
        return Page[TaskView](items=page, next=cursor)

    def _fits(self, view: TaskView, query: TaskFilter) -> bool:
        execution = self.world.executions.get((view.id, view.attempt))
        text = f"{view.name} {view.spec.steps[0].command}".lower()
        return (
            (query.batch in (None, view.batch))
            and (not query.status or view.status in query.status)
            and (query.name in (None, view.name))
            and (
                query.worker is None or (execution is not None and execution.worker == query.worker)
            )
            and all(word in text for word in (query.search or "").lower().split())
        )

    def get_task(self, place: Any, _given: Any) -> TaskView:
        return self._task(place)

    def update_task(self, place: Any, body: TaskUpdate) -> TaskView:
        view = self._task(place)
        if view.status is TaskStatus.ACTIVE:
            raise RefusalError(409, "conflict", f"task {view.id} is active")
        fields = body.model_dump(exclude_unset=True)
        command = fields.pop("command", None)
        if command is not None:
            step = view.spec.steps[0].model_copy(update={"command": command})
            fields["spec"] = view.spec.model_copy(update={"steps": [step]})
        return self._change(view, **fields)

    def retry_task(self, place: Any, _given: Any) -> TaskView:
        view = self._task(place)
        if view.status not in TASK_ENDED:
            raise RefusalError(409, "conflict", f"task {view.id} has not ended")
        return self._change(view, status=TaskStatus.PENDING, reason=None)

    def cancel_task(self, place: Any, _given: Any) -> TaskView:
        return self._change(self._task(place), status=TaskStatus.CANCELLED)

    def delete_task(self, place: Any, _given: Any) -> None:
        del self.world.tasks[self._task(place).id]

    def explain_task(self, place: Any, _given: Any) -> Explanation:
        view = self._task(place)
        return Explanation(
            task=view.id,
            summary="it waits for a free slot; 3,201 tasks of its batch are before it",
            workers=[
                WorkerReason(worker="vm-01", reason="full: 16 of 16 tasks run"),
                WorkerReason(worker="vm-15", reason="it is draining"),
            ],
        )

    def list_executions(self, _place: Any, query: ExecutionFilter) -> Page[Any]:
        found = [
            one
            for one in self.world.executions.values()
            if query.task in (None, one.task)
            and query.worker in (None, one.worker)
            and (query.open is None or query.open == (one.outcome is None))
        ]
        found.sort(key=lambda one: (one.task, one.attempt), reverse=True)
        return Page[Any](items=found[: query.limit])

    def signal_execution(self, place: Any, _body: SignalOrder) -> Any:
        return self.world.executions[int(place["task"]), int(place["attempt"])]

    def get_output(self, place: Any, query: OutputRange) -> web.Response:
        whole = self.world.outputs.get(
            (int(place["task"]), int(place["attempt"]), place["stream"]), b""
        )
        start = max(0, len(whole) - query.limit) if query.offset is None else query.offset
        headers = {"X-PYTQ-Offset": str(start), "X-PYTQ-Size": str(len(whole))}
        return web.Response(body=whole[start : start + query.limit], headers=headers)

    # --- batches

    def update_batch(self, place: Any, body: BatchUpdate) -> Any:
        view = self.world.batches[place["name"]]
        view = view.model_copy(update=body.model_dump(exclude_unset=True))
        self.world.batches[view.name] = view
        self.send_soon(batches=[view])
        return view

    def list_failures(self, place: Any, _given: Any) -> Any:
        return self.world.failures.get(place["name"], [])

    def retry_batch(self, place: Any, _given: Any) -> Affected:
        return Affected(count=self.world.batches[place["name"]].counts.failed)

    def cancel_batch(self, place: Any, _given: Any) -> Affected:
        counts = self.world.batches[place["name"]].counts
        return Affected(count=counts.waiting + counts.pending + counts.active)

    def signal_batch(self, place: Any, _body: SignalOrder) -> Affected:
        return Affected(count=self.world.batches[place["name"]].counts.active)

    def delete_batch(self, place: Any, _given: Any) -> Affected:
        view = self.world.batches.pop(place["name"])
        self.send_soon(gone_batches=[view.name])
        return Affected(count=sum(view.counts.model_dump().values()))

    # --- workers

    def update_worker(self, place: Any, body: WorkerUpdate) -> WorkerView:
        view = self.world.workers[place["name"]]
        settings = view.settings.model_copy(
            update={**body.model_dump(exclude_unset=True), "version": view.settings.version + 1}
        )
        view = view.model_copy(update={"settings": settings})
        self.world.workers[view.name] = view
        self.send_soon(workers=[view])
        if self.applies:
            view = view.model_copy(update={"applied": settings.version})
            self.world.workers[view.name] = view
            self.send_soon(workers=[view])
        return view

    def delete_worker(self, place: Any, _given: Any) -> None:
        del self.world.workers[place["name"]]
        self.send_soon(gone_workers=[place["name"]])

    def clean_worker(self, _place: Any, _body: Any) -> None:
        """Nothing to see."""

    def pin_resource(self, _place: Any, _body: Any) -> None:
        """Likewise."""

    def list_resources(self, place: Any, _given: Any) -> Any:
        return self.world.resources.get(place["name"], [])

    def release_worker(self, place: Any, _given: Any) -> JobView:
        return self._new_job(JobKind.RELEASE, f"release {place['name']}", None)

    # --- recruiting

    def list_providers(self, _place: Any, _given: Any) -> Any:
        return self.world.providers

    def recruit(self, _place: Any, body: Recruit) -> JobView:
        title = f"recruit {body.count} of {body.provider}/{body.flavor} into {body.batch}"
        return self._new_job(JobKind.RECRUIT, title, body.batch)

    def _new_job(self, kind: JobKind, title: str, batch: str | None) -> JobView:
        number = max(self.world.jobs, default=0) + 1
        job = JobView(
            id=number,
            kind=kind,
            status=JobStatus.RUNNING,
            title=title,
            progress=0.0,
            batch=batch,
            workers=[],
            created_at=ago(seconds=0),
            started_at=ago(seconds=0),
            ended_at=None,
        )
        self.world.jobs[number] = job
        self.world.logs[number] = f"{title}\n"
        self.send_soon(jobs=[job])
        return job

    def get_job_log(self, place: Any, query: LogFrom) -> JobLog:
        number = int(place["job"])
        text = self.world.logs.get(number, "")[query.offset :]
        ended = self.world.jobs[number].ended_at is not None
        return JobLog(text=text, next_offset=query.offset + len(text), ended=ended)

    def cancel_job(self, place: Any, _given: Any) -> JobView:
        number = int(place["job"])
        job = self.world.jobs[number].model_copy(
            update={"status": JobStatus.CANCELLED, "ended_at": ago(seconds=0)}
        )
        self.world.jobs[number] = job
        self.send_soon(jobs=[job])
        return job

    # --- the rest

    def get_caller(self, _place: Any, _given: Any) -> CallerView:
        return CallerView(name="ada", role=Role.OPERATOR)

    def list_events(self, _place: Any, _query: EventFilter) -> Page[Any]:
        return Page[Any](items=[])


def _rank(view: TaskView, sort: str) -> tuple[int, ...]:
    if sort == "id":
        return (view.id,)
    if sort == "changed":
        return (int(view.changed_at.timestamp()) * 1_000_000 + view.changed_at.microsecond, view.id)
    return (1_000_000 - view.priority, view.id)


def _query(kind: type[BaseModel], request: web.Request) -> BaseModel:
    given: dict[str, Any] = {}
    for key in request.query:
        values = request.query.getall(key)
        given[key] = values if key in ("status", "ids") else values[0]
    return kind.model_validate(given, strict=False)


@asynccontextmanager
async def serving(world: World, port: int = 0) -> AsyncIterator[FakeServer]:
    """A fake server on a free port of this machine, or on one that has become free again."""
    fake = FakeServer(world)
    async with TestServer(fake.app(), host="127.0.0.1", port=port or None) as http:
        fake.http = http
        yield fake
        await fake.hang_up()
