"""Running verbs in transactions: in one thread over SQLite, on asyncpg over PostgreSQL.

SQLite's calls block, so they need a thread; giving a whole transaction to that thread costs one
hand-over instead of three for each statement, which is what an async driver would do.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pytq.schema.problems import PytqError
from pytq.server.store.engine import NotOursError
from pytq.server.store.writer import Verb

# Any number will do, as long as every PYTQ server asks for the same one.
_ADVISORY_LOCK: Final = 0x50595451
_TAKEN_SECONDS: Final = 10.0  # a server that is being stopped may hold the lock for a moment still

# A session: pids come again, but not with the same start.
_WHO: Final = sa.text(
    "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)
_END: Final = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid = :pid AND backend_start = :backend_start"
)


def _run_all(connection: sa.Connection, verbs: Sequence[Verb[Any]]) -> list[Any]:
    return [verb(connection) for verb in verbs]


class ThreadedTransactions:
    """SQLite: one connection, in one thread."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._connection: sa.Connection | None = None

    async def run(self, verbs: Sequence[Verb[Any]]) -> list[Any]:
        """Run verbs in one transaction; returns their results after the commit."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, verbs)

    async def close(self) -> None:
        """Let go of the connection."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    def _run(self, verbs: Sequence[Verb[Any]]) -> list[Any]:
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            with self._connection.begin():
                return _run_all(self._connection, verbs)
        except PytqError:
            raise
        except Exception:
            self._disconnect()  # the next transaction begins on a connection known to be sound
            raise

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is thrown away, whatever it says
                connection.close()
        self._engine.dispose()


class AsyncTransactions:
    """PostgreSQL: one connection, over asyncpg, which holds the lock of the only server.

    Whatever is written is written under that lock: should the connection break, the next one has
    to get it again first. `taken` is called when another server has it for good.
    """

    def __init__(self, engine: AsyncEngine, taken: Callable[[], None]) -> None:
        self._engine = engine
        self._taken = taken
        self._taken_since = 0.0
        self._session: dict[str, Any] = {}  # the last that had the lock
        self._connection: AsyncConnection | None = None

    async def run(self, verbs: Sequence[Verb[Any]]) -> list[Any]:
        """Run verbs in one transaction; returns their results after the commit."""
        if self._connection is None:
            self._connection = await self._connect()
        try:
            async with self._connection.begin():
                return await self._connection.run_sync(_run_all, verbs)
        except PytqError:
            raise
        except Exception:
            await self._disconnect()
            raise

    async def close(self) -> None:
        """Let go of the lock, so that the next server need not wait, and of the connection."""
        if self._connection is not None:
            with contextlib.suppress(Exception):  # then the lock goes with the connection
                async with self._connection.begin():
                    await self._connection.execute(sa.select(sa.func.pg_advisory_unlock_all()))
        await self._disconnect()
        await self._engine.dispose()

    async def _connect(self) -> AsyncConnection:
        connection = await self._engine.connect()
        try:
            async with connection.begin():
                got = await self._take_lock(connection)
        except BaseException:
            await connection.close()
            raise
        if got:
            self._taken_since = 0.0
            return connection
        await connection.close()
        self._taken_since = self._taken_since or time.monotonic()
        if time.monotonic() - self._taken_since >= _TAKEN_SECONDS:
            self._taken()
        raise NotOursError

    async def _take_lock(self, connection: AsyncConnection) -> bool:
        """Whether we have it now. A session of ours that was cut off and has it still is ended."""
        ask = sa.select(sa.func.pg_try_advisory_lock(_ADVISORY_LOCK))
        got = bool((await connection.execute(ask)).scalar_one())
        if got:
            self._session = dict((await connection.execute(_WHO)).mappings().one())
        elif self._session:
            await connection.execute(_END, self._session)
        return got

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is thrown away, whatever it says
                await connection.invalidate()  # the lock goes with the session, not back to a pool
                await connection.close()
