"""Containers outlive their agent; whoever comes next finds them, and nobody runs them twice."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from container_parts import ended, step
from private_docker import PrivateDocker
from scripted import ScriptedServer, succeeded
from worker_parts import end_keeper, keeper_of, leave, wait_for

from pytq.schema.frames import root_of
from pytq.schema.states import Cause, Outcome, Stream

Start = Callable[..., "asyncio.Task[int]"]
Spawn = Callable[..., "asyncio.subprocess.Process"]
COUNT = "for i in 1 2 3 4 5 6 7 8; do echo $i; echo e$i >&2; sleep 0.3; done"
COUNTED = "".join(f"{i}\n" for i in range(1, 9))
COUNTED_ERR = "".join(f"e{i}\n" for i in range(1, 9))


@pytest.fixture
async def spawn(
    server: ScriptedServer, tmp_path: Path, docker: PrivateDocker
) -> AsyncIterator[Spawn]:
    """Start a worker as a process of its own, as people do."""
    workers: list[asyncio.subprocess.Process] = []

    async def begin(*options: str) -> asyncio.subprocess.Process:
        words = ["worker", f"127.0.0.1:{server.port}", "2", "--work-dir", str(tmp_path / "w")]
        with (tmp_path / "log").open("ab") as log:
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pytq.cli.main", *words, *options), stderr=log
            )
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    end_keeper(tmp_path / "w")


async def test_kill_9_of_the_agent_loses_nothing(
    server: ScriptedServer, spawn: Spawn, docker: PrivateDocker
) -> None:
    """An agent killed in the middle is followed by one that has all the output, once."""
    ref = server.add(steps=[step(f"{COUNT}; exit 7")])
    first = await spawn()
    await server.until(lambda: server.text(ref).startswith("1\n2\n"), 40)
    names = docker.containers()
    first.kill()
    await first.wait()
    await spawn()
    end = await ended(server, ref)

    assert (end.outcome, end.exit_code) == (Outcome.FAILED, 7)
    assert server.text(ref) == COUNTED
    assert server.text(ref, Stream.STDERR) == COUNTED_ERR
    assert (end.stdout_bytes, end.stderr_bytes) == (len(COUNTED), len(COUNTED_ERR))
    assert len(names) == 1


async def test_a_container_that_ended_alone_is_found(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """What ended while no agent was there is told by the next: exit code, output, and how long."""
    ref = server.add(steps=[step("echo up; sleep 0.6; seq 20000; exit 8")])
    first = start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    await leave(first)
    await asyncio.to_thread(wait_for, lambda: not docker.cli("ps", "--quiet"), 20)
    start()
    end = await ended(server, ref)

    assert end.exit_code == 8
    assert server.text(ref) == "up\n" + "".join(f"{number}\n" for number in range(1, 20001))
    assert end.running is not None


async def test_the_next_step_follows_a_takeover(
    server: ScriptedServer, spawn: Spawn, tmp_path: Path
) -> None:
    """Steps go on after a takeover: a container, then a process, then a container."""
    runs = tmp_path / "runs"
    ref = server.add(
        steps=[
            step("echo one; sleep 1.5; echo end of one"),
            {"command": f"echo two; echo x >> {runs}; sleep 1"},
            step("echo three"),
        ]
    )
    first = await spawn()
    await server.until(lambda: server.text(ref) == "one\n", 40)
    first.kill()
    await first.wait()
    second = await spawn()
    await server.until(lambda: server.text(ref).endswith("two\n"), 40)
    second.kill()
    await second.wait()
    await spawn()

    assert succeeded(await ended(server, ref))
    assert server.text(ref) == "one\nend of one\ntwo\nthree\n"
    assert runs.read_text() == "x\n"


async def test_a_kill_order_outlives_the_agent(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    """A task told to end says why it did, even when the agent went before it had ended."""
    deaf = "trap '' TERM; echo up; sleep 3; echo on; sleep 60"
    ref = server.add(steps=[step(deaf, "--stop-timeout=2")], timeouts={"run": 1})
    first = start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    await asyncio.sleep(1.3)  # its time limit has passed, its grace has not
    await leave(first)
    start()

    assert (await ended(server, ref)).cause is Cause.TIMEOUT


async def test_a_worker_with_kill_leaves_no_container(
    server: ScriptedServer, spawn: Spawn, docker: PrivateDocker, tmp_path: Path
) -> None:
    """Stopped with --kill, a worker ends its containers, says so, and leaves nothing behind."""
    ref = server.add(steps=[step("trap '' TERM; echo up; while true; do sleep 0.1; done")])
    worker = await spawn("--kill")
    await server.until(lambda: server.text(ref) == "up\n", 40)
    worker.terminate()
    await worker.wait()

    assert worker.returncode == 0
    assert server.ended[ref].detail == "worker stopped"
    assert docker.containers() == []
    assert not list((tmp_path / "w").glob("*.sock"))


async def test_fenced_containers_are_stopped(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """What the server has handed on is killed and removed, and never reported."""
    ref = server.add(steps=[step("echo up; sleep 60")])
    start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    server.fenced = [ref]
    await server.hang_up()
    await asyncio.to_thread(wait_for, lambda: not docker.containers(), 30)

    assert not server.told


async def test_strangers_containers_are_left_alone(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """A worker removes what is left of its own past, and nothing of anybody else's."""
    ref = server.add(steps=[step("true")])
    first = start()
    assert succeeded(await ended(server, ref))
    await leave(first)
    mine = f"--label=pytq.worker={root_of(server.hellos[0].identity)}"
    docker.cli("create", "--name=old", mine, "--label=pytq.task=999", "busybox:test", "true")
    docker.cli("create", "--name=other", "--label=pytq.worker=another", "busybox:test", "true")
    start()

    await asyncio.to_thread(wait_for, lambda: docker.containers() == ["other"], 30)


