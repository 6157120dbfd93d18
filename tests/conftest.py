"""What all tests share: real databases, each test its own."""

import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

import postgres

settings.register_profile(
    "pytq", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("pytq")

_numbers = itertools.count(1)

# What servers leave for their user's programs must not touch the real user's.
_home = tempfile.mkdtemp(prefix="pytq-tests-")
os.environ["XDG_DATA_HOME"] = _home


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(_home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A private PostgreSQL server's URI, without a database name."""
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres.cluster() as uri:
        yield uri


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on: each is run on both."""
    return str(request.param)


@pytest.fixture
def new_database(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[[], "AsyncIterator[str]"]:
    """Make URIs of fresh, empty databases of the kind under test."""
    server = request.getfixturevalue("postgres_server") if kind == "postgresql" else ""

    async def make() -> str:
        number = next(_numbers)
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / f'{number}.db'}"
        name = f"test_{number}"
        connection = await asyncpg.connect(f"{server}/postgres")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return f"{server}/{name}"

    return make


@pytest.fixture
async def database_uri(new_database: Callable[[], AsyncIterator[str]]) -> str:
    """The URI of a fresh, empty database."""
    return await new_database()
