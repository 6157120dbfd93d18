"""Workers die, freeze, are copied and scribbled into: one voice, one outcome, all the same."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
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


def test_a_server_away_for_longer_than_its_lease(site: Open) -> None:
    """Where the server's machine says that none runs there, tasks go on, and are told, once."""
    away = LEASE * (6 if LONG else 1.6)
    one = site(PYTQ_LEASE_SECONDS=str(LEASE))
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
