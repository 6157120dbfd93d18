"""What the cockpit's tests share."""

import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "process"))

import world as worlds
from fake_server import FakeServer, serving


@pytest.fixture(autouse=True, scope="session")
def _utc() -> Iterator[None]:
    """Clocks on the screen show UTC, so that pictures are the same everywhere."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture
def world() -> worlds.World:
    """The world behind the fake server."""
    return worlds.make()


@pytest.fixture
async def server(world: worlds.World) -> AsyncIterator[FakeServer]:
    """A fake server with that world."""
    async with serving(world) as fake:
        yield fake
