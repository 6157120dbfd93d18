"""How containers end, by themselves and when told to; each end has its own words."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from container_parts import ended, step
from private_docker import PrivateDocker, private_docker
from scripted import ScriptedServer, succeeded
from worker_parts import wait_for

from pytq.schema.states import Cause, Outcome, Phase, Signal, Stream

Start = Callable[..., "asyncio.Task[int]"]
DEAF = "trap '' TERM; echo up; while true; do sleep 0.1; done"


@pytest.mark.parametrize(
    ("command", "options", "cause", "said"),
    [
        ("exit 3", (), Cause.EXIT, "ended with exit code 3"),
        ("kill -SEGV $$; sleep 1; exit 139", (), Cause.SIGNAL, "SIGSEGV (exit code 139)"),
        (["/bin/nope"], (), Cause.COMMAND, "/bin/nope"),
        (["nope"], (), Cause.COMMAND, "nope"),
        ("true", ("--workdir=/etc/passwd",), Cause.COMMAND, "/etc/passwd"),
        ("true", ("--entrypoint=/none",), Cause.COMMAND, "/none"),
        ("true", ("--shm-size=lots",), Cause.COMMAND, "--shm-size=lots: write a size"),
        ("true", ("--frobnicate",), Cause.COMMAND, "--frobnicate is none of the options"),
        ("true", ("--network=nosuchnet",), Cause.COMMAND, "nosuchnet"),
    ],
)
async def test_a_failure_says_why(
    server: ScriptedServer,
    start: Start,
    command: str | list[str],
    options: tuple[str, ...],
    cause: Cause,
    said: str,
) -> None:
    """Each way to fail has its cause and a sentence that names the culprit."""
    ref = server.add(steps=[step(command, *options)])
    start()
    end = await ended(server, ref)

    assert (end.outcome, end.cause) == (Outcome.FAILED, cause)
    assert said in end.detail


async def test_out_of_memory_is_told_apart(server: ScriptedServer, start: Start) -> None:
    """A container killed for its memory limit says so; one that just exits with 137 does not."""
    greedy = server.add(
        steps=[step("tail -c 200000000 /dev/zero | wc -c; exit 137")],
        request={"memory": 24 * 2**20},
    )
    honest = server.add(steps=[step("exit 137")], request={"memory": 24 * 2**20})
    start()
    end = await ended(server, greedy)

    assert (end.outcome, end.cause, end.exit_code) == (Outcome.FAILED, Cause.OOM, 137)
    said, _, _words = end.detail.partition(" MiB")  # the shell's own word may follow
    assert said == "the command ran out of memory: its limit is 24"
    assert (await ended(server, honest)).cause is Cause.SIGNAL


async def test_a_time_limit_ends_a_container(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """A container that runs too long is asked to end, and is; its last words are kept."""
    polite = "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.1; done"
    ref = server.add(steps=[step(polite)], timeouts={"run": 1.5})
    start()
    end = await ended(server, ref)

    assert (end.outcome, end.cause) == (Outcome.FAILED, Cause.TIMEOUT)
    assert server.text(ref) == "up\nbye\n"
    assert not docker.cli("ps", "--quiet")


async def test_term_becomes_kill(server: ScriptedServer, start: Start) -> None:
    """A container that will not end is killed when its grace is over; --stop-timeout sets that."""
    ref = server.add(steps=[step(DEAF, "--stop-timeout=1")])
    start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    await server.signal(ref, Signal.TERM)
    end = await ended(server, ref)

    assert (end.outcome, end.exit_code) == (Outcome.CANCELLED, 137)


async def test_kill_is_at_once(server: ScriptedServer, start: Start) -> None:
    """A killed container has no time to object, not even when it is frozen."""
    refs = [server.add(steps=[step(DEAF)]) for _ in range(2)]
    start()
    for ref in refs:
        await server.until(lambda r=ref: server.text(r) == "up\n", 40)
    await server.signal(refs[0], Signal.PAUSE)
    await server.until(lambda: any(p.paused for r in server.reports for p in r.progress))
    for ref in refs:
        await server.signal(ref, Signal.KILL)

    assert {(await ended(server, ref, 9)).outcome for ref in refs} == {Outcome.CANCELLED}


async def test_pause_and_resume(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """A paused container is frozen, and goes on when resumed."""
    ref = server.add(steps=[step("echo up; sleep 1; echo done")])
    start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    await server.signal(ref, Signal.PAUSE)
    frozen = ("ps", "--quiet", "--filter=status=paused")
    await asyncio.to_thread(wait_for, lambda: docker.cli(*frozen), 20)
    await asyncio.sleep(1.5)
    assert server.text(ref) == "up\n"
    await server.signal(ref, Signal.RESUME)

    assert succeeded(await ended(server, ref))
    assert server.text(ref) == "up\ndone\n"


async def test_a_signal_that_comes_early_counts(server: ScriptedServer, start: Start) -> None:
    """A task cancelled while its container is still being made never runs."""
    ref = server.add(steps=[step("sleep 60")])
    start()
    await server.phase_of(ref, Phase.RUNNING)
    await server.signal(ref, Signal.KILL)

    assert (await ended(server, ref, 9)).outcome is Outcome.CANCELLED


async def test_a_container_removed_by_others_is_lost(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """Whoever removes a running container costs its task nothing: it is lost, and says so."""
    ref = server.add(steps=[step("echo up; sleep 60")])
    start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    docker.cli("rm", "--force", *docker.containers())
    end = await ended(server, ref)

    assert (end.outcome, end.cause) == (Outcome.LOST, Cause.LOST)
    assert "removed" in end.detail


async def test_what_a_container_used_is_told(server: ScriptedServer, start: Start) -> None:
    """CPU seconds and memory of a container that runs for a while are near the truth."""
    hold = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); i=0"
    hold += "; while [ $i -lt 400000 ]; do i=$((i+1)); done"
    ref = server.add(steps=[step(f"{hold}; sleep 2.5; true")])
    start()
    end = await ended(server, ref)

    assert succeeded(end)
    assert end.cpu_seconds is not None
    assert end.cpu_seconds > 0.2
    assert end.memory is not None
    assert 30_000_000 < end.memory < 300_000_000


async def test_a_restart_of_dockerd_is_survived(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """Where dockerd restores its containers, they run through its restart; no output is missed."""
    count = "for i in 1 2 3 4 5 6 7 8 9; do echo $i; echo $i >&2; sleep 0.4; done; exit 5"
    ref = server.add(steps=[step(count)])
    start()
    await server.until(lambda: server.text(ref).startswith("1\n2\n"), 40)
    await asyncio.to_thread(docker.stop)
    await asyncio.to_thread(docker.start)
    end = await ended(server, ref, 60)

    assert (end.outcome, end.exit_code) == (Outcome.FAILED, 5)
    assert server.text(ref) == "".join(f"{i}\n" for i in range(1, 10))
    assert server.text(ref, Stream.STDERR) == server.text(ref)


async def test_dockerd_killed_and_back(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """After kill -9 of dockerd, what ran is followed to its end, and what had not started waits."""
    ref = server.add(steps=[step("echo up; sleep 2; echo end; exit 6")])
    start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    await asyncio.to_thread(docker.stop, signal.SIGKILL)
    later = server.add(steps=[step("echo later")])
    await server.hand_out()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(docker.start)

    assert (await ended(server, ref, 60)).exit_code == 6
    assert server.text(ref) == "up\nend\n"
    assert succeeded(await ended(server, later, 60))


async def test_a_dockerd_that_hangs_is_given_up(
    server: ScriptedServer, start: Start, docker: PrivateDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dockerd that takes calls and never answers holds up no task for ever: it is lost."""
    monkeypatch.setattr("pytq.worker.containers.GREET_SECONDS", 0.2)
    monkeypatch.setattr("pytq.worker.containers.MISSED_SECONDS", 0.5)
    monkeypatch.setattr("pytq.worker.containers.AWAY_SECONDS", 2.0)
    monkeypatch.setattr("pytq.worker.runners.docker.dockerd.PING_SECONDS", 1.0)
    ref = server.add(steps=[step("echo up; sleep 300")], timeouts={"run": 1})
    plain = server.add(["true"])
    start()
    await server.until(lambda: server.text(ref) == "up\n", 40)
    os.kill(docker.pid, signal.SIGSTOP)
    try:
        end = await ended(server, ref)
        assert succeeded(await ended(server, plain))
        assert not server.hellos[-1].containers
    finally:
        os.kill(docker.pid, signal.SIGCONT)

    assert end.cause in (Cause.LOST, Cause.TIMEOUT)
    await asyncio.to_thread(wait_for, lambda: not docker.containers(), 30)