async def test_after_a_reboot_all_is_lost(
    server: ScriptedServer, start: Start, docker: PrivateDocker, tmp_path: Path
) -> None:
    """After a restart of the machine a container that ended is not believed, exit code 0 or not."""
    ref = server.add(steps=[step("echo up; sleep 0.5")])
    first = start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    await leave(first)
    end_keeper(tmp_path / "w")
    with contextlib.closing(sqlite3.connect(tmp_path / "w/journal.sqlite")) as db:
        db.execute("UPDATE identity SET boot = 'another'")
        db.commit()
    await asyncio.to_thread(wait_for, lambda: not docker.cli("ps", "--quiet"), 20)
    start()

    end = await ended(server, ref)
    assert end.outcome is Outcome.LOST
    assert "restarted" in end.detail


async def test_a_lost_server_ends_containers_by_lease(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """Without an answer for the lease's time, containers are stopped; they are lost, not failed."""
    server.lease_seconds = 2.0
    ref = server.add(steps=[step("trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done")])
    start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    await server.fall_silent()
    await asyncio.to_thread(wait_for, lambda: not docker.cli("ps", "--quiet"), 20)
    server.wake()

    end = await ended(server, ref)
    assert (end.outcome, end.cause) == (Outcome.LOST, Cause.LOST)
    assert "not been heard" in end.detail


async def test_a_dead_agent_and_a_passed_lease_leave_nothing_running(
    server: ScriptedServer, spawn: Spawn, docker: PrivateDocker, tmp_path: Path
) -> None:
    """The keeper ends containers when the lease passes, frozen ones too, and then goes."""
    server.lease_seconds = 3.0
    first = server.add(steps=[step("trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done")])
    second = server.add(steps=[step("trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done")])
    worker = await spawn()
    for ref in (first, second):
        await server.until(lambda r=ref: server.text(r) == "up\n", 40)
    docker.cli("pause", docker.containers()[0])
    worker.kill()
    await worker.wait()
    await asyncio.to_thread(wait_for, lambda: not docker.cli("ps", "--quiet"), 40)
    await asyncio.to_thread(wait_for, lambda: not list((tmp_path / "w").glob("*.sock")), 40)
    await spawn()

    for ref in (first, second):
        end = await ended(server, ref)
        assert (end.outcome, end.cause) == (Outcome.LOST, Cause.LOST)
        assert "not been heard" in end.detail


async def test_a_killed_keeper_does_not_harm_containers(
    server: ScriptedServer, start: Start, docker: PrivateDocker, tmp_path: Path
) -> None:
    """Dockerd holds containers: should the keeper die they run on, guarded by the next one."""
    server.lease_seconds = 6.0
    ref = server.add(steps=[step("echo up; sleep 2; echo end")])
    start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    os.kill(keeper_of(tmp_path / "w"), signal.SIGKILL)

    assert succeeded(await ended(server, ref))
    assert server.text(ref) == "up\nend\n"


async def test_a_container_is_never_started_twice(
    server: ScriptedServer, spawn: Spawn, tmp_path: Path, docker: PrivateDocker
) -> None:
    """The name is the fence: agents killed at any moment leave each task to run exactly once."""
    runs = tmp_path / "data"
    runs.mkdir()
    count = "for i in 1 2 3; do echo $i; sleep 0.1; done"
    for number in range(12):
        server.add(steps=[step(f"echo x >> /data/{number}; {count}")])
    for _ in range(30):
        worker = await spawn(f"--data={runs}")
        done = len(server.ended)
        with contextlib.suppress(TimeoutError):
            await server.until(lambda d=done: len(server.ended) > min(d + 1, 11), 8)
        if len(server.ended) == 12:
            break
        worker.kill()
        await worker.wait()

    kept = {ref for ref, end in server.ended.items() if end.outcome is not Outcome.REFUSED}
    assert [server.ended[ref] for ref in kept if not succeeded(server.ended[ref])] == []
    assert {path.read_text() for path in runs.iterdir()} == {"x\n"}
    assert len(list(runs.iterdir())) == len(kept)
    assert {server.text(ref) for ref in kept} == {"1\n2\n3\n"}


@pytest.mark.parametrize("doing", ["create", "start"])
async def test_an_agent_killed_while_it_starts_a_container(
    server: ScriptedServer,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    doing: str,
) -> None:
    """Gone before dockerd was asked to make a container, or to start it: the next agent does."""
    asked = asyncio.Event()

    async def hang(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    ref = server.add(steps=[step("echo once")])
    with monkeypatch.context() as patch:
        patch.setattr(f"pytq.worker.runners.docker.dockerd.Dockerd.{doing}", hang)
        first = start()
        await asyncio.wait_for(asked.wait(), 30)
        await leave(first)
    start()

    assert succeeded(await ended(server, ref))
    assert server.text(ref) == "once\n"


async def test_a_keeper_without_memory_starts_nothing_twice(
    server: ScriptedServer, spawn: Spawn, tmp_path: Path
) -> None:
    """Should the keeper and its log be gone, the container of that name is found all the same."""
    runs = tmp_path / "data"
    runs.mkdir()
    first = step("echo x >> /data/x; echo one; sleep 2.5; echo two")
    ref = server.add(steps=[first, step("cat /data/x")])
    worker = await spawn(f"--data={runs}")
    await server.until(lambda: server.text(ref) == "one\n", 40)
    worker.kill()
    await worker.wait()
    end_keeper(tmp_path / "w")
    (tmp_path / "w/keeper.log").unlink()
    await spawn(f"--data={runs}")

    assert succeeded(await ended(server, ref))
    assert server.text(ref) == "one\ntwo\nx\n"


async def test_stdin_cut_short_is_not_believed(
    server: ScriptedServer, spawn: Spawn, tmp_path: Path
) -> None:
    """A container whose agent died while it was being fed is lost, whatever its exit code."""
    (tmp_path / "in").write_bytes(bytes(20_000_000))
    mounts = [{"source": f"file://{tmp_path}/in", "path": "/input/in"}]
    slow = step("echo up; sleep 3; wc -c", stdin="/input/in")
    ref = server.add(steps=[slow], mounts=mounts)
    first = await spawn()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    first.kill()
    await first.wait()
    await spawn()

    end = await ended(server, ref)
    assert (end.outcome, end.cause) == (Outcome.LOST, Cause.LOST)
    assert "stdin" in end.detail
