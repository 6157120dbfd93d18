"""Disks fill up, fail and are slow, under server and worker: honest errors, nothing lost."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import postgres
import pytest
from clusters import cluster, folder, syncing
from disks import small_disk
from load import Load
from sites import Site, until
from strace import traced

Open = Callable[..., Site]
MIB = 2**20


def fill(place: Path) -> Path:
    """Leave not a byte."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler


@contextlib.contextmanager
def small_database(kind: str, below: Path) -> Iterator[tuple[str | None, Path]]:
    """A database on a disk of its own, and where that disk is."""
    if kind == "sqlite":
        with small_disk(below / "data", f"size={16 * MIB}") as disk:
            yield None, disk
        return
    with folder() as place, small_disk(place, f"size={192 * MIB}"), cluster(place) as one:
        yield one.uri, place


def test_a_full_server_disk(site: Open, kind: str, tmp_path: Path) -> None:
    """507 and nothing changed; reading goes on; freeing space is enough, and no outcome is lost."""
    if kind == "postgresql" and postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed: scripts/system-packages installs it")
    with small_database(kind, tmp_path) as (uri, disk):
        one = site(uri)
        one.start_agent(2)
        ids = one.submit(one.trace("sleep 1; seq 2000; exit 3"), one.trace("sleep 1"))
        until(lambda: len(one.traces()) == 2)
        filler = fill(disk)
        big = [{"command": "true", "name": "n" * 200}] * 500
        status, said, _ = until(
            lambda: (got := one.call("POST", "/tasks", big, timeout=60))[0] != 201 and got
        )
        assert (status, said["code"]) == (507, "storage_full")
        assert one.task(ids[0])["id"] == ids[0]
        time.sleep(2)  # what ends now can be told to nobody
        counted = one.get("/counts")
        assert one.server is not None
        assert one.server.poll() is None
        filler.unlink()

        ended = one.ended(ids)
        assert [task["reason"] and task["reason"]["cause"] for task in ended] == ["exit", None]
        assert one.output(ids[0]) == "".join(f"{n}\n" for n in range(1, 2001))
        assert one.traces() == {f"{number}.1": 1 for number in ids}
        assert one.submit("true")
        assert counted["active"] == 2
        one.stop()
        if kind == "sqlite":
            assert_whole(tmp_path / "data/pytq.db")


def assert_whole(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_disk_that_fails_under_the_server(site: Open) -> None:
    """A failed fsync is never taken for a commit: no 201; the server stops; what was, is there."""
    one = site()
    before = one.submit("true", "true")
    assert one.server is not None
    with traced(one.server.pid, "fsync,fdatasync", "error=EIO"):
        status, said, _ = one.call("POST", "/tasks", {"command": "true"}, "key", timeout=30)
        assert status == 503, said
        assert one.server.wait(30) == 1
    assert "the disk failed under the database" in one.log("server")
    assert "Traceback" not in one.log("server")
    one.start_server()
    after = {task["id"] for task in one.get("/tasks")["items"]}
    status, said, _ = one.call("POST", "/tasks", {"command": "true"}, "key")

    assert set(before) <= after
    assert status == 201
    assert len(one.get("/tasks")["items"]) == len(before) + 1


def test_a_disk_that_fails_under_postgresql(site: Open, database: str) -> None:
    """PostgreSQL panics and recovers: what it had not synced is repeated, and is there once."""
    one = site(database)
    before = one.submit("true", "true")
    with traced(syncing(one, database), "fsync,fdatasync", "error=EIO") as failed:
        status, said, _ = one.call("POST", "/tasks", {"command": "true"}, "key", timeout=60)
        assert failed() >= 1
    assert status in (201, 503), said
    again, _, _ = until(
        lambda: (got := one.call("POST", "/tasks", {"command": "true"}, "key"))[0] != 503 and got
    )

    assert again == 201
    assert len(one.get("/tasks")["items"]) == len(before) + 1
    assert one.server is not None
    assert one.server.poll() is None
    assert "Traceback" not in one.log("server")


def test_a_slow_server_disk(site: Open, disk_uri: str | None) -> None:
    """Each fsync takes 0.3 s: everything waits a little, nobody is declared dead."""
    one = site(disk_uri)
    one.start_agent(2)
    one.online()
    with (
        traced(syncing(one, disk_uri), "fsync,fdatasync", "delay_exit=300000") as syncs,
        Load(one, one.trace()).going_on() as load,
    ):
        load.grown_by(30)
        assert one.crew()["w"]["status"] == "online"
        assert syncs() < len(load.given) * 4
    ids = load.check()

    assert {task["status"] for task in one.ended(ids)} == {"succeeded"}
    assert load.trouble == []
    assert "is offline" not in one.log("server")


def test_no_files_left_on_the_workers_disk(site: Open, tmp_path: Path) -> None:
    """A disk without inodes is as full as one without bytes: refused, naming it; then it works."""
    (tmp_path / "in").write_text("x")
    with small_disk(tmp_path / "w", "size=64m,nr_inodes=400") as place:
        one = site()
        one.start_agent(1)
        one.online()
        crowd = place / "crowd"
        crowd.mkdir()
        with contextlib.suppress(OSError):
            for number in range(500):
                (crowd / str(number)).touch()
        [task] = one.submit({"command": "cat $INPUT/in", "inputs": [f"file://{tmp_path}/in"]})
        refused = until(lambda: [e for e in one.tries(task) if e["outcome"]])[0]
        shutil.rmtree(crowd)

        assert (refused["outcome"], refused["reason"]["cause"]) == ("refused", "disk")
        assert str(place) in refused["reason"]["detail"]
        [ended] = one.ended([task], 90)
        assert (ended["status"], ended["failures"]) == ("succeeded", 0)
        one.stop()
