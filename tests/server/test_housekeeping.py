"""What is kept for ever, and what is not."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from rig import Rig, task

from pytq.schema import limits
from pytq.server.housekeeping import tidy
from pytq.server.store import tidying
from pytq.server.store.database import Database
from pytq.server.store.tables import events, submissions


@pytest.fixture
async def rig(database_uri: str) -> AsyncIterator[Rig]:
    db = await Database.open(database_uri)
    yield Rig(db)
    await db.close()


async def test_the_newest_events_are_kept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events beyond those that are kept go, the oldest first, however many there are."""
    monkeypatch.setattr(limits, "EVENTS_KEPT", 5)
    monkeypatch.setattr(tidying, "PIECE", 4)

    def happen(conn: sa.Connection) -> None:
        blank = {"at": 1, "kind": "test", "actor": "test"}
        conn.execute(sa.insert(events), [{**blank, "detail": str(n)} for n in range(20)])

    await rig.db.write(happen)
    assert await tidy(rig.db) == 15

    left = await rig.db.read(
        lambda conn: conn.execute(sa.select(events.c.detail).order_by(events.c.id)).scalars().all()
    )
    assert left == ["15", "16", "17", "18", "19"]


async def test_a_key_is_remembered_for_a_week(rig: Rig) -> None:
    """A request may be repeated for days without creating its tasks twice; then its key goes."""
    for key in ("old", "new"):
        await rig.submit(task(), key=key)

    def age(conn: sa.Connection) -> None:
        past = submissions.c.created_at - round(limits.KEYS_KEPT_SECONDS * 1e6) - 1
        old = sa.update(submissions).where(submissions.c.key == "old")
        conn.execute(old.values(created_at=past))

    await rig.db.write(age)
    assert await tidy(rig.db) == 1

    again = await rig.queue.submit_tasks([task()], "new", "hash")
    assert again.repeated
