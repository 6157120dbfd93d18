"""A handler reads, asks the queue once, and shows what it says."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import pytest
from aiohttp import ServerDisconnectedError, web
from aiohttp.test_utils import TestClient, TestServer
from api_client import Client
from fake_queue import FakeQueue

from pytq.schema.problems import BusyError, Problem, StorageFullError
from pytq.schema.queries import OutputRange, TaskFilter, WorkerRemoval
from pytq.schema.states import Stream, TaskStatus
from pytq.schema.views import TaskView, WorkerUpdate
from pytq.server.api import add_routes, middlewares

TASKS = "/api/v1/tasks"


async def submit(client: Client, body: Any, **headers: str) -> tuple[int, Any]:
    async with client.post(TASKS, json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_one_task_or_many_are_submitted(client: Client, queue: FakeQueue) -> None:
    """An object and a list are both welcome; ids come back in their order."""
    one = await submit(client, {"command": "a"})
    many = await submit(client, [{"command": ["b"]}, {"command": "c"}])

    assert one == (201, {"ids": [1], "repeated": False})
    assert many == (201, {"ids": [2, 3], "repeated": False})
    assert [task.command for task in queue.calls[1][1]] == [["b"], "c"]


async def test_the_queue_learns_key_and_body(client: Client, queue: FakeQueue) -> None:
    """A repeat is known by its key, and proved by the hash of the body's bytes."""
    raw = b' {"command": "a"}'
    headers = {"Content-Type": "application/json", "Idempotency-Key": "a key"}
    async with client.post(TASKS, data=raw, headers=headers) as response:
        assert response.status == 201

    assert queue.calls[0][2:] == ("a key", hashlib.sha256(raw).hexdigest())


async def test_a_repeat_says_so(client: Client) -> None:
    """The same key and body again give the same ids."""
    key = {"Idempotency-Key": "k"}
    await submit(client, {"command": "a"}, **key)

    assert await submit(client, {"command": "a"}, **key) == (201, {"ids": [1], "repeated": True})
    assert (await submit(client, {"command": "b"}, **key))[0] == 422


async def test_queries_become_models(client: Client, queue: FakeQueue) -> None:
    """Lists are given by repetition, booleans as true and false, and all of it is typed."""
    query = "status=failed&status=pending&ids=7&ids=8&oldest_first=true&limit=5&name=%C3%A9&after=9"
    async with client.get(f"{TASKS}?{query}") as response:
        assert response.status == 200

    assert queue.calls == [
        (
            "list_tasks",
            TaskFilter(
                status=[TaskStatus.FAILED, TaskStatus.PENDING],
                ids=[7, 8],
                oldest_first=True,
                limit=5,
                name="é",
                after="9",
            ),
        )
    ]


async def test_places_come_before_queries_and_bodies(client: Client, queue: FakeQueue) -> None:
    """The queue's methods are called in the order the contract tells."""
    await client.delete("/api/v1/workers/anna?force=true")
    await client.patch("/api/v1/workers/anna", json={"concurrency": 0})
    await client.get("/api/v1/executions/2.1/stderr?offset=3&limit=4")

    assert queue.calls[:3] == [
        ("delete_worker", "anna", WorkerRemoval(force=True)),
        ("update_worker", "anna", WorkerUpdate(concurrency=0)),
        ("get_output", 2, 1, Stream.STDERR, OutputRange(offset=3, limit=4)),
    ]


async def test_only_the_fields_given_are_changed(client: Client, queue: FakeQueue) -> None:
    """A field that was not sent is not taken for null."""
    await client.patch("/api/v1/workers/anna", json={"paused": None})

    assert queue.calls[0][2].model_fields_set == {"paused"}


async def test_output_comes_as_bytes(client: Client) -> None:
    """Output is shown as it is, never as a page of ours, and says where it begins."""
    await submit(client, [{"command": "a"}, {"command": "b"}])
    async with client.get("/api/v1/executions/2.1/stdout") as response:
        assert await response.read() == b"<b>\x00\xff"

    assert response.content_type == "application/octet-stream"
    assert response.headers["X-PYTQ-Offset"] == "5"
    assert response.headers["X-PYTQ-Size"] == "9"


async def test_an_answer_can_be_read_back(client: Client) -> None:
    """What the API shows is what the client's models read."""
    await submit(client, {"command": "a", "tags": {"x": "ä"}})
    async with client.get(f"{TASKS}/1") as response:
        assert TaskView.model_validate_json(await response.read()).tags == {"x": "ä"}


async def test_deleting_answers_nothing(client: Client) -> None:
    """204 has no body."""
    await submit(client, {"command": "a"})
    async with client.delete(f"{TASKS}/1") as response:
        assert (response.status, await response.read()) == (204, b"")


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/healthz", "/favicon.ico", TASKS])
async def test_head_works_where_get_does(client: Client, path: str) -> None:
    """A probe may ask without reading."""
    async with client.head(path) as response:
        assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", TASKS, {"GET", "HEAD", "POST"}),
        ("OPTIONS", TASKS, {"GET", "HEAD", "POST"}),
        ("GET", f"{TASKS}/wait", {"POST"}),
        ("DELETE", f"{TASKS}/wait", {"POST"}),
        ("GET", "/api/v1/executions/1.1/signal", {"POST"}),
        ("POST", f"{TASKS}/1", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("TRACE", "/", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    client: Client, method: str, path: str, allowed: set[str]
) -> None:
    """405 lists exactly what is possible."""
    async with client.request(method, path) as response:
        shown = Problem.model_validate_json(await response.read())

    assert (shown.status, shown.code) == (405, "method_not_allowed")
    assert allowed == set(response.headers["Allow"].split(","))


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/task", "/api/v1/tasks/", "/api/v2/tasks"])
async def test_an_unknown_address_is_a_problem(client: Client, path: str) -> None:
    """Even where there is nothing, the answer is JSON and says where to look."""
    async with client.get(path) as response:
        shown = Problem.model_validate_json(await response.read())

    assert (shown.status, shown.code) == (404, "not_found")
    assert shown.cure


@asynccontextmanager
async def failing(error: BaseException) -> AsyncIterator[Client]:
    class Failing(FakeQueue):
        async def get_task(self, _task: int) -> NoReturn:
            raise error

    app = web.Application(middlewares=middlewares(keyring=None))
    add_routes(app, Failing())
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize(
    ("error", "status"), [(BusyError("wait"), 503), (StorageFullError("full"), 507)]
)
async def test_the_queues_errors_are_shown(error: Exception, status: int) -> None:
    """A PytqError arrives at the client as it was raised."""
    async with failing(error) as client, client.get(f"{TASKS}/1") as response:
        shown = json.loads(await response.read())

    assert status == response.status == shown["status"]
    assert str(error) == shown["message"]


async def test_a_mistake_of_ours_shows_a_number_and_no_insides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The person gets a number; the log has the story under the same number."""
    async with failing(KeyError("insides")) as client, client.get(f"{TASKS}/1") as response:
        shown = Problem.model_validate_json(await response.read())

    number = shown.message.split()[-1]
    assert response.status == 500
    assert "insides" not in shown.model_dump_json()
    assert f"error {number} in GET /api/v1/tasks/1" in caplog.text
    assert "insides" in caplog.text


async def test_cancellation_passes_through(caplog: pytest.LogCaptureFixture) -> None:
    """A request that is cancelled, as at shutdown, is neither answered nor logged as an error."""
    async with failing(asyncio.CancelledError()) as client:
        with pytest.raises(ServerDisconnectedError):
            await client.get(f"{TASKS}/1")

    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
