"""Addresses, queries, settings and keys that make no sense are refused by name."""

from typing import Any
from urllib.parse import quote

import pytest
from api_client import Client, problem

TASKS = "/api/v1/tasks"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=1000000000", "limit"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=5.0", "limit"),
        ("limit=%205", "limit"),
        ("limit=1_0", "limit"),
        ("limit=٣", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=" + "9" * 5_000, "limit"),
        ("after=garbage", "after"),
        ("after=9223372036854775808", "after"),
        ("after=1;drop table", "after"),
        ("sort=;drop+table", "sort"),
        ("batch=%00", "batch"),
        ("batch=%27%20OR%201=1", "batch"),
        ("name=" + quote("\u202e"), "name"),
        ("oldest_first=1", "oldest_first"),
        ("oldest_first=True", "oldest_first"),
        ("status=banana", "status.0"),
        ("status=failed&status=Failed", "status.1"),
        ("ids=1&ids=-2", "ids.1"),
        ("ids=9223372036854775808", "ids.0"),
    ],
)
async def test_bad_queries_are_refused_by_name(client: Client, query: str, field: str) -> None:
    """A list is never asked for in a way that the database would have to make sense of."""
    shown = await problem(client, "GET", f"{TASKS}?{query}")

    assert (shown.status, shown.field) == (422, field)


async def test_an_unknown_parameter_is_guessed(client: Client) -> None:
    """A misspelt filter is refused rather than silently widening the list."""
    shown = await problem(client, "GET", f"{TASKS}?statsu=failed")

    assert (shown.field, shown.cure) == ("statsu", "did you mean `status`?")


async def test_an_endpoint_without_parameters_takes_none(client: Client) -> None:
    """`?force=true` where nothing can be forced is an error, not a wish."""
    shown = await problem(client, "POST", "/api/v1/batches/x/cancel?force=true")

    assert (shown.status, shown.field) == (422, "force")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/tasks/abc", "task"),
        ("/api/v1/tasks/0", "task"),
        ("/api/v1/tasks/-1", "task"),
        ("/api/v1/tasks/1.0", "task"),
        (f"/api/v1/tasks/{2**64}", "task"),
        ("/api/v1/executions/1.0", "attempt"),
        ("/api/v1/executions/1.x", "attempt"),
        ("/api/v1/executions/1.1/stdin", "stream"),
        ("/api/v1/executions/1.1/stdout?offset=-1", "offset"),
        ("/api/v1/executions/1.1/stdout?limit=99999999", "limit"),
        ("/api/v1/batches/a%20b", "name"),
        ("/api/v1/workers/" + "n" * 201, "name"),
        ("/api/v1/tasks/1/follow?wait=26", "wait"),
        ("/api/v1/tasks/1/follow?wait=nan", "wait"),
        ("/api/v1/tasks/1/follow?wait=1e400", "wait"),
    ],
)
async def test_bad_places_are_refused_by_name(client: Client, path: str, field: str) -> None:
    """An address that can name nothing says which part of it is wrong."""
    shown = await problem(client, "GET", path)

    assert (shown.status, shown.field) == (422, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"concurrency": -1}, "concurrency"),
        ({"concurrency": 10_000}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"prefetch": -1}, "prefetch"),
        ({"prefetch": 10**9}, "prefetch"),
        ({"paused": "yes"}, "paused"),
        ({"batch": "-rf"}, "batch"),
    ],
)
async def test_a_worker_cannot_be_tuned_to_nonsense(client: Client, body: Any, field: str) -> None:
    """Settings beyond their bounds never reach a worker."""
    shown = await problem(client, "PATCH", "/api/v1/workers/anna", json=body)

    assert (shown.status, shown.field) == (422, field)


@pytest.mark.parametrize("key", ["k" * 201, "", "é", "a\tb"])
async def test_a_bad_idempotency_key_is_refused_by_name(client: Client, key: str) -> None:
    """A key is short, printable and one line, so that it can be stored and logged."""
    shown = await problem(
        client, "POST", TASKS, json={"command": "x"}, headers={"Idempotency-Key": key}
    )

    assert (shown.status, shown.field) == (422, "Idempotency-Key")


async def test_two_idempotency_keys_are_refused(client: Client) -> None:
    """It is never left to chance which of two keys counts."""
    shown = await problem(
        client,
        "POST",
        TASKS,
        json={"command": "x"},
        headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
    )

    assert (shown.status, shown.field) == (422, "Idempotency-Key")
