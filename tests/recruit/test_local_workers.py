"""The provider `local`, for real: a server's own workers come, work, outlive it, and go."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from system import System

from pytq.client import Client
from pytq.schema.recruit import JOB_ENDED, JobStatus, JobView, Recruit
from pytq.schema.states import Stream, TaskStatus

SECONDS = 60.0
CPUS = len(os.sched_getaffinity(0))


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A system whose server is not started yet; whatever it recruited ends with the test."""
    system = System(tmp_path, None)
    system.env |= {"OS_PASSWORD": "secret of the cloud", "HOME": str(tmp_path)}
    yield system
    system.stop()
    for process in ours(tmp_path):
        process.kill()
    psutil.wait_procs(ours(tmp_path), timeout=10)


def ours(folder: Path) -> list[psutil.Process]:
    """Processes of recruited workers."""
    found = []
    for process in psutil.process_iter():
        try:
            local = any(f"{folder}/data/local/" in word for word in process.cmdline())
        except psutil.Error:
            continue
        if local and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def agents(folder: Path) -> list[psutil.Process]:
    return [one for one in ours(folder) if "worker" in one.cmdline()[3:4]]


@asynccontextmanager
async def client(system: System) -> AsyncIterator[Client]:
    token = system.headers()["Authorization"].removeprefix("Bearer ")
    async with Client(system.address, token=token, patience=5) as client:
        yield client


async def until(true: Callable[[], Awaitable[object]]) -> None:
    for _ in range(int(SECONDS / 0.05)):
        if await true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to that")


async def end_of(asking: Client, job: int) -> JobView:
    async def ended() -> bool:
        return (await asking.get_job(job)).status in JOB_ENDED

    await until(ended)
    return await asking.get_job(job)


@pytest.mark.skipif(CPUS < 2, reason="a machine with one CPU has no parts")
async def test_recruited_workers_work_and_are_released(system: System, tmp_path: Path) -> None:
    """They join their batch with a CPU each, run its tasks without our secrets, and go."""
    system.start_server()
    async with client(system) as asking:
        job = await asking.recruit(Recruit(count=2, flavor="small", batch="run7"))
        assert (await end_of(asking, job.id)).status is JobStatus.SUCCEEDED
        workers = await asking.list_workers()
        assert [(one.settings.batch, one.cpus) for one in workers] == [("run7", 1)] * 2
        assert all("OS_PASSWORD" not in one.environ() for one in agents(tmp_path))
        submitted = await asking.submit_tasks({"command": "nproc; env", "batch": "run7"})
        assert (await asking.wait_for_tasks(submitted.ids, 20)).done
        output = await asking.get_output(submitted.ids[0], 1, Stream.STDOUT)
        assert output.data.startswith(b"1\n")
        assert b"secret" not in output.data

        [local] = await asking.list_providers()
        small = next(flavor for flavor in local.flavors if flavor.name == "small")
        assert small.available == 4 * CPUS - 2
        for worker in workers:
            release = await asking.release_worker(worker.name)
            assert (await end_of(asking, release.id)).status is JobStatus.SUCCEEDED

        assert await asking.list_workers() == []
    assert ours(tmp_path) == []
    assert list((tmp_path / "data" / "local").iterdir()) == []


async def test_they_outlive_the_server(system: System, tmp_path: Path) -> None:
    """A task runs on while the server is away; the next server finds its workers and their end."""
    system.start_server()
    async with client(system) as asking:
        job = await asking.recruit(Recruit())
        await end_of(asking, job.id)
        gate = tmp_path / "gate"
        waiting = f"while ! test -e {gate}; do sleep 0.1; done"
        [task] = (await asking.submit_tasks({"command": waiting})).ids

        async def runs() -> bool:
            return bool((await asking.get_task(task)).status is TaskStatus.ACTIVE)

        await until(runs)
    before = {one.pid for one in agents(tmp_path)}
    system.kill_server()
    gate.touch()
    system.start_server()

    async with client(system) as asking:
        assert (await asking.wait_for_tasks([task], 25)).done
        assert (await asking.get_task(task)).attempt == 1
        assert before == {one.pid for one in agents(tmp_path)}
        [worker] = await asking.list_workers()
        release = await asking.release_worker(worker.name)
        assert (await end_of(asking, release.id)).status is JobStatus.SUCCEEDED
    assert ours(tmp_path) == []


async def test_a_killed_worker_is_released_with_what_it_held(
    system: System, tmp_path: Path
) -> None:
    """Kill -9: releasing ends the keeper and the task it left, and the task goes to others."""
    system.start_server()
    async with client(system) as asking:
        await end_of(asking, (await asking.recruit(Recruit())).id)
        [task] = (await asking.submit_tasks({"command": f"exec sleep 1000 # {tmp_path}"})).ids

        async def runs() -> bool:
            return bool((await asking.list_workers())[0].running)

        await until(runs)
        [agent] = agents(tmp_path)
        agent.send_signal(signal.SIGKILL)

        async def offline() -> bool:
            return (await asking.list_workers())[0].status == "offline"

        await until(offline)
        [worker] = await asking.list_workers()
        release = await asking.release_worker(worker.name)
        ended = await end_of(asking, release.id)

        assert ended.status is JobStatus.SUCCEEDED
        assert "handed on" in await asking.whole_job_log(release.id)
        assert (await asking.get_task(task)).status is TaskStatus.PENDING
    assert ours(tmp_path) == []


async def test_a_worker_that_cannot_start_is_told(system: System, tmp_path: Path) -> None:
    """The job fails with the worker's own words, and leaves nothing behind."""
    system.env["PYTQ_REACHED_AT"] = "no server at all"
    system.start_server()
    async with client(system) as asking:
        ended = await end_of(asking, (await asking.recruit(Recruit())).id)

    assert ended.status is JobStatus.FAILED
    assert "no server address" in ended.detail
    assert ours(tmp_path) == []
    assert list((tmp_path / "data" / "local").iterdir()) == []


async def test_cancelling_ends_who_is_on_the_way(system: System, tmp_path: Path) -> None:
    """Workers that are started and not yet there go when their job is cancelled."""
    system.env["PYTQ_REACHED_AT"] = "127.0.0.1:9"  # nobody listens there
    system.start_server()
    async with client(system) as asking:
        job = await asking.recruit(Recruit(count=2))

        async def started() -> bool:
            return len(agents(tmp_path)) == 2

        await until(started)
        await asking.cancel_job(job.id)

        assert (await end_of(asking, job.id)).status is JobStatus.CANCELLED
    assert ours(tmp_path) == []
