"""A disk that is full, a database that somebody else has locked: honest errors, and on it goes."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import postgres
import pytest
from rig import Rig, task

from pytq.schema.problems import BusyError, StorageFullError
from pytq.schema.queries import CountsFilter
from pytq.server.store.database import Connection, Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
async def rig(path: Path) -> AsyncIterator[Rig]:
    db = await Database.open(f"sqlite:///{path}")
    yield Rig(db)
    await db.close()


async def limit_pages(rig: Rig, to: int | None) -> None:
    """Let SQLite believe that the disk ends here; None gives it room again."""

    def verb(conn: Connection) -> None:
        used = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {2**30 if to is None else used + to}")

    await rig.db.write(verb)


async def test_a_full_disk_is_said_and_survived(rig: Rig) -> None:
    """When the disk is full a submit says so and changes nothing; with room again it works."""
    await rig.submit(task())
    await limit_pages(rig, 2)
    with pytest.raises(StorageFullError, match="disk is full"):
        await rig.submit(*(task(name="n" * 200) for _ in range(500)))
    assert (await rig.queue.count_tasks(CountsFilter())).pending == 1

    await limit_pages(rig, None)
    await rig.submit(*(task() for _ in range(500)))

    assert (await rig.queue.count_tasks(CountsFilter())).pending == 501


async def test_a_locked_database_is_waited_for(rig: Rig, path: Path) -> None:
    """Somebody who holds the database for a moment delays a submit, and does not fail it."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    waiting = asyncio.create_task(rig.submit(task()))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert (await rig.queue.count_tasks(CountsFilter())).pending == 0

    other.execute("ROLLBACK")
    other.close()

    assert await asyncio.wait_for(waiting, 10) == [1]


async def test_a_database_that_does_not_answer_is_told_at_the_start() -> None:
    """A server that starts before its PostgreSQL says so, in a sentence."""
    port = postgres.free_port()
    with pytest.raises(BusyError, match=rf"cannot be opened: .*{port}") as refused:
        await Database.open(f"postgresql://pytq@127.0.0.1:{port}/pytq")

    assert "SQLALCHEMY_DATABASE_URI" in str(refused.value.cure)
