"""A queue with played workers, and a server that streams it."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from gallery import Gallery
from rig import Rig

from pytq.server.store.database import Database


@pytest.fixture
async def rig(database_uri: str) -> AsyncIterator[Rig]:
    db = await Database.open(database_uri)
    rig = Rig(db)
    await rig.queue.recruiter.open()
    yield rig
    await rig.queue.recruiter.close()
    rig.dispatcher.close()
    await db.close()


@pytest.fixture
async def gallery(rig: Rig) -> AsyncIterator[Gallery]:
    gallery = Gallery(rig)
    server = TestServer(gallery.app)
    await server.start_server()
    gallery.server = server
    async with gallery:
        yield gallery
    await server.close()
