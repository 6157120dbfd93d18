"""PostgreSQL stops, restarts, forgets connections; another server comes: nothing is lost by it."""

import asyncio
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import asyncpg
import postgres
import pytest
from clusters import Cluster
from load import Load
from sites import Site

Open = Callable[..., Site]
END_OF_HOLDER = (
    "SELECT pg_terminate_backend(pid) AS ended FROM pg_locks"
    " WHERE locktype = 'advisory' AND granted"
)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_postgresql(site: Open, pg: Cluster, database: str, mode: str) -> None:
    """PostgreSQL restarts under load: some hear 503 and when to come back, and nothing is lost."""
    one = site(database)
    one.start_worker(4)
    with Load(one, one.trace()).going_on() as load:
        for _ in range(2):
            load.grown_by(40)
            pg.restart(mode)
        load.grown_by(40)

    load.all_ran_once()


def test_postgresql_away_for_long(site: Open, pg: Cluster, database: str) -> None:
    """While PostgreSQL is down people hear 503 in time, and when it is back all works by itself."""
    one = site(database)
    one.start_worker(1)
    [first] = one.submit("true")
    pg.stop("fast")
    try:
        began = time.monotonic()
        status, said, headers = one.call("POST", "/tasks", {"command": "true"})
        took = time.monotonic() - began
    finally:
        pg.start()
    assert (status, said["code"], headers["Retry-After"]) == (503, "busy", "1")
    assert took < 25

    assert [task["status"] for task in one.ended([first, *one.submit("true")])] == ["succeeded"] * 2


def test_killed_connections_are_not_noticed(site: Open, pg: Cluster, database: str) -> None:
    """An administrator ends the server's connections under load: nobody hears of it."""
    one = site(database)
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pytq'"
    with Load(one, "true").going_on() as load:
        for _ in range(5):
            load.grown_by(20)
            assert asyncio.run(pg.ask(end))
        load.grown_by(20)
    assert not one.log("server").count("Traceback"), one.log("server")[-6000:]
    load.check()

    assert load.trouble == []


def test_a_second_server_is_refused(
    site: Open, database_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two servers on one database: the second says what is wrong, and the first goes on."""
    one = site(database_uri)
    more = ["--port", str(postgres.free_port())]
    more += ["--data-dir", str(tmp_path_factory.mktemp("second"))]
    second = one.run("server", *more, timeout=30)

    assert second.returncode == 1
    assert b"another PYTQ server is using this database" in second.stderr
    assert one.submit("true")


async def test_who_has_lost_the_lock_stops(site: Open, pg: Cluster, database: str) -> None:
    """A server whose lock is taken by another one writes nothing more, and ends with the reason."""
    one = site(database)
    [before] = one.submit("true")
    assert one.server is not None
    thief = await asyncpg.connect(database)
    try:
        one.server.send_signal(signal.SIGSTOP)  # so that it cannot be the quicker one
        assert [row["ended"] for row in await thief.fetch(END_OF_HOLDER)] == [True]
        while not await thief.fetchval("SELECT pg_try_advisory_lock(1348031569)"):  # noqa: ASYNC110 - a session ends in its own time
            await asyncio.sleep(0.01)
        one.server.send_signal(signal.SIGCONT)
        status, said, _ = await asyncio.to_thread(one.call, "POST", "/tasks", {"command": "x"})
        assert status == 503, said
        assert await asyncio.to_thread(one.server.wait, 40) == 1
    finally:
        await thief.close()

    assert "another PYTQ server is using this database" in one.log("server")
    await asyncio.to_thread(one.start_server)
    assert [task["id"] for task in one.get("/tasks")["items"]] == [before]


def test_an_unknown_option_of_the_database_is_told(site: Open, database: str) -> None:
    """What asyncpg does not know in the URI is named, in a sentence."""
    one = site(f"{database}?frobnicate=yes", start=False)
    done = one.run("server", "--port", str(one.port), "--data-dir", str(one.folder / "d"))

    assert done.returncode == 1
    assert b"frobnicate" in done.stderr
    assert b"Traceback" not in done.stderr


@contextmanager
def locked(site: Site, uri: str | None) -> Iterator[None]:
    """A human at the database's own prompt, who lets nobody write."""
    if uri is not None:
        with asyncio.Runner() as prompt:
            human = prompt.run(asyncpg.connect(uri))
            prompt.run(human.execute("BEGIN; LOCK TABLE tasks IN EXCLUSIVE MODE"))
            yield
            prompt.run(human.close())
        return
    with closing(sqlite3.connect(site.folder / "data/pytq.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield
        db.execute("ROLLBACK")


def test_a_human_locks_the_database(site: Open, disk_uri: str | None) -> None:
    """While somebody locks the database submits wait, then hear 503; reading goes on."""
    one = site(disk_uri)
    [first] = one.submit("true")
    with locked(one, disk_uri):
        began = time.monotonic()
        status, said, headers = one.call("POST", "/tasks", {"command": "true"}, timeout=60)
        took = time.monotonic() - began
        assert one.task(first)["status"] == "pending"

    assert (status, said["code"], headers["Retry-After"]) == (503, "busy", "1")
    assert 5 < took < 30
    assert one.submit("true") == [first + 1]
