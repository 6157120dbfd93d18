"""Connections to PostgreSQL that break on one side only."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import OperationalError

from pytq.server.store.database import Connection, Database
from pytq.server.store.engine import open_postgres, read_uri
from pytq.server.store.writer import Verb, Writer


class Relay:
    """Stands between a server and its PostgreSQL."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._callers: list[asyncio.StreamWriter] = []
        self._lines: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """Listen; at which port."""
        self._door = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        return int(self._door.sockets[0].getsockname()[1])

    def forget_callers(self) -> None:
        """They find their connections reset. PostgreSQL hears nothing of it."""
        for caller in self._callers:
            caller.transport.abort()
        self._callers.clear()

    async def close(self) -> None:
        self._door.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def _begin(self, asks: asyncio.StreamReader, tells: asyncio.StreamWriter) -> None:
        self._callers.append(tells)
        self._lines.add(asyncio.create_task(self._serve(asks, tells)))

    async def _serve(self, asks: asyncio.StreamReader, tells: asyncio.StreamWriter) -> None:
        answers, asked = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(asks, asked))
                both.create_task(_copy(answers, tells))
                both.create_task(asyncio.Event().wait())  # held until `close`
        finally:
            asked.transport.abort()
            tells.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
async def relayed(database_uri: str) -> AsyncIterator[tuple[Relay, str]]:
    """A relay, and the URI of an empty database behind it."""
    url = read_uri(database_uri)
    assert url.host is not None
    assert url.port is not None
    relay = Relay(url.host, url.port)
    behind = url.set(port=await relay.open(), drivername="postgresql")
    yield relay, behind.render_as_string(hide_password=False)
    await relay.close()


def one(conn: Connection) -> int:
    return int(conn.exec_driver_sql("SELECT 1").scalar_one())


async def test_a_session_of_ours_that_was_cut_off_is_ended(relayed: tuple[Relay, str]) -> None:
    """Our lost session may hold the lock for a minute: it is ended, not taken for another's."""
    relay, uri = relayed
    db = await Database.open(uri)
    assert await db.write(one) == 1
    relay.forget_callers()

    assert await asyncio.wait_for(db.write(one), 30) == 1
    assert not db.lost.is_set()
    await db.close()


async def test_both_sides_notice_that_they_are_cut_off(database_uri: str) -> None:
    """Whoever waits for a PostgreSQL that has vanished hears within seconds that it has."""
    for engine in open_postgres(read_uri(database_uri)):
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            line = raw.driver_connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
        await engine.dispose()


class Moody:
    """Transactions that go as they are told to: an error to be raised, or None."""

    def __init__(self, *moods: Exception | None) -> None:
        self._moods = list(moods)

    async def run(self, verbs: list[Verb[object]]) -> list[object]:
        mood = self._moods.pop(0)
        if mood is not None:
            raise mood
        return [None for _ in verbs]

    async def close(self) -> None:
        pass


async def test_patience_begins_anew_once_the_database_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refusal is an answer: trouble of an hour ago does not cost the next caller its patience."""
    monkeypatch.setattr("pytq.server.store.writer._PATIENCE_SECONDS", 0.1)
    away = OperationalError("SELECT 1", {}, ConnectionResetError())
    writer = Writer(Moody(away, KeyError("refused"), away, None))
    writer.start()
    with pytest.raises(KeyError):
        await writer.post(lambda: one)
    await asyncio.sleep(0.2)  # longer than its patience

    await asyncio.wait_for(writer.post(lambda: one), 5)
    await writer.stop()
