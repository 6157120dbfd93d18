"""What a worker and its tasks live through: stops, kills, silence, a full disk, a restart."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripted import ScriptedServer, leftovers, succeeded
from worker_parts import alive, end_keeper, keeper_of, leave, wait_for

from pytq.schema.states import Cause, Outcome, Phase
from pytq.schema.views import WorkerSettings
from pytq.worker.agent import Agent, WorkerOptions

Start = Callable[..., "asyncio.Task[int]"]


async def test_a_worker_that_stops_leaves_its_tasks_running(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    """Tasks outlive the worker; the next one takes them over, output and exit code complete."""
    ref = server.add("echo before; sleep 1; echo after; exit 7")
    ended_alone = server.add("sleep 0.4; exit 8")
    first = start()
    await server.until(lambda: server.text(ref) == "before\n")
    await leave(first)
    assert wait_for(lambda: alive("sleep\0001"))
    await asyncio.sleep(0.6)
    start()

    assert (await server.end_of(ended_alone)).exit_code == 8
    assert (await server.end_of(ref)).exit_code == 7
    assert server.text(ref) == "before\nafter\n"
    assert {(h.task, h.attempt) for h in server.hellos[-1].held} == {ref, ended_alone}
    assert server.hellos[0].identity == server.hellos[1].identity
    assert server.hellos[0].incarnation != server.hellos[1].incarnation


async def test_kill_9_of_the_worker_loses_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    """A worker killed at any moment is taken up by the next: each task runs exactly once."""
    runs = tmp_path / "runs"
    refs = [server.add(f"echo x >> {runs}; sleep 0.0{n}") for n in range(10) for _ in range(4)]
    words = ["worker", f"127.0.0.1:{server.port}", "3", "--work-dir", str(tmp_path / "w"), "--kill"]
    for _ in range(40):
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pytq.cli.main", *words, stderr=asyncio.subprocess.DEVNULL
        )
        with contextlib.suppress(TimeoutError):
            before = len(server.ended)
            await server.until(lambda b=before: len(server.ended) > min(b + 8, len(refs) - 1), 5)
        worker.kill() if len(server.ended) < len(refs) else worker.terminate()
        await worker.wait()
        if len(server.ended) == len(refs):
            break
    end_keeper(tmp_path / "w")

    kept = [ended for ended in server.ended.values() if ended.outcome is not Outcome.REFUSED]
    assert len(server.ended) == len(refs)
    assert [ended for ended in kept if not succeeded(ended)] == []
    assert len(runs.read_text().split()) == len(kept)


async def test_outcomes_wait_for_the_server(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    """While the server is away tasks go on; what came of them is told when it is back."""
    ref = server.add("sleep 0.3; echo late; exit 5")
    start()
    await server.phase_of(ref, Phase.RUNNING)
    await server.stop()
    await asyncio.sleep(0.6)
    await server.start()

    assert (await server.end_of(ref)).exit_code == 5
    assert server.text(ref) == "late\n"


async def test_outcomes_are_told_until_settled(server: ScriptedServer, start: Start) -> None:
    """An outcome that was not settled is told again, by the next worker too."""
    server.settles = False
    ref = server.add("echo hi; exit 6")
    first = start()
    await server.until(lambda: server.told)
    await server.hang_up()
    await server.until(lambda: len(server.told) == 2)
    await leave(first)
    server.output.clear()
    server.settles = True
    start()

    assert (await server.end_of(ref)).exit_code == 6
    assert server.text(ref) == "hi\n"
    assert server.hellos[-1].held[0].phase is Phase.ENDED


async def test_fenced_executions_are_stopped(server: ScriptedServer, start: Start) -> None:
    """What the server has handed on is killed and never reported."""
    ref = server.add("sleep 976.1")
    start()
    await server.phase_of(ref, Phase.RUNNING)
    server.fenced = [ref]
    await server.hang_up()
    await server.until(lambda: len(server.hellos) == 2)
    for _ in range(200):
        if not alive("sleep\000976.1"):
            break
        await asyncio.sleep(0.02)

    assert not alive("sleep\000976.1")
    assert not server.told


async def test_a_killed_keeper_means_lost(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    """When the keeper dies its tasks are told as lost, and the worker goes on with another."""
    ref = server.add("sleep 975.1")
    start()
    await server.phase_of(ref, Phase.RUNNING)
    wait_for(lambda: alive("sleep\000975.1"))
    os.kill(keeper_of(tmp_path / "w"), signal.SIGKILL)

    ended = await server.end_of(ref)
    assert (ended.outcome, ended.cause) == (Outcome.LOST, Cause.LOST)
    assert not alive("sleep\000975.1")
    again = server.add("echo again")
    await server.hand_out()
    assert succeeded(await server.end_of(again))


async def test_a_lost_server_ends_tasks_by_lease(server: ScriptedServer, start: Start) -> None:
    """Without an answer for the lease's time, tasks are stopped before they may run elsewhere."""
    server.lease_seconds = 1.0
    ref = server.add("sleep 974.1")
    start()
    await server.phase_of(ref, Phase.RUNNING)
    await server.fall_silent()
    for _ in range(300):
        if not alive("sleep\000974.1"):
            break
        await asyncio.sleep(0.02)
    server.wake()

    assert (await server.end_of(ref)).outcome is Outcome.LOST


