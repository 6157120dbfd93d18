"""The async client: one method per endpoint, harmless repeats, errors by their names."""

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from pytq.client import Client, UnreachableError
from pytq.schema import limits
from pytq.schema.endpoints import ENDPOINTS
from pytq.schema.problems import ConflictError, InvalidError, NotFoundError, PytqError
from pytq.schema.queries import TaskFilter
from pytq.schema.states import TaskStatus
from pytq.schema.tasks import TaskSubmit


class Scripted:
    """Answers every request as `answer` says, and remembers it."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.answers: list[web.Response | None] = []
        self.address = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        self.bodies.append(await request.read())
        answer = self.answers.pop(0)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    script = Scripted()
    app = web.Application(client_max_size=limits.BODY_BYTES)
    app.router.add_route("*", "/{rest:.*}", script.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    script.address = f"{host}:{port}"
    yield script
    await runner.cleanup()


def problem(status: int, code: str, **more: Any) -> web.Response:
    return web.json_response(
        {"status": status, "code": code, "message": "no", **more}, status=status
    )


def created(*ids: int) -> web.Response:
    return web.json_response({"ids": ids, "repeated": False}, status=201)


def test_every_endpoint_has_a_method() -> None:
    """Whatever the API can do, the client can do, under the same name."""
    methods = {name for name, _ in inspect.getmembers(Client, inspect.iscoroutinefunction)}

    assert set(ENDPOINTS) <= methods


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(404, "not_found"), NotFoundError),
        (problem(409, "conflict"), ConflictError),
        (problem(422, "invalid", field="batch", cure="x"), InvalidError),
        (problem(418, "teapot"), PytqError),
        (web.Response(status=500, text="<html>"), PytqError),
        (web.Response(text="<html>"), PytqError),
    ],
)
async def test_problems_become_errors(
    scripted: Scripted, answer: web.Response, kind: type[PytqError]
) -> None:
    """What the server refuses is raised as the error that the problem names."""
    scripted.answers = [answer]
    async with Client(scripted.address) as client:
        with pytest.raises(PytqError) as caught:
            await client.get_task(1)

    assert type(caught.value) is kind


async def test_a_broken_submit_is_repeated_with_its_key(scripted: Scripted) -> None:
    """A submit whose reply was lost is sent again with the same key."""
    scripted.answers = [None, problem(503, "busy"), created(7)]
    async with Client(scripted.address) as client:
        submitted = await client.submit_tasks(TaskSubmit(command="true"))

    assert submitted.ids == [7]
    assert len({request.headers["Idempotency-Key"] for request in scripted.seen}) == 1


async def test_what_may_have_happened_is_not_repeated(scripted: Scripted) -> None:
    """A retry whose reply was lost is not sent twice: the task may already run again."""
    scripted.answers = [None, None]
    async with Client(scripted.address) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.retry_task(1)

    assert len(scripted.seen) == 1
    assert not caught.value.unsent


async def test_long_lists_are_cut(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """More tasks than a request takes go out in several, each with a key of its own."""
    monkeypatch.setattr(limits, "TASKS_PER_REQUEST", 2)
    scripted.answers = [created(1, 2), created(3, 4), created(5)]
    async with Client(scripted.address) as client:
        submitted = await client.submit_tasks([{"command": "true"}] * 5)

    assert submitted.ids == [1, 2, 3, 4, 5]
    assert len({request.headers["Idempotency-Key"] for request in scripted.seen}) == 3
    assert [body.count(b"command") for body in scripted.bodies] == [2, 2, 1]


async def test_lists_and_flags_go_into_the_query(scripted: Scripted) -> None:
    """Filters are sent as the API reads them, and names cannot leave their place in the path."""
    scripted.answers = [web.json_response({"items": [], "next": None}), problem(404, "not_found")]
    query = TaskFilter(status=[TaskStatus.FAILED, TaskStatus.ACTIVE], oldest_first=True)
    async with Client(scripted.address) as client:
        await client.list_tasks(query)
        with pytest.raises(NotFoundError):
            await client.get_batch("a/../b?c")

    assert (
        "status=failed&status=active&oldest_first=true" in scripted.seen[0].rel_url.raw_query_string
    )
    assert scripted.seen[1].rel_url.raw_path == "/api/v1/batches/a%2F..%2Fb%3Fc"
