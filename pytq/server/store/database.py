"""The database as the rest of the server sees it: open it, write through one queue, read beside."""

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable
from typing import Final, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pytq.schema.problems import BusyError, ConflictError, InvalidError, PytqError
from pytq.server.store.engine import (
    NotOursError,
    is_passing,
    open_postgres,
    open_sqlite,
    read_uri,
    sqlite_path,
)
from pytq.server.store.transactions import AsyncTransactions, ThreadedTransactions
from pytq.server.store.upgrade import upgrade, upgrade_sqlite
from pytq.server.store.writer import Transactions, Verb, Writer

T = TypeVar("T")
Connection = sa.Connection  # for those outside this room who pass one along
log = logging.getLogger(__name__)

_TAKEN: Final = ConflictError(
    "another PYTQ server is using this database",
    cure="stop that one first, or give this one its own --data-dir or database",
)
_TAKEN_OVER: Final = BusyError(
    "another PYTQ server is using this database by now",
    cure="stop one of them; see that only one is started for each database",
)
_BROKEN: Final = BusyError(
    "the disk failed under the database: what was being written is not safe",
    cure="see to the disk, then start the server again: what was acknowledged before is there",
)


_SILENT: Final = "the database does not answer just now"


class Database:
    """One open database, held by this server alone."""

    def __init__(self, url: URL) -> None:
        self.kind = url.get_backend_name()
        self._path = sqlite_path(url)
        self._lock_file: int | None = None
        self.lost = asyncio.Event()  # this server must stop, for `why_lost`
        self.why_lost: PytqError | None = None
        self._writing: sa.Engine | AsyncEngine
        self._reading: AsyncEngine
        if self.kind == "sqlite":
            self._writing, self._reading = open_sqlite(url)
            self._transactions: Transactions = ThreadedTransactions(self._writing)
        else:
            self._writing, self._reading = open_postgres(url)
            self._transactions = AsyncTransactions(self._writing, lambda: self._lose(_TAKEN_OVER))
        self._writer = Writer(self._transactions, lambda: self._lose(_BROKEN))

    @classmethod
    async def open(cls, uri: str) -> Self:
        """Open a database by its URI: lock it, bring its schema up to date, start the writer."""
        self = cls(read_uri(uri))
        try:
            await self._lock()
            await self._check_durability()
            await self._upgrade()
        except BaseException as error:
            await self.close()
            if self.kind == "postgresql" and isinstance(error, DBAPIError | OSError):
                raise BusyError(
                    f"the database cannot be opened: {getattr(error, 'orig', None) or error}",
                    cure="see that PostgreSQL runs, and that SQLALCHEMY_DATABASE_URI is right",
                ) from error
            raise
        self._writer.start()
        return self

    async def close(self) -> None:
        """Finish what is queued, let go of the database."""
        await self._writer.stop()
        await self._reading.dispose()
        if self._lock_file is not None:
            os.close(self._lock_file)

    async def write(self, verb: Verb[T], then: Callable[[T], None] | None = None) -> T:
        """Run a verb; returns after its commit. See `Writer.post`."""
        return await self._writer.post(lambda: verb, then)

    def post(
        self, prepare: Callable[[], Verb[T]], then: Callable[[T], None] | None = None
    ) -> asyncio.Future[T]:
        """Queue a verb now, to be awaited later. See `Writer.post`."""
        return self._writer.post(prepare, then)

    async def read(self, look: Verb[T]) -> T:
        """Look at the database, beside the writer."""
        try:
            async with self._reading.connect() as connection:
                return await connection.run_sync(look)
        except sa.exc.TimeoutError as error:  # all connections wait for an answer
            raise BusyError(_SILENT) from error
        except (DBAPIError, OSError) as error:
            if is_passing(error):
                raise BusyError(_SILENT) from error
            raise

    def _lose(self, why: PytqError) -> None:
        """Nothing more can be written, so that serving on would be pretending."""
        if not self.lost.is_set():
            log.error("this server stops: %s", why)
            self.why_lost = why
            self._writer.refuse(why)
            self.lost.set()

    async def _upgrade(self) -> None:
        if isinstance(self._writing, sa.Engine):
            await asyncio.to_thread(upgrade_sqlite, self._writing)
        else:
            await self._transactions.run([upgrade])

    async def _lock(self) -> None:
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock_file = os.open(
                    f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
            except OSError as error:
                raise InvalidError(
                    f"cannot keep the queue in {self._path.parent}: {error.strerror}",
                    field="data_dir",
                    cure="give a folder of your own with --data-dir",
                ) from error
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _TAKEN from None
        elif self.kind == "postgresql":
            try:
                await self._transactions.run([])  # the first connection takes the lock
            except NotOursError:
                raise _TAKEN from None
            except TypeError as error:  # asyncpg.connect() got an unexpected keyword argument
                raise InvalidError(
                    f"the database's URI has an option that is none: {error}",
                    field="SQLALCHEMY_DATABASE_URI",
                    cure="take out what follows its question mark",
                ) from None

    async def _check_durability(self) -> None:
        if self.kind != "postgresql":
            return
        async with self._reading.connect() as connection:
            row = await connection.execute(sa.text("SHOW synchronous_commit"))
            setting = row.scalar_one()
        if setting == "off":
            raise InvalidError(
                "PostgreSQL runs with synchronous_commit=off: it would lose acknowledged tasks",
                field="synchronous_commit",
                cure="set synchronous_commit=on for this database",
            )
