"""The worker's tests: real processes, real folders, a real link."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedServer
from worker_parts import Keeper, end_keeper

from pytq.worker.agent import WorkerOptions, run_worker

Start = Callable[..., "asyncio.Task[int]"]


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    one = Keeper(tmp_path)
    yield one
    one.close()


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


@pytest.fixture
async def processes(server: ScriptedServer, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start the worker as a process of its own, so that it can be killed."""
    started: list[asyncio.subprocess.Process] = []

    async def begin(*more: str, **env: str) -> asyncio.subprocess.Process:
        words = ["worker", f"127.0.0.1:{server.port}", "2", "--name", "w", "--kill", *more]
        words += ["--work-dir", str(tmp_path / "w")]
        one = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytq.cli.main", *words), env=os.environ | env
        )
        started.append(one)
        return one

    yield begin
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.kill()
        await one.wait()
    end_keeper(tmp_path / "w")