async def test_a_server_that_does_not_run_hands_nothing_on(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    """Its machine answers that no server is there: tasks go on past the lease, through agents."""
    server.lease_seconds = 3.0
    ref = server.add("sleep 7; exit 9")
    first = start()
    await server.phase_of(ref, Phase.RUNNING)
    await server.stop()
    await asyncio.sleep(3)
    await leave(first)
    start()
    await asyncio.sleep(3)
    await server.start()

    assert (await server.end_of(ref)).exit_code == 9


async def test_kill_leaves_nothing_behind(server: ScriptedServer, tmp_path: Path) -> None:
    """Stopped with --kill, a worker ends its tasks, says so, and leaves no process or socket."""
    home = tmp_path / "w"
    nap = f"{900 + os.getpid() % 97}.{time.time_ns() % 10**9}"  # no other run sleeps as long
    running, waiting = server.add(f"trap '' TERM; sleep {nap}"), server.add("true")
    options = WorkerOptions(f"127.0.0.1:{server.port}", 1, work_dir=home, kill_on_exit=True)
    server.settings = WorkerSettings(concurrency=1, prefetch=1)
    home.mkdir()
    agent = Agent(options)
    task = asyncio.create_task(agent.run())
    await server.phase_of(running, Phase.RUNNING)
    await server.phase_of(waiting, Phase.READY)
    agent.stopped.set()
    await task

    assert server.ended[running].outcome is Outcome.LOST
    assert server.ended[running].detail == "worker stopped"
    assert server.ended[waiting].cause is Cause.RETURNED
    assert not alive(nap)
    assert not alive(f"keeper\0{home}")
    assert not leftovers(home)


async def begun(server: ScriptedServer, folder: Path) -> tuple[Agent, "asyncio.Task[int]"]:
    """An agent to be meddled with, that the server has heard."""
    options = WorkerOptions(f"127.0.0.1:{server.port}", 1, work_dir=folder / "w", kill_on_exit=True)
    options.home.mkdir()
    agent = Agent(options)
    task = asyncio.create_task(agent.run())
    await server.until(lambda: server.reports)
    return agent, task


async def test_a_full_disk_refuses_and_recovers(server: ScriptedServer, tmp_path: Path) -> None:
    """A worker that cannot write its journal refuses leases in words, and works once it can."""
    agent, task = await begun(server, tmp_path)
    agent.journal._db.execute("PRAGMA query_only = 1")
    refused = server.add("true")
    await server.hand_out()
    ended = await server.end_of(refused)
    agent.journal._db.execute("PRAGMA query_only = 0")
    accepted = server.add("true")
    await server.hand_out()

    assert (ended.outcome, ended.cause) == (Outcome.REFUSED, Cause.DISK)
    assert succeeded(await server.end_of(accepted))
    agent.stopped.set()
    await task


async def test_the_journal_of_another_boot(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    """After a restart of the machine, everything unfinished is lost, and said to be."""
    ref = server.add("sleep 972.1")
    first = start()
    await server.phase_of(ref, Phase.RUNNING)
    await leave(first)
    end_keeper(tmp_path / "w")
    import sqlite3

    with contextlib.closing(sqlite3.connect(tmp_path / "w/journal.sqlite")) as db:
        db.execute("UPDATE identity SET boot = 'another'")
        db.commit()
    start()

    ended = await server.end_of(ref)
    assert ended.outcome is Outcome.LOST
    assert "restarted" in ended.detail


async def test_a_room_is_given_on_only_when_its_last_life_is_written_down(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """Until then the next agent would look for output in there, and clean up behind it.

    Found by the soak: an output was cleaned away by an agent that took over both lives of a room.
    """
    agent, task = await begun(server, tmp_path)
    agent.hands.write_down = lambda: None  # type: ignore[method-assign] # it never comes to that
    rooms = []
    for _ in range(2):
        ref = server.add("echo $INPUT")
        await server.hand_out()
        await server.end_of(ref)
        rooms.append(server.text(ref))

    assert rooms[0] != rooms[1]
    del agent.hands.write_down
    agent.stopped.set()
    await task
