"""Promises are kept by whole systems: real servers, real workers, real faults."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import postgres
import pytest

for neighbour in ("process", "worker", "promises"):
    sys.path.insert(0, str(Path(__file__).parents[1] / neighbour))

from clusters import Cluster, cluster, folder  # noqa: E402 - the lines above find it
from sites import LONG, Site  # noqa: E402

Open = Callable[..., Site]

# What tests run on that do not care: the database is no part of their fault.
USUAL = os.environ.get("PYTQ_DATABASES", "sqlite postgresql" if LONG else "sqlite").split()
CARING = {"kind", "pg", "disk_uri", "far"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what does not care on the usual databases."""
    names = set(metafunc.fixturenames)
    if USUAL != ["sqlite"] and "site" in names and not names & CARING:
        metafunc.parametrize("usual", USUAL, indirect=True)


@pytest.fixture
def usual(request: pytest.FixtureRequest) -> str | None:
    """The database of a test that does not care; None: the one below the server's own folder."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    server = request.getfixturevalue("postgres_server")
    return asyncio.run(empty(f"{server}/postgres", "usual"))


async def empty(uri: str, name: str) -> str:
    """The URI of a database that has just been made, beside the one at `uri`."""
    connection = await asyncpg.connect(uri)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return f"{uri.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="module")
def pg() -> Iterator[Cluster]:
    """A PostgreSQL that syncs, as the one that most tests share does not."""
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed: scripts/system-packages installs it")
    with folder() as place, cluster(place) as one:
        yield one


@pytest.fixture
def database(pg: Cluster) -> str:
    """An empty database of that PostgreSQL."""
    return asyncio.run(empty(pg.uri, "promises"))


@pytest.fixture(params=["sqlite", "postgresql"])
def disk_uri(request: pytest.FixtureRequest) -> str | None:
    """Each database where it syncs: SQLite below the server's folder (None), PostgreSQL."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("database"))


@pytest.fixture
def site(tmp_path: Path, usual: str | None) -> Iterator[Open]:
    """Open a server of this test's own: `site(database_uri, PYTQ_LEASE_SECONDS="10")`."""
    with ExitStack() as stack:

        def begin(database_uri: str | None = usual, *, start: bool = True, **env: str) -> Site:
            one = Site(tmp_path, database_uri)
            stack.callback(one.stop)
            one.env |= env
            if start:
                one.start_server()
            return one

        yield begin
