"""Servers and workers as people start them, with data that comes, is shared, and has to fit."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import small_disk
from system import System, running

MIB = 2**20


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with running(tmp_path) as one:
        yield one


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MiB."""
    with small_disk(tmp_path / "scratch", f"size={32 * MIB}") as place:
        yield place


def launch(system: System, *words: str) -> int:
    done = system.run("launch", *words)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def ask(system: System, *words: str) -> Any:
    done = system.run(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def executions(system: System, task: int) -> list[dict[str, Any]]:
    url = f"http://{system.address}/api/v1/executions?task={task}"
    with urllib.request.urlopen(
        urllib.request.Request(url, headers=system.headers()), timeout=10
    ) as reply:
        return list(json.load(reply)["items"])


def phases(system: System, task: int) -> list[str]:
    return [one["phase"] for one in executions(system, task)]


def until(what: Any, seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return value


def ended(system: System, *tasks: int) -> list[dict[str, Any]]:
    """These tasks, once all of them have ended."""

    def look() -> list[dict[str, Any]] | None:
        found = [ask(system, "task", "show", str(task)) for task in tasks]
        over = all(one["status"] in ("succeeded", "failed", "cancelled") for one in found)
        return found if over else None

    return until(look, 60.0)


def test_resources_as_people_use_them(system: System, tmp_path: Path) -> None:
    """-r brings a resource once; it is listed, pinned, spared by a clean, and goes when let go."""
    (tmp_path / "my.db").write_bytes(b"database")
    uri = f"file://{tmp_path}/my.db"
    system.start_worker(2, "w", "--prefetch", "1")
    script = 'test "$(cat $RESOURCE/my.db)" = database'
    tasks = [launch(system, "-r", uri, "sh", "-c", script) for _ in range(3)]
    assert [one["status"] for one in ended(system, *tasks)] == ["succeeded"] * 3

    kept = until(lambda: ask(system, "worker", "resources", "w"))
    assert [(view["uri"], view["bytes"], view["kind"]) for view in kept] == [(uri, 8, "resource")]
    assert uri in system.run("worker", "resources", "w").stdout.decode()
    system.run("worker", "pin", "w", uri)
    until(lambda: ask(system, "worker", "resources", "w")[0]["pinned"])
    until(lambda: ask(system, "worker", "resources", "w")[0]["users"] == 0)
    system.run("worker", "clean", "w")
    system.run("worker", "unpin", "w", uri)
    until(lambda: not ask(system, "worker", "resources", "w")[0]["pinned"])
    done = system.run("worker", "clean", "w", "--resources", "s3://other/x")
    assert "s3://other/x" in done.stdout.decode()
    assert ask(system, "worker", "resources", "w")
    system.run("worker", "clean", "w", "--resources")
    until(lambda: ask(system, "worker", "resources", "w") == [])


def test_what_does_not_fit_goes_elsewhere(small: Path, system: System, tmp_path: Path) -> None:
    """On a worker whose disk is too small tasks are refused, naming it; another one runs them."""
    (tmp_path / "big").write_bytes(bytes(20 * MIB))
    (tmp_path / "huge").write_bytes(bytes(40 * MIB))
    tasks = [
        launch(system, "-i", f"file://{tmp_path}/{name}", "sh", "-c", f"test -f $INPUT/{name}")
        for name in ("huge", "big", "big", "huge", "big")
    ]
    system.start_worker(3, "narrow", work_dir=small / "w")
    refused = until(lambda: [e for t in tasks for e in executions(system, t) if e["outcome"]])
    system.start_worker(1, "wide")
    found = ended(system, *tasks)

    why = [one["reason"] for one in found if one["status"] != "succeeded"]
    assert not why, why
    assert refused[0]["worker"] == "narrow"
    assert refused[0]["outcome"] == "refused"
    assert f"disk full: {small} (tmpfs, 32 MiB)" in refused[0]["reason"]["detail"]
    assert all(one["failures"] == 0 for one in found)
    later = launch(system, "-b", "default", "sh", "-c", "true")
    assert ended(system, later)[0]["status"] == "succeeded"


@pytest.mark.parametrize("why", ["drained", "another one is idle"])
def test_what_is_ready_is_not_owned(system: System, tmp_path: Path, why: str) -> None:
    """What a worker has fetched ahead goes to another that can run it at once."""
    (tmp_path / "in").write_bytes(b"x")
    system.start_worker(1, "slow", "--prefetch", "2")
    first = launch(system, "sleep", "30")
    until(lambda: phases(system, first) == ["running"])
    rest = [launch(system, "-i", f"file://{tmp_path}/in", "true") for _ in range(2)]
    until(lambda: [phases(system, task) for task in rest] == [["ready"]] * 2)
    if why == "drained":
        system.run("worker", "drain", "slow")
    system.start_worker(1, "quick")

    assert [one["status"] for one in ended(system, *rest)] == ["succeeded"] * 2
    assert ask(system, "task", "show", str(first))["status"] == "active"
    system.run("task", "cancel", str(first))
