"""A whole worker that brings data, shares it, and takes results away."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from origin import Origin, origin
from scripted import ScriptedServer, succeeded
from staging_parts import names, resource, wants

from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Outcome, Phase
from pytq.schema.views import Cleaning, Pin, ResourceView, Staging, WorkerSettings

Start = Callable[..., "asyncio.Task[int]"]

DATA = os.urandom(3_000_000)
SUM = hashlib.sha256(DATA).hexdigest()
CHECK = f"echo '{SUM}  db' | (cd $RESOURCE && sha256sum -c --quiet)"


@pytest.fixture
async def web() -> AsyncIterator[Origin]:
    async with origin() as one:
        yield one


def staging_of(server: ScriptedServer, ref: Ref) -> Staging | None:
    """What was told last of an execution's transfers."""
    for report in reversed(server.reports):
        if report.staging is not None:
            found = {(s.task, s.attempt): s.staging for s in report.staging}
            return found.get(ref)
    return None


def kept(server: ScriptedServer) -> list[ResourceView] | None:
    """What the worker says that it keeps."""
    told = [report.resources for report in server.reports if report.resources is not None]
    return told[-1] if told else None


async def test_ten_tasks_want_one_resource(
    server: ScriptedServer, start: Start, web: Origin
) -> None:
    """It is fetched once, all of them wait for it and watch it, and each finds it whole."""
    server.settings = WorkerSettings(version=1, concurrency=10)
    uri = web.add("db", DATA, held=True)
    refs = [wants(server, CHECK, resource(uri)) for _ in range(10)]
    start()
    await web.half_way["db"].wait()
    await server.until(lambda: all(staging_of(server, ref) for ref in refs))
    seen = [staging_of(server, ref) for ref in refs]
    web.let_go("db")
    ended = [await server.end_of(ref) for ref in refs]

    assert all(map(succeeded, ended)), ended
    assert web.asked["db"] == 1
    assert {(s.direction, s.total, s.transfers[0].uri) for s in seen if s} == {
        ("in", 3_000_000, uri)
    }


async def test_progress_is_told_about_once_a_second(
    server: ScriptedServer, start: Start, web: Origin
) -> None:
    """Bytes, rate and what is left are told while inputs come, and that they are there at last."""
    uri = web.add("big", DATA, held=True)
    ref = wants(server, "sleep 0.1", {"source": uri, "path": "/input/big"})
    start()
    await web.half_way["big"].wait()
    seen = await server.until(lambda: (s := staging_of(server, ref)) and s.done and s)
    told = sum(report.staging is not None for report in server.reports)
    web.let_go("big")
    await server.end_of(ref)
    await server.until(lambda: server.reports[-1].staging == [])

    assert 0 < seen.done < seen.total == 3_000_000
    assert [t.uri for t in seen.transfers] == [uri]
    assert told <= 4


@pytest.mark.parametrize(
    ("order", "first_runs"),
    [
        ({"take_back": 1}, True),
        ({"settings": {"concurrency": 1, "prefetch": 0}}, True),
        ({"settings": {"concurrency": 1, "prefetch": 1, "draining": True}}, True),
        ({"settings": {"concurrency": 1, "prefetch": 1, "paused": True}}, True),
        ({"settings": {"concurrency": 1, "prefetch": 1, "batch": "other"}}, True),
        ({"settings": {"concurrency": 0, "prefetch": 0}}, False),
    ],
)
async def test_what_has_not_started_goes_back_at_once(
    server: ScriptedServer,
    start: Start,
    web: Origin,
    tmp_path: Path,
    order: dict[str, Any],
    first_runs: bool,
) -> None:
    """Its download ends that very moment, and nothing of it is left on the disk."""
    server.settings = WorkerSettings(version=1, concurrency=1, prefetch=1)
    if first_runs:
        runs = server.add("sleep 30")
    uri = web.add("big", DATA, held=True)
    waits = wants(server, "true", {"source": uri, "path": "/input/big"})
    start()
    if first_runs:
        await server.phase_of(runs, Phase.RUNNING)
    await web.half_way["big"].wait()
    if "settings" in order:
        order = {"settings": WorkerSettings(version=2, **order["settings"])}
    await server.order(**order)
    ended = await server.end_of(waits, 2.0)

    assert (ended.outcome, ended.cause) == (Outcome.REFUSED, Cause.RETURNED)
    async with asyncio.timeout(2.0):
        await web.broken_off["big"].wait()
    await server.until(lambda: not [n for n in names(tmp_path / "w/rooms") if "big" in n])
    if first_runs:
        assert server.open[runs] is Phase.RUNNING


async def test_the_next_one_is_ready(server: ScriptedServer, start: Start, web: Origin) -> None:
    """With prefetch the next inputs come while a task runs, and it starts when the slot is free."""
    server.settings = WorkerSettings(version=1, concurrency=1, prefetch=1)
    uri = web.add("in", DATA)
    first = server.add("sleep 1")
    second, third = (wants(server, "true", {"source": uri, "path": "/input/x"}) for _ in range(2))
    start()
    await server.phase_of(second, Phase.READY)

    assert server.open[first] is Phase.RUNNING
    assert web.asked["in"] == 1
    ended = await server.end_of(second)
    gap = server.ended[first].ended - (ended.running or 0.0)
    assert abs(gap) < 0.5
    await server.end_of(third)


