"""A whole worker against a server that follows a script: real link, journal, keeper, processes."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from scripted import ScriptedServer, leftovers, succeeded
from worker_parts import alive, wait_for

from pytq.schema import limits
from pytq.schema.frames import Turned
from pytq.schema.states import Cause, Outcome, Phase, Signal, Stream
from pytq.schema.views import WorkerSettings
from pytq.worker.agent import Agent, WorkerError, WorkerOptions, run_worker

Start = Callable[..., "asyncio.Task[int]"]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    one = ScriptedServer()
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def start(server: ScriptedServer, tmp_path: Path) -> AsyncIterator[Start]:
    """Start a worker in this process; at the end it goes, and its tasks with it."""
    tasks: list[asyncio.Task[int]] = []

    def begin(**options: object) -> "asyncio.Task[int]":
        known = {"work_dir": tmp_path / "w", "concurrency": 2, "kill_on_exit": True, "name": "w"}
        given = WorkerOptions(f"127.0.0.1:{server.port}", **(known | options))  # type: ignore[arg-type]
        tasks.append(asyncio.create_task(run_worker(given)))
        return tasks[-1]

    yield begin
    for task in tasks:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    end_keeper(tmp_path / "w")


def end_keeper(home: Path) -> None:
    """Whatever a test left running goes now."""
    for pid in alive(f"keeper\0{home}"):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(f"keeper\0{home}"))


def keeper_of(home: Path) -> int:
    """The keeper's pid: its parent, the guardian, has the same command line."""
    pair = alive(f"keeper\0{home}")
    (keeper,) = [pid for pid in pair if parent(pid) in pair]
    return keeper


def parent(pid: int) -> int:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[1])


