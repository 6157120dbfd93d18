"""A server over a queue of dictionaries, and a client for it."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from api_client import Client
from fake_queue import FakeQueue

from pytq.server.api import HTTP, add_routes, middlewares


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def app(queue: FakeQueue) -> web.Application:
    app = web.Application(middlewares=middlewares())
    add_routes(app, queue)
    return app


@pytest.fixture
async def client(app: web.Application) -> AsyncIterator[Client]:
    server = TestServer(app)
    await server.start_server(**HTTP)
    async with TestClient(server) as client:
        yield client