async def test_without_live_restore_a_restart_is_a_loss(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch, docker: PrivateDocker
) -> None:
    """A dockerd that ends its containers when it stops never makes a success of one."""
    polite = "trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done"
    ref = server.add(steps=[step(polite)])
    with private_docker(live_restore=False) as other:
        monkeypatch.setenv("DOCKER_HOST", other.host)
        worker = start()
        await server.until(lambda: server.text(ref) == "up\n", 40)
        await asyncio.to_thread(other.stop)
        await asyncio.to_thread(other.start)
        end = await ended(server, ref, 60)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    assert (end.outcome, end.detail) == (Outcome.LOST, "dockerd was restarted under it")


async def test_a_worker_without_docker_says_so(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dockerd a worker runs what needs none, says so, and hands back the rest."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    container, plain = server.add(steps=[step("true")]), server.add(["true"])
    start()

    assert succeeded(await ended(server, plain))
    assert not server.hellos[0].containers
    end = await ended(server, container)
    assert (end.outcome, end.detail) == (Outcome.REFUSED, "this worker has no Docker now")


async def test_a_dockerd_that_comes_later_is_told(
    server: ScriptedServer,
    start: Start,
    docker: PrivateDocker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that was started before dockerd says hello anew once dockerd is there."""
    monkeypatch.setattr("pytq.worker.containers.GREET_SECONDS", 0.5)
    await asyncio.to_thread(docker.stop)
    try:
        start()
        await server.until(lambda: server.hellos, 20)
        assert not server.hellos[0].containers
    finally:
        await asyncio.to_thread(docker.start)
    await server.until(lambda: server.hellos[-1].containers, 30)
    ref = server.add(steps=[step("true")])
    await server.hand_out()

    assert succeeded(await ended(server, ref))
