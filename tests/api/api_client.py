"""How the tests of this folder ask the server."""

from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from pytq.schema.problems import Problem

Client = TestClient[web.Request, web.Application]


async def problem(client: Client, method: str, path: str, **given: Any) -> Problem:
    async with client.request(method, path, **given) as response:
        raw = await response.read()

    assert response.content_type == "application/json"
    shown = Problem.model_validate_json(raw)
    assert shown.status == response.status
    return shown
