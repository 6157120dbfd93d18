"""A server over a queue of dictionaries, and a client for it."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from api_client import Client
from fake_queue import FakeQueue

from pytq.schema.access import Role
from pytq.server.api import HTTP, add_routes, middlewares
from pytq.server.keyring import Keyring


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def keyring() -> Keyring:
    return Keyring()


@pytest.fixture
def token(keyring: Keyring) -> str:
    """An admin's token."""
    return keyring.hand_out("local", Role.ADMIN)


@pytest.fixture
def app(queue: FakeQueue, keyring: Keyring) -> web.Application:
    app = web.Application(middlewares=middlewares(keyring=keyring))
    add_routes(app, queue)
    return app


@pytest.fixture
async def client(app: web.Application, token: str) -> AsyncIterator[Client]:
    """A client that shows an admin's token: what is tested here lies behind the doors."""
    server = TestServer(app)
    await server.start_server(**HTTP)
    async with TestClient(server, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client
