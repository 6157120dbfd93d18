"""The real server over a real database in memory: dispatcher, liveness, queue, links, store.

Only time, the wires, and how long the disk takes are simulated.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sim_timeline import NodeLoop, Timeline
from sim_wires import End
from sqlalchemy.exc import OperationalError

from pytq.server import dispatcher as dispatching
from pytq.server.dispatcher import Dispatcher
from pytq.server.link import Links
from pytq.server.liveness import Liveness
from pytq.server.queue import Queue
from pytq.server.store.upgrade import upgrade_sqlite
from pytq.server.store.writer import Verb, Writer

T = TypeVar("T")
EPOCH: Final = 1_700_000_000_000_000  # microseconds: when the simulated world begins


@cache
def _empty_database() -> bytes:
    """A database as the migrations make it."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    upgrade_sqlite(engine)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        return driver.serialize()


class Disk:
    """The server's database, which outlives it."""

    def __init__(self) -> None:
        self.raw = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self.raw.deserialize(_empty_database())
        self.raw.execute("PRAGMA foreign_keys = ON")
        self.engine = sa.create_engine(
            "sqlite://", creator=lambda: self.raw, poolclass=sa.StaticPool
        )
        sa.event.listen(self.engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
        self.slow = 1.0  # so many times as slow as usual
        self.broken = 0.0  # so often a transaction fails
        self.in_doubt = 0.0  # and so often it was committed all the same


class SimTransactions:
    """Transactions that take time, fail, and fail although they were committed."""

    def __init__(self, disk: Disk, timeline: Timeline) -> None:
        self._disk, self._timeline = disk, timeline

    async def run(self, verbs: Sequence[Verb[Any]]) -> list[Any]:
        disk, timeline = self._disk, self._timeline
        await asyncio.sleep(timeline.between(0.0005, 0.003) * disk.slow)
        if timeline.chance(disk.broken):
            raise _connection_lost()
        with disk.engine.connect() as connection, connection.begin():
            results = [verb(connection) for verb in verbs]
        await asyncio.sleep(timeline.between(0.0005, 0.003) * disk.slow)
        if timeline.chance(disk.in_doubt):
            raise _connection_lost()
        return results

    async def close(self) -> None:
        """The disk stays."""


def _connection_lost() -> OperationalError:
    error = ConnectionResetError("the database was restarted")
    return OperationalError("COMMIT", {}, error, connection_invalidated=True)


class SimDatabase:
    """What the dispatcher needs of a `Database`."""

    kind = "sqlite"

    def __init__(self, disk: Disk, timeline: Timeline) -> None:
        self._disk, self._timeline = disk, timeline
        self._writer = Writer(SimTransactions(disk, timeline))

    def start(self) -> None:
        self._writer.start()

    async def write(self, verb: Verb[T], then: Callable[[T], None] | None = None) -> T:
        return await self._writer.post(lambda: verb, then)

    def post(
        self, prepare: Callable[[], Verb[T]], then: Callable[[T], None] | None = None
    ) -> asyncio.Future[T]:
        return self._writer.post(prepare, then)

    async def read(self, look: Verb[T]) -> T:
        await asyncio.sleep(self._timeline.between(0.0005, 0.003))
        return self.look(look)

    def look(self, look: Verb[T]) -> T:
        """What is committed, at this moment."""
        with self._disk.engine.connect() as connection:
            result = look(connection)
            connection.rollback()
            return result


class SimServer:
    """One incarnation of the server."""

    def __init__(self, timeline: Timeline, disk: Disk, lease_seconds: float) -> None:
        self.loop = NodeLoop(timeline, "server", timeline.between(0.9995, 1.0005))
        self.db = SimDatabase(disk, timeline)
        self.dispatcher = Dispatcher(self.db, lease_seconds)  # type: ignore[arg-type]
        self.queue = Queue(self.dispatcher)
        self.links = Links(self.dispatcher)
        self.loop.spawn(self._start())

    async def _start(self) -> None:
        self.db.start()
        self.loop.spawn(Liveness(self.dispatcher).run())

    def accept(self, end: End) -> None:
        """A worker has connected."""
        self.loop.spawn(self._serve(end))

    async def _serve(self, end: End) -> None:
        """As `Links.serve`."""
        try:
            greeted = await self.links._greet(end)  # type: ignore[arg-type]
            if greeted is not None:
                await self.links._talk(end, *greeted)  # type: ignore[arg-type]
        except ConnectionResetError:
            pass  # aiohttp's own handler logs it
        finally:
            if not end.closed:
                await end.close()

    def kill(self) -> None:
        """SIGKILL."""
        self.loop.kill()


def put_in_place(patch: Callable[[object, str, object], None], timeline: Timeline) -> None:
    """Let the server read the simulated clock."""

    def time_ns() -> int:
        return (EPOCH + round(timeline.now * 1e6)) * 1000

    patch(dispatching, "time", type("time", (), {"time_ns": staticmethod(time_ns)}))