async def test_what_cannot_be_fetched_is_told(
    server: ScriptedServer, start: Start, web: Origin
) -> None:
    """What is missing fails the task, naming it; what may come another time is refused."""
    missing = wants(server, "true", {"source": f"{web.url}/none", "path": "/input/x"})
    start()
    ended = await server.end_of(missing)

    assert (ended.outcome, ended.cause) == (Outcome.FAILED, Cause.INPUT)
    assert f"{web.url}/none" in ended.detail


async def test_a_killed_agent_leaves_no_half_resource(
    server: ScriptedServer, processes: Any, web: Origin, tmp_path: Path
) -> None:
    """Killed half-way, what was there is not taken for a resource: the next agent completes it."""
    server.settings = WorkerSettings(version=1, concurrency=10)
    uri = web.add("db", DATA, held=True)
    refs = [wants(server, CHECK, resource(uri)) for _ in range(10)]
    first = await processes()
    await web.half_way["db"].wait()
    first.kill()
    await first.wait()
    visible = [name for name in names(tmp_path / "w/rooms") if name.endswith("resource/db")]
    kept = [
        n for n in names(tmp_path / "w/resources") if n.endswith("content") and "making" not in n
    ]
    assert visible == kept == []
    web.let_go("db")
    await processes()

    ended = [await server.end_of(ref, 30) for ref in refs]
    assert all(map(succeeded, ended)), ended
    assert web.asked["db"] == 2
    assert not names(tmp_path / "w/resources/making")


async def test_what_was_staged_is_not_fetched_again(
    server: ScriptedServer, processes: Any, web: Origin
) -> None:
    """Inputs and resources that were there when the agent was killed are there for the next one."""
    server.settings = WorkerSettings(version=1, concurrency=1, prefetch=1)
    first = server.add("sleep 2")
    uri, db = web.add("in", DATA), web.add("db", DATA)
    second = wants(server, CHECK, {"source": uri, "path": "/input/in"}, resource(db))
    agent = await processes()
    await server.phase_of(second, Phase.READY)
    agent.kill()
    await agent.wait()
    await processes()

    assert succeeded(await server.end_of(first, 30))
    assert succeeded(await server.end_of(second, 30))
    assert web.asked == {"in": 1, "db": 1}


async def test_what_is_kept_is_told_and_steered(
    server: ScriptedServer, start: Start, web: Origin, tmp_path: Path
) -> None:
    """The server hears what is kept; it can have things pinned and the rest thrown away."""
    one, other = web.add("one", DATA), web.add("other", b"x")
    failed = wants(server, "touch x; false", {"content": "x", "path": "/input/x"})
    refs = [wants(server, "true", resource(uri)) for uri in (one, other)]
    start()
    for ref in (*refs, failed):
        await server.end_of(ref)
    views = await server.until(
        lambda: (now := kept(server)) and len(now) == 2 and not any(v.users for v in now) and now
    )
    assert {(view.uri, view.bytes) for view in views} == {(one, len(DATA)), (other, 1)}
    assert names(tmp_path / "w/failed")
    await server.order(pins=[Pin(uri=other)])
    await server.until(lambda: [v.uri for v in kept(server) or () if v.pinned] == [other])
    await server.order(clean=Cleaning())
    left = await server.until(lambda: (now := kept(server)) and len(now) == 1 and now)

    assert left[0].uri == other
    await server.until(lambda: not names(tmp_path / "w/failed"))
    await server.hang_up()  # whoever comes back is told everything
    before = len(server.reports)
    await server.until(lambda: any(r.resources for r in server.reports[before:]))


async def test_failed_rooms_hold_no_resources(
    server: ScriptedServer, start: Start, web: Origin, tmp_path: Path
) -> None:
    """What is kept of a failure for people to look at does not keep shared files from going."""
    ref = wants(server, "echo partial > $OUTPUT/x; false", resource(web.add("db", DATA)))
    start()
    await server.end_of(ref)
    room = tmp_path / "w/failed/1.1"
    await server.until(room.exists)

    assert "output/x" in names(room)
    assert not (room / "resource").exists()


@pytest.mark.parametrize("how", ["success", "failure"])
async def test_outputs_go_out_after_success_and_failure(
    server: ScriptedServer, start: Start, tmp_path: Path, how: str
) -> None:
    """What a command left behind is saved, whatever became of it."""
    end = "true" if how == "success" else "exit 3"
    out = tmp_path / "out"
    outputs = [{"path": "/output", "destination": f"file://{out}/", "directory": True}]
    ref = server.add(f"echo kept > $OUTPUT/kept; {end}", outputs=outputs)
    start()
    ended = await server.end_of(ref)

    assert ended.outcome is (Outcome.SUCCEEDED if how == "success" else Outcome.FAILED)
    assert (out / "kept").read_text() == "kept\n"


async def test_a_download_has_a_time_limit(
    server: ScriptedServer, start: Start, web: Origin
) -> None:
    """Inputs that take longer than the task allows end it, and their transfer."""
    uri = web.add("big", DATA, held=True)
    mount = {"source": uri, "path": "/input/big"}
    ref = wants(server, "true", mount, timeouts={"download": 0.5})
    start()
    ended = await server.end_of(ref)

    assert (ended.outcome, ended.cause) == (Outcome.FAILED, Cause.TIMEOUT)
    assert "inputs took longer" in ended.detail
    async with asyncio.timeout(2.0):
        await web.broken_off["big"].wait()
