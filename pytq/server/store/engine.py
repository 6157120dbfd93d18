"""Opening the database: SQLite by default, PostgreSQL by a URI; the same verbs on both."""

import asyncio
import json
import logging
import socket
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pytq.schema.problems import InvalidError

log = logging.getLogger(__name__)


class NotOursError(Exception):
    """Another server holds the lock of this database."""


BUSY_SECONDS: Final = 5.0
_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # NORMAL loses acknowledged tasks when the power goes
    f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -32768",
    "PRAGMA temp_store = MEMORY",
)

# The writer only ever touches a few rows by an index. A table that has just been filled has no
# statistics, and without them PostgreSQL may read and sort a million rows for each lease.
_PLANS_OFF: Final = (
    "enable_seqscan",
    "enable_bitmapscan",
    "enable_sort",
    "enable_hashjoin",
    "enable_mergejoin",
)

# The writer's session holds the lock; PostgreSQL should notice within a minute if we are cut off.
_KEEPALIVE: Final = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

# We should notice sooner: whoever waits for an answer that was cut off would wait for ever.
_OUR_KEEPALIVE: Final = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 15_000,  # milliseconds; Linux alone has it
}

# asyncpg's words for a connection that is gone, or that went while something was being said.
_GONE: Final = frozenset({"InterfaceError", "InternalClientError"})

# SQLite's words for a disk that cannot be trusted: what was not written may look as if it were.
_BROKEN: Final = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})


def default_uri(data_dir: Path) -> str:
    """The embedded database below `data_dir`."""
    return f"sqlite:///{data_dir / 'pytq.db'}"


def read_uri(uri: str) -> URL:
    """Accept the URIs people have (`sqlite:///…`, `postgresql://…`) and choose the async driver."""
    try:
        url = make_url(uri)
    except ArgumentError as error:
        raise InvalidError(
            "SQLALCHEMY_DATABASE_URI is not a database URI",
            field="SQLALCHEMY_DATABASE_URI",
            cure="write sqlite:////path/to/file.db or postgresql://user:password@host/database",
        ) from error
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    backend = "postgresql" if url.drivername == "postgres" else url.drivername.split("+")[0]
    if backend not in drivers:
        raise InvalidError(
            f"PYTQ keeps its queue in SQLite or PostgreSQL, not in {backend!r}",
            field="SQLALCHEMY_DATABASE_URI",
        )
    return url.set(drivername=drivers[backend])


def open_postgres(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    """One engine to write with (a single connection), one to read beside it."""
    # Whoever locks a table holds up nobody for longer than one who locks SQLite would.
    common = {"application_name": "pytq", "lock_timeout": f"{BUSY_SECONDS:.0f}s"}
    by_index = common | _KEEPALIVE | dict.fromkeys(_PLANS_OFF, "off")
    writer = _postgres(url, by_index, pool_size=1, max_overflow=0)
    reader = _postgres(url, common, pool_size=4, max_overflow=4, isolation_level="AUTOCOMMIT")
    return writer, reader


def _postgres(url: URL, settings: dict[str, str], **more: Any) -> AsyncEngine:
    arguments = {"timeout": 10, "server_settings": settings}
    engine = create_async_engine(url, pool_pre_ping=True, connect_args=arguments, **more)
    sa.event.listen(engine.sync_engine, "connect", _keep_alive)
    return engine


def _keep_alive(connection: DBAPIConnection, _record: object) -> None:
    transport = connection.driver_connection._transport  # noqa: SLF001 - asyncpg has no other way
    line = transport.get_extra_info("socket")
    if line.family == socket.AF_UNIX:
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OUR_KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            line.setsockopt(socket.IPPROTO_TCP, option, value)


def open_sqlite(url: URL) -> tuple[sa.Engine, AsyncEngine]:
    """One engine to write with (in a thread of its own), one to read beside it."""
    arguments: dict[str, Any] = {
        "connect_args": {"timeout": BUSY_SECONDS, "isolation_level": None},
    }
    plain = url.set(drivername="sqlite")
    arguments["connect_args"]["check_same_thread"] = False
    writer = sa.create_engine(plain, poolclass=sa.QueuePool, pool_size=1, **arguments)
    reader = create_async_engine(
        url, poolclass=sa.AsyncAdaptedQueuePool, pool_size=2, max_overflow=2, **arguments
    )
    sa.event.listen(writer, "connect", _prepare)
    sa.event.listen(reader.sync_engine, "connect", _prepare)
    sa.event.listen(reader.sync_engine, "connect", _only_read)
    # A deferred BEGIN that reads and then writes fails with "database is locked".
    sa.event.listen(writer, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
    return writer, reader


def _prepare(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _only_read(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def among(
    dialect: str, column: sa.ColumnElement[Any], name: str, kind: type = int
) -> sa.ColumnElement[bool]:
    """`column IN (a list given as one parameter)`: one statement text whatever the length.

    Bind the list with `listed`.
    """
    if dialect == "postgresql":
        item = sa.Text() if kind is str else sa.BigInteger()
        return column == sa.any_(sa.bindparam(name, type_=postgresql.ARRAY(item)))
    each = sa.func.json_each(sa.bindparam(name, type_=sa.Text())).table_valued("value")
    return column.in_(sa.select(each.c.value))


def listed(dialect: str, values: Iterable[Any]) -> Any:
    """A list as `among` binds it."""
    values = list(values)
    if dialect == "postgresql":
        return values
    if all(type(value) is int for value in values):
        return f"[{','.join(map(str, values))}]"
    return json.dumps(values)


def sqlite_path(url: URL) -> Path | None:
    """The file of an SQLite database."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def is_full(error: BaseException) -> bool:
    """Whether the database said that its disk is full."""
    original = getattr(error, "orig", error)
    text = str(original).lower()
    return "disk is full" in text or "no space left" in text


def is_broken(error: BaseException) -> bool:
    """Whether the database file cannot be trusted any more; only opening it anew helps."""
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0)
    return code in _BROKEN or code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_passing(error: BaseException) -> bool:
    """Whether running the same transaction again may succeed: lost connection, lock, deadlock."""
    original = getattr(error, "orig", error)
    if isinstance(original, NotOursError):
        return True
    if getattr(error, "connection_invalidated", False):
        return True
    if isinstance(original, sqlite3.OperationalError):
        return "locked" in str(original) or "busy" in str(original)
    state = getattr(original, "sqlstate", None) or ""
    if state[:2] in {"08", "40", "57"} or state == "55P03":
        return True
    if type(original).__name__ in _GONE:
        return True
    return isinstance(original, OSError | ConnectionError | asyncio.TimeoutError)
