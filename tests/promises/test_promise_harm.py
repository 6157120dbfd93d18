"""Workers without memory, copied, scribbled into and flooded: one voice, one outcome."""

import contextlib
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sites import Site, until

Open = Callable[..., Site]
MEMORY = Path("/sys/fs/cgroup/memory")  # version 1
MIB = 2**20


@pytest.fixture
def little_memory() -> Iterator[list[str]]:
    """A command's beginning: run what follows with 400 MiB for itself and its children."""
    group = MEMORY / f"pytq-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(400 * MIB))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
    until(lambda: not (group / "cgroup.procs").read_text().split(), 20)
    group.rmdir()


def test_a_greedy_task_dies_alone(site: Open, little_memory: list[str]) -> None:
    """Out of memory: the greedy task fails with that cause; worker, keeper and neighbour live."""
    one = site()
    worker = one.start_agent(2, prefix=little_memory)
    one.online()
    [quiet] = one.submit(one.trace("sleep 4; exit 6"))
    until(one.traces, 20)
    keeper = one.keeper_of()
    greedy, shell = one.submit(
        {"command": [sys.executable, "-c", "x = bytearray(900 << 20)"]},
        f"{sys.executable} -c 'x = bytearray(900 << 20)'; exit $?",
    )
    ended = one.ended([greedy, shell, quiet])

    assert [task["reason"]["cause"] for task in ended] == ["oom", "oom", "exit"]
    assert "the command ran out of memory" in ended[0]["reason"]["detail"]
    assert one.keeper_of() == keeper
    assert worker.poll() is None
    one.stop()


def test_a_copied_work_directory(site: Open, tmp_path: Path) -> None:
    """A copy of a worker, started beside it, is kept out and told why; nothing runs twice."""
    one = site()
    one.start_agent(1, "first")
    [task] = one.submit(one.trace("sleep 4"))
    until(one.traces, 20)
    copy = tmp_path / "copied"
    shutil.copytree(one.home("first"), copy, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    second = one.start_worker(1, "first", work_dir=copy)
    until(lambda: "is connected through another process" in one.log("first"), 20)

    assert one.ended([task])[0]["status"] == "succeeded"
    assert one.traces() == {f"{task}.1": 1}
    assert second.poll() is None  # it keeps asking: the first may be gone one day
    assert "give it another name" in one.log("first")


@pytest.mark.parametrize("harm", ["cut", "scribbled", "gone", "one line"])
def test_a_journal_that_was_damaged(site: Open, harm: str) -> None:
    """The worker starts, as itself; what it cannot read any more is lost, and runs once more."""
    one = site()
    worker = one.start_agent(1)
    [task] = one.submit(one.pulse())
    until(one.pulses, 20)
    worker.kill()
    worker.wait()
    spoil(one.home() / "journal.sqlite", harm)
    one.start_agent(1)
    until(lambda: 2 in one.pulses(), 30, lambda: one.log("w"))
    pulses = one.pulses()
    one.let_go()

    assert one.ended([task])[0]["status"] == "succeeded"
    assert [each["outcome"] for each in one.tries(task)] == ["lost", "succeeded"]
    assert max(pulses[1]) < max(pulses[2])
    assert "Traceback" not in one.log("w")
    assert len(one.crew()) == 1


def spoil(journal: Path, harm: str) -> None:
    import sqlite3

    with contextlib.closing(sqlite3.connect(journal)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if harm == "one line":
            database.execute("UPDATE executions SET lease = '{\"task\":'")
            database.commit()
    data = bytearray(journal.read_bytes())
    if harm == "cut":
        journal.write_bytes(data[: len(data) // 2 - 100])
    elif harm == "scribbled":
        journal.write_bytes(random.Random(1).randbytes(len(data)))  # noqa: S311 - noise
    elif harm == "gone":
        journal.unlink()


def test_a_flood_of_output(site: Open) -> None:
    """Gigabytes to stdout: the task is not held up, memory stays bounded, the tail is kept."""
    one = site()
    worker = one.start_agent(2)
    one.online()
    tasks = one.submit(
        one.trace("timeout 4 yes; echo the end"),
        one.trace("timeout 4 cat /dev/urandom; echo the end; exit 3"),
    )
    until(lambda: len(one.traces()) == 2, 20)
    began = time.monotonic()
    most = 0
    while not one.call("POST", "/tasks/wait", {"ids": tasks, "timeout": 0.2})[1]["done"]:
        most = max(most, psutil.Process(worker.pid).memory_info().rss)
        assert time.monotonic() < began + 60

    _, tail, _ = one.call("GET", f"/executions/{tasks[0]}.1/stdout")
    assert bytes(tail).endswith(b"y\nthe end\n")
    assert one.tries(tasks[0])[0]["stdout_bytes"] > 100 * MIB
    assert most < 400 * MIB
    for number in tasks:
        ran = one.tries(number)[0]
        assert ran["ended_at"] > ran["running_at"]