async def leave(task: "asyncio.Task[int]") -> None:
    """As SIGTERM does without --kill: tasks live on."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_task_runs(server: ScriptedServer, start: Start) -> None:
    """A lease comes in, its command runs, output and outcome are told."""
    ref = server.add("echo out; echo err >&2")
    start()
    ended = await server.end_of(ref)

    assert succeeded(ended)
    assert ended.exit_code == 0
    assert ended.running is not None
    assert (ended.stdout_bytes, ended.stderr_bytes) == (4, 4)
    assert server.text(ref) == "out\n"
    assert server.text(ref, Stream.STDERR) == "err\n"


@pytest.mark.parametrize(
    ("task", "outcome", "cause", "said"),
    [
        ({"command": "exit 3"}, Outcome.FAILED, Cause.EXIT, "exit code 3"),
        ({"command": "kill -SEGV $$"}, Outcome.FAILED, Cause.SIGNAL, "SIGSEGV"),
        ({"command": ["xyz"]}, Outcome.FAILED, Cause.COMMAND, "command not found: xyz"),
        (
            {"steps": [{"command": "true", "workdir": "/data"}]},
            Outcome.FAILED,
            Cause.COMMAND,
            "/data",
        ),
        (
            {"command": "true", "mounts": [{"source": "file:///none", "path": "/input/x"}]},
            Outcome.FAILED,
            Cause.INPUT,
            "file:///none",
        ),
        (
            {"command": "true", "mounts": [{"content": "x", "path": "/etc/x"}]},
            Outcome.FAILED,
            Cause.COMMAND,
            "/etc/x",
        ),
        (
            {"command": "sleep 977.1", "timeouts": {"run": 0.2}},
            Outcome.FAILED,
            Cause.TIMEOUT,
            "time limit",
        ),
        (
            {"command": "true", "outputs": [{"path": "/output/x", "destination": "file:///tmp/x"}]},
            Outcome.FAILED,
            Cause.OUTPUT,
            "No such file",
        ),
    ],
)
async def test_a_failure_says_why(
    server: ScriptedServer,
    start: Start,
    task: dict[str, object],
    outcome: Outcome,
    cause: Cause,
    said: str,
) -> None:
    """Each way to fail has its outcome, its cause and a sentence that names the culprit."""
    ref = server.add(**task)  # type: ignore[arg-type]
    start()
    ended = await server.end_of(ref)

    assert (outcome, cause) == (ended.outcome, ended.cause)
    assert said in ended.detail


async def test_steps_inputs_and_outputs(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    """Steps run in order over staged inputs; success comes when the output is in its place."""
    (tmp_path / "in").write_text("5\n")
    ref = server.add(
        steps=[
            {"command": "cat $INPUT/in > /dev/stdout; false", "ignore_error": True},
            {"command": ["cat"], "stdin": "/input/in", "stdout": "/output/deep/copy"},
            {"command": "pwd; cat script", "workdir": "/work", "env": {"X": "y"}},
        ],
        mounts=[
            {"source": f"file://{tmp_path}/in", "path": "/input/in"},
            {"content": "literal", "path": "/work/script"},
        ],
        outputs=[{"path": "/output", "destination": f"file://{tmp_path}/out/", "directory": True}],
    )
    start()
    ended = await server.end_of(ref)

    assert succeeded(ended), ended
    assert (tmp_path / "out/deep/copy").read_text() == "5\n"
    assert server.text(ref).endswith("/work\nliteral")
    assert None not in (ended.downloading, ended.ready, ended.running, ended.uploading)


async def test_many_tiny_tasks(server: ScriptedServer, start: Start) -> None:
    """Hundreds of tiny tasks all end, in few reports and few rooms, with leases held ahead."""
    refs = [server.add(["true"]) for _ in range(400)]
    start()
    await server.until(lambda: len(server.ended) == len(refs), 30)

    assert all(succeeded(server.ended[ref]) for ref in refs)
    assert len(server.reports) < 200
    assert max(report.capacity for report in server.reports) > 10


async def test_output_comes_while_a_task_runs(server: ScriptedServer, start: Start) -> None:
    """What a task has written can be read before it has ended."""
    ref = server.add("echo first; sleep 30")
    start()
    await server.until(lambda: server.text(ref) == "first\n")
    await server.signal(ref, Signal.KILL)

    assert (await server.end_of(ref)).outcome is Outcome.CANCELLED


async def test_a_flood_of_output_is_bounded_and_its_tail_kept(
    server: ScriptedServer, start: Start
) -> None:
    """Of twenty mebibytes the head and the last mebibyte arrive, before the outcome."""
    ref = server.add("head -c 20000000 /dev/zero | tr '\\0' x; printf END")
    start()
    ended = await server.end_of(ref, 20)
    output = server.output[ref, Stream.STDOUT]

    assert ended.stdout_bytes == len(output) == 20_000_003
    assert output.endswith(b"xEND")
    assert output.startswith(b"x" * limits.OUTPUT_HEAD_BYTES)
    assert b"\0" not in output[-limits.OUTPUT_TAIL_BYTES :]


async def test_pause_and_resume(server: ScriptedServer, start: Start) -> None:
    """A paused execution is told as paused, and goes on when resumed."""
    ref = server.add("sleep 0.3; echo done")
    start()
    await server.phase_of(ref, Phase.RUNNING)
    await server.signal(ref, Signal.PAUSE)
    await server.until(lambda: any(p.paused for r in server.reports for p in r.progress))
    await asyncio.sleep(0.5)
    assert ref not in server.ended
    await server.signal(ref, Signal.RESUME)

    assert succeeded(await server.end_of(ref))


async def test_settings_are_applied_live(server: ScriptedServer, start: Start) -> None:
    """More concurrency takes effect at once, and the worker says which settings it obeys."""
    server.settings = WorkerSettings(version=1, concurrency=1)
    refs = [server.add("sleep 30") for _ in range(3)]
    start()
    await server.phase_of(refs[0], Phase.RUNNING)
    await server.order(settings=WorkerSettings(version=2, concurrency=3))
    for ref in refs:
        await server.phase_of(ref, Phase.RUNNING)

    assert server.reports[-1].applied == 2
    await server.order(settings=WorkerSettings(version=3, concurrency=3, draining=True))
    await server.until(lambda: server.reports[-1].capacity == 0)


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
    await server.stop()
    for _ in range(300):
        if not alive("sleep\000974.1"):
            break
        await asyncio.sleep(0.02)
    await server.start()

    assert (await server.end_of(ref)).outcome is Outcome.LOST


async def test_kill_leaves_nothing_behind(server: ScriptedServer, tmp_path: Path) -> None:
    """Stopped with --kill, a worker ends its tasks, says so, and leaves no process or socket."""
    home = tmp_path / "w"
    running, waiting = server.add("trap '' TERM; sleep 973.1"), server.add("true")
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
    assert not alive("973.1")
    assert not alive(f"keeper\0{home}")
    assert not leftovers(home)


async def test_a_full_disk_refuses_and_recovers(server: ScriptedServer, tmp_path: Path) -> None:
    """A worker that cannot write its journal refuses leases in words, and works once it can."""
    options = WorkerOptions(
        f"127.0.0.1:{server.port}", 1, work_dir=tmp_path / "w", kill_on_exit=True
    )
    options.home.mkdir()
    agent = Agent(options)
    task = asyncio.create_task(agent.run())
    await server.until(lambda: server.reports)
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


async def test_a_second_worker_in_the_same_place_is_refused(
    server: ScriptedServer, start: Start
) -> None:
    """Two workers cannot share a work directory; the refusal says what to do."""
    start()
    await server.until(lambda: server.reports)

    with pytest.raises(WorkerError, match="--name"):
        await start()


async def test_a_refusing_server_ends_the_worker(server: ScriptedServer, start: Start) -> None:
    """When the server says that coming back is no use, the worker ends with its reason."""
    server.turned = Turned(message="no such batch; make it first")

    with pytest.raises(WorkerError, match="make it first"):
        await start()


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
