"""Output that a worker tells a second time, after it has grown."""

import base64
from collections.abc import AsyncIterator

import pytest
from rig import Rig, task

from pytq.schema.queries import OutputRange
from pytq.schema.states import Stream
from pytq.server.store.database import Database


@pytest.fixture
async def rig(database_uri: str) -> AsyncIterator[Rig]:
    db = await Database.open(database_uri)
    yield Rig(db)
    await db.close()


def chunk(of: int, offset: int, data: bytes) -> dict[str, object]:
    told = {"task": of, "attempt": 1, "stream": "stdout", "offset": offset}
    return told | {"data": base64.b64encode(data).decode()}


@pytest.mark.parametrize("order", [(b"begin ", b"begin end"), (b"begin end", b"begin ")])
async def test_what_has_grown_is_kept_whole(rig: Rig, order: tuple[bytes, bytes]) -> None:
    """The next agent tells a stream from its beginning: all of it is kept, in either order."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    for data in order:
        await rig.report(member, chunks=[chunk(one, 0, data)])

    got = await rig.queue.get_output(one, 1, Stream.STDOUT, OutputRange(offset=0))
    assert got == (0, b"begin end", 9)
