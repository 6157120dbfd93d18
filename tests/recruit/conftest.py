"""A queue with a provider that the test plays, and workers that it plays too."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "server"))
sys.path.insert(0, str(Path(__file__).parent.parent / "process"))

from office import Office, Played


@pytest.fixture
def provider() -> Played:
    return Played()


@pytest.fixture
async def office(database_uri: str, provider: Played) -> AsyncIterator[Office]:
    office = Office(database_uri, provider)
    await office.open()
    yield office
    await office.close()
