"""A whole server in the test's own process, and people with tokens who knock at its doors."""

import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pytq.schema.access import Role
from pytq.server.api import HTTP
from pytq.server.api.doors import KEYRING
from pytq.server.app import application
from pytq.server.keyring import Keyring
from pytq.server.settings import ServerSettings

API = "/api/v1"
T = TypeVar("T")


class House:
    """A server with open ears."""

    def __init__(self, app: web.Application, client: TestClient[Any, Any], uri: str) -> None:
        self.app = app
        self.database_uri = uri
        self.client = client
        self.keyring: Keyring = app[KEYRING]
        self.admin = self.keyring.hand_out("local", Role.ADMIN)

    async def ask(
        self, method: str, path: str, token: str | None = "", **about: Any
    ) -> tuple[int, Any]:
        """Status and JSON of an answer; as the admin unless somebody else's token is given."""
        token = self.admin if token == "" else token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        headers |= about.pop("headers", {})
        async with self.client.request(method, API + path, headers=headers, **about) as answer:
            body = await answer.read()
            self.headers = answer.headers
        return answer.status, await answer.json() if body[:1] in b"{[" and body else body

    async def token(self, name: str, role: str = "submitter", **about: Any) -> str:
        """Make somebody a token, over REST."""
        status, made = await self.ask("POST", "/tokens", json={"name": name, "role": role, **about})
        assert status == 201, made
        return str(made["token"])

    async def submit(self, token: str = "", **about: Any) -> int:
        """Queue a task."""
        status, made = await self.ask("POST", "/tasks", token, json={"command": "true", **about})
        assert status == 201, made
        return int(made["ids"][0])


@contextlib.asynccontextmanager
async def opened(folder: Path, database_uri: str, **about: Any) -> AsyncIterator[House]:
    """A server, for as long as the block lasts."""
    settings = ServerSettings(data_dir=folder / "data", database_uri=database_uri, **about)
    async with application(settings) as app:
        server = TestServer(app)
        await server.start_server(**HTTP)
        async with TestClient(server) as client:
            yield House(app, client, database_uri)


async def everything_in(uri: str) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    if uri.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(uri.partition("///")[2])) as file:
            names = [
                row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            return {name: [repr(row) for row in file.execute(_all_of(name))] for name in names}
    connection = await asyncpg.connect(uri)
    try:
        found = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        names = [row[0] for row in found]
        return {
            name: [repr(tuple(row)) for row in await connection.fetch(_all_of(name))]
            for name in names
        }
    finally:
        await connection.close()


def _all_of(table: str) -> str:
    return f"SELECT * FROM {table}"  # noqa: S608 - the database's own names


def eventually(what: Callable[[], T], seconds: float = 20.0) -> T:
    """What something gives as soon as it gives anything; for things that make no event."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found
