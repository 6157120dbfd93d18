"""What the doors' tests share: a server in this process with a client for each role."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "process"))

from door_parts import House, opened
from system import System, running


@pytest.fixture
async def house(tmp_path: Path, database_uri: str) -> AsyncIterator[House]:
    """A whole server, on each database."""
    async with opened(tmp_path, database_uri) as one:
        yield one


@pytest.fixture
async def small_house(tmp_path: Path) -> AsyncIterator[House]:
    """A whole server on SQLite, where the database makes no difference."""
    async with opened(tmp_path, f"sqlite:///{tmp_path}/small.db") as one:
        yield one


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A real `pytq server`, with a worker where the test starts one."""
    with running(tmp_path) as one:
        yield one


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The same for tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("shared")) as one:
        yield one


@pytest.fixture
def guest(shared: System) -> Iterator[System]:
    """The shared system, in an environment of the test's own."""
    before = dict(shared.env)
    yield shared
    shared.env = before
