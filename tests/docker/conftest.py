"""Tests with a real dockerd: one for the session, and a registry on a free port."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "worker"))  # the scripted server, the keeper

from private_docker import PrivateDocker, PrivateRegistry, docker_or_skip, program
from scripted import ScriptedServer
from worker_parts import end_keeper

from pytq.worker.agent import WorkerOptions, run_worker

Start = Callable[..., "asyncio.Task[int]"]


@pytest.fixture(scope="session")
def dockerd() -> Iterator[PrivateDocker]:
    """A dockerd that restores its containers, with `busybox:test` in it."""
    with docker_or_skip() as one:
        yield one


@pytest.fixture
def docker(dockerd: PrivateDocker, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateDocker]:
    """The session's dockerd, for workers of this test to find; without containers afterwards."""
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)
    monkeypatch.setenv("DOCKER_CONFIG", str(dockerd.room / "no-config"))
    yield dockerd
    dockerd.clear()


@pytest.fixture(scope="session")
def registry(dockerd: PrivateDocker) -> Iterator[PrivateRegistry]:
    """A registry that wants a login."""
    if program("docker-registry") is None:
        pytest.skip("not installed: docker-registry; scripts/system-packages installs it")
    one = PrivateRegistry()
    try:
        one.start()
        yield one
    finally:
        one.dispose()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    one = ScriptedServer()
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def start(
    server: ScriptedServer, tmp_path: Path, docker: PrivateDocker
) -> AsyncIterator[Start]:
    """Start a worker in this process; at the end it goes, and its tasks with it."""
    tasks: list[asyncio.Task[int]] = []

    def begin(**options: object) -> "asyncio.Task[int]":
        known = {"work_dir": tmp_path / "w", "concurrency": 2, "kill_on_exit": True, "name": "w"}
        known |= {"data_dir": None}
        given = WorkerOptions(f"127.0.0.1:{server.port}", **(known | options))  # type: ignore[arg-type]
        tasks.append(asyncio.create_task(run_worker(given)))
        return tasks[-1]

    yield begin
    for task in tasks:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    end_keeper(tmp_path / "w")
