"""Workers die, freeze, are copied and scribbled into: one voice, one outcome, all the same."""

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sites import LEASE, LONG, Site, until
from worker_parts import alive

Open = Callable[..., Site]
MEMORY = Path("/sys/fs/cgroup/memory")  # version 1
MIB = 2**20


def freeze(number: int, *pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    return [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]


def test_a_worker_that_is_gone_for_good(site: Open, database_uri: str) -> None:
    """Its keeper ends the task, only then is it handed on; at no time are there two of it."""
    one = site(database_uri, PYTQ_LEASE_SECONDS=str(LEASE))
    worker = one.start_agent(1, "first")
    [task] = one.submit(one.pulse())
    until(one.pulses, 20)
    worker.kill()
    worker.wait()
    one.start_agent(1, "second")
    until(lambda: 2 in one.pulses(), 40)
    one.let_go()
    [ended] = one.ended([task])
    pulses = one.pulses()

    assert ended["status"] == "succeeded"
    assert [each["outcome"] for each in one.tries(task)] == ["lost", "succeeded"]
    assert max(pulses[1]) < min(pulses[2])
    assert max(pulses[2]) - max(pulses[1]) > 1
    assert (ended["losses"], ended["failures"]) == (1, 0)


def test_a_whole_machine_that_was_frozen(site: Open) -> None:
    """Thawed long after its task was handed on, it ends it at once, and its word does not count."""
    one = site(PYTQ_LEASE_SECONDS=str(LEASE))
    worker = one.start_agent(1, "first")
    [task] = one.submit(one.pulse())
    until(one.pulses, 20)
    keepers = one.pids_of("first")
    tree = {pid for keeper in keepers for pid in family(keeper)}
    frozen = [worker.pid, *tree]
    freeze(signal.SIGSTOP, *frozen)
    one.start_agent(1, "second")
    until(lambda: 2 in one.pulses(), 60)
    before = len(one.pulses()[1])
    freeze(signal.SIGCONT, *frozen)
    until(lambda: not any(psutil.pid_exists(pid) for pid in tree.difference(keepers)), 20)
    until(lambda: one.crew()["first"]["status"] == "online" and one.crew()["first"]["open"] == 0)
    one.let_go()
    [ended] = one.ended([task])

    assert ended["status"] == "succeeded"
    assert [each["outcome"] for each in one.tries(task)] == ["lost", "succeeded"]
    assert [each["worker"] for each in one.tries(task)] == ["first", "second"]
    assert len(one.pulses()[1]) - before <= 20  # two seconds of SIGTERM's grace, as it looks once


def test_a_short_freeze_costs_nothing(site: Open) -> None:
    """An agent that stands still for less than the lease: its task runs on, once."""
    one = site(PYTQ_LEASE_SECONDS=str(LEASE))
    worker = one.start_agent(1)
    [task] = one.submit(one.trace("sleep 4; exit 5"))
    until(one.traces, 20)
    freeze(signal.SIGSTOP, worker.pid)
    time.sleep(LEASE / 3)
    freeze(signal.SIGCONT, worker.pid)
    one.ended([task])

    assert [each["exit_code"] for each in one.tries(task)] == [5]
    assert one.traces() == {f"{task}.1": 1}


def test_a_long_quiet_task_outlives_the_shortest_lease(site: Open) -> None:
    """A task that says nothing for longer than the lease is not given up: the worker speaks."""
    one = site(PYTQ_LEASE_SECONDS=str(LEASE))
    one.start_agent(1)
    [task] = one.submit(f"sleep {LEASE + 3}")

    assert one.ended([task])[0]["status"] == "succeeded"
    assert len(one.tries(task)) == 1


def test_a_server_away_for_longer_than_its_lease(site: Open, database_uri: str) -> None:
    """Where the server's machine says that none runs there, tasks go on, and are told, once."""
    away = LEASE * (6 if LONG else 1.6)
    one = site(database_uri, PYTQ_LEASE_SECONDS=str(LEASE))
    one.start_agent(2)
    tasks = one.submit(one.trace("sleep 4; exit 3"), one.trace(f"sleep {away + 3}; exit 4"))
    until(lambda: len(one.traces()) == 2, 20)
    one.kill_server()
    time.sleep(away)
    one.start_server()
    one.ended(tasks)

    assert [[each["exit_code"] for each in one.tries(number)] for number in tasks] == [[3], [4]]
    assert one.traces() == {f"{number}.1": 1 for number in tasks}


def test_a_killed_keeper_costs_one_try(site: Open) -> None:
    """Its tasks die with it, are lost, and run once more; nothing of the first try lives on."""
    one = site()
    one.start_agent(2)
    [task] = one.submit(one.pulse("setsid sleep 3971 &"))
    until(one.pulses, 20)
    os.kill(one.keeper_of(), signal.SIGKILL)
    until(lambda: 2 in one.pulses(), 30)
    pulses = one.pulses()
    one.let_go()

    assert one.ended([task])[0]["status"] == "succeeded"
    assert [each["outcome"] for each in one.tries(task)] == ["lost", "succeeded"]
    assert max(pulses[1]) < min(pulses[2])
    until(lambda: not alive("sleep\0003971"), 10)


def test_a_cancel_is_obeyed_in_time(site: Open) -> None:
    """A tree that ignores SIGTERM and hides in another session is gone within grace and ten."""
    one = site()
    one.start_agent(1)
    deaf = "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 3972\" & sleep 3972"
    [task] = one.submit(one.trace(deaf))
    until(lambda: len(alive("sleep\0003972")) == 2, 20)
    began = time.monotonic()
    status, _, _ = one.call("POST", f"/tasks/{task}/cancel")
    assert status == 200
    until(lambda: not alive("sleep 3972") and not alive("sleep\0003972"), 20)
    took = time.monotonic() - began

    assert one.ended([task])[0]["status"] == "cancelled"
    assert 5 < took < 20


def test_daemons_do_not_outlive_their_task(site: Open) -> None:
    """What a task leaves behind is ended before its outcome is told, also under a real server."""
    one = site()
    one.start_agent(1)
    daemon = "import os,time; os.fork() or os.setsid() or os.fork() or time.sleep(3973)"
    [task] = one.submit({"command": [sys.executable, "-c", daemon]})

    assert one.ended([task])[0]["status"] == "succeeded"
    assert not alive("time.sleep(3973)")


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
    worker.kill()
    until(lambda: not (freeze(signal.SIGKILL, *one.pids_of()) or one.pids_of()), 20)


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


@pytest.fixture
def clock(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Environments whose wall clock is wrong by so much; time that only counts goes right."""
    (library,) = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")] or [None]
    if library is None:
        pytest.skip("not installed: faketime; scripts/system-packages installs it")

    def wrong(by: str) -> dict[str, str]:
        (tmp_path / "clock").write_text(by)
        kept = {"FAKETIME_TIMESTAMP_FILE": f"{tmp_path}/clock", "FAKETIME_NO_CACHE": "1"}
        only = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
        return {"LD_PRELOAD": str(library), **kept, **only}

    return wrong


@pytest.mark.parametrize("by", ["-1d", "+1d"])
def test_a_worker_whose_clock_is_wrong(
    site: Open, clock: Callable[[str], dict[str, str]], by: str
) -> None:
    """A day before or behind its server, a worker works, and its history is told as if it were."""
    one = site(PYTQ_LEASE_SECONDS=str(LEASE))
    one.env |= clock(by)
    one.start_agent(2)
    [task] = one.submit(one.trace("date +%s; sleep 3"))
    [ended] = one.ended([task])
    [only] = one.tries(task)
    times = [only[f"{what}_at"] for what in ("assigned", "running", "ended")]

    assert ended["status"] == "succeeded"
    assert times == sorted(times)
    assert times[-1][:10] == one.task(task)["changed_at"][:10]


def test_a_server_whose_clock_jumps(
    site: Open, clock: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    """The wall clock jumps by days under a server: leases and waiting do not notice."""
    one = site(start=False)
    one.env |= clock("+0") | {"PYTQ_LEASE_SECONDS": str(LEASE)}
    one.start_server()
    for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE"):
        del one.env[name]
    one.start_agent(2)
    tasks = one.submit(*[one.trace("sleep 3; exit 4")] * 2)
    until(lambda: len(one.traces()) == 2, 20)
    for by in ("+2d", "-3d", "+1d"):
        (tmp_path / "clock").write_text(by)
        time.sleep(0.7)  # a few looks at who is silent
    one.ended(tasks)

    assert [[each["exit_code"] for each in one.tries(number)] for number in tasks] == [[4], [4]]
    assert one.traces() == {f"{number}.1": 1 for number in tasks}
