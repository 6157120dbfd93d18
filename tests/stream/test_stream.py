"""What viewers of the event stream see, on both databases."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from gallery import Gallery
from rig import Rig, hello, task

from pytq.schema import limits
from pytq.schema.problems import BusyError, PytqError
from pytq.schema.queries import WorkerRemoval
from pytq.schema.states import Phase, TaskStatus, WorkerStatus
from pytq.schema.stream import Changes
from pytq.schema.views import BatchUpdate, WorkerUpdate
from pytq.server import stream as stream_module


async def test_who_comes_sees_everything(gallery: Gallery, rig: Rig) -> None:
    """The first frame tells batches, workers, events, history and counts as they are."""
    await rig.submit(task(), task(batch="other"))
    member = await rig.join()
    [held] = member.held

    async with gallery.looker() as looker:
        snapshot = looker.snapshot

    assert snapshot.server.counts.model_dump(exclude_defaults=True) == {"pending": 1, "active": 1}
    assert {b.name: b.counts.active for b in snapshot.batches} == {"default": 1, "other": 0}
    [worker] = snapshot.workers
    assert (worker.name, worker.status, worker.open) == ("w1", WorkerStatus.ONLINE, len([held]))
    assert [event.kind for event in snapshot.events] == ["online"]
    assert sum(point.submitted for point in snapshot.history) == 2
    assert sum(point.started for point in snapshot.history) == 1


async def test_changes_follow(gallery: Gallery, rig: Rig) -> None:
    """What happens is seen: counts, workers, events and points, each thing whole."""
    async with gallery.looker() as looker:
        ids = await rig.submit(*[task() for _ in range(3)])
        member = await rig.join()
        await looker.until(lambda: looker.workers.get("w1") and looker.workers["w1"].open == 2)
        await rig.end(member, ids[0])
        await rig.end(member, ids[1], "failed", cause="exit", exit_code=1)
        await looker.until(lambda: looker.batches["default"].counts.failed)
        await looker.until(lambda: looker.batches["default"].counts.succeeded)

        assert looker.batches["default"].counts.active == 1
        points = list(looker.history.values())
        assert sum(point.submitted for point in points) == 3
        assert sum(point.started for point in points) == 3
        assert sum(point.succeeded for point in points) == 1
        assert sum(point.failed for point in points) == 1
        assert looker.frames[-1].server.counts.active == 1
        assert "online" in {event.kind for event in looker.events.values()}


async def test_phases_come_from_memory(gallery: Gallery, rig: Rig) -> None:
    """A worker's view counts its executions by phase, as it has reported them."""
    ids = await rig.submit(*[task() for _ in range(3)])
    member = await rig.join(capacity=3)
    said = [
        {"task": one, "attempt": 1, "phase": phase}
        for one, phase in zip(ids, ("downloading", "running", "running"), strict=True)
    ]
    async with gallery.looker() as looker:
        await rig.report(member, progress=said)
        await looker.until(lambda: looker.workers["w1"].running == 2)
        [shown] = await rig.queue.list_workers()

        assert (shown.downloading, shown.running, shown.open) == (1, 2, 3)
        await rig.dispatcher.goodbye(member, "test")
        await looker.until(lambda: looker.workers["w1"].status is WorkerStatus.OFFLINE)
        # From here on the books tell it.
        await looker.until(lambda: looker.workers["w1"].running == 2)
        assert (await rig.queue.get_worker("w1")).downloading == 1
        told = {"task": ids[1], "attempt": 1, "phase": "running"}
        member = await rig.join(held=[told | {"phase": Phase.UPLOADING}])
        await looker.until(lambda: looker.workers["w1"].uploading == 1)
        assert looker.workers["w1"].running == 0


async def test_what_goes_is_told(gallery: Gallery, rig: Rig) -> None:
    """Deleted batches and forgotten workers are named as gone."""
    member = await rig.join()
    await rig.submit(task(batch="old", name="x"))
    await rig.dispatcher.goodbye(member, "test")
    async with gallery.looker() as looker:
        assert {"old", "default"} <= looker.batches.keys()

        await rig.queue.delete_batch("old")
        await rig.queue.delete_worker("w1", WorkerRemoval())

        await looker.until(lambda: "old" not in looker.batches and not looker.workers)


async def test_knobs_are_seen(gallery: Gallery, rig: Rig) -> None:
    """Wanted, acknowledged: a tuned worker and a paused batch look different at once."""
    member = await rig.join()
    async with gallery.looker() as looker:
        await rig.queue.update_worker("w1", WorkerUpdate(concurrency=7, batch="new"))
        await rig.queue.update_batch("default", BatchUpdate(paused=True))
        await looker.until(lambda: looker.workers["w1"].settings.concurrency == 7)
        await looker.until(lambda: looker.batches["default"].paused)
        await looker.until(lambda: looker.batches["new"].workers == 1)
        assert looker.batches["default"].workers == 0
        assert looker.workers["w1"].applied < looker.workers["w1"].settings.version

        await rig.report(member, applied=looker.workers["w1"].settings.version)

        await looker.until(
            lambda: looker.workers["w1"].applied == looker.workers["w1"].settings.version
        )


async def test_each_watched_task_is_told_once_and_then_when_it_changes(
    gallery: Gallery, rig: Rig
) -> None:
    """Naming a task tells it, known or not; afterwards only its changes and its output."""
    [one, other] = await rig.submit(task(name="one"), task(batch="paused"))
    member = await rig.join()
    async with gallery.looker() as looker:
        await looker.stream.watch([one, other, 999])
        await looker.until(lambda: len(looker.watched) == 3)
        assert looker.watched[999].task is None
        assert looker.watched[one].task.status is TaskStatus.ACTIVE  # type: ignore[union-attr]
        assert looker.watched[one].execution.worker == "w1"  # type: ignore[union-attr]
        assert looker.watched[other].execution is None
        told = len(looker.frames)

        chunk = {"task": one, "attempt": 1, "stream": "stdout", "offset": 0, "data": "aGk="}
        await rig.report(member, chunks=[chunk])
        await looker.until(lambda: looker.watched[one].output)
        await rig.end(member, one, stdout_bytes=2)
        await looker.until(
            lambda: looker.watched[one].task.status is TaskStatus.SUCCEEDED  # type: ignore[union-attr]
        )

        assert not looker.watched[one].output
        later = [f for f in looker.frames[told:] if isinstance(f, Changes)]
        assert {seen.id for frame in later for seen in frame.watched} == {one}


async def test_a_watched_task_that_is_deleted_is_gone(gallery: Gallery, rig: Rig) -> None:
    """Somebody who looks at a task learns that it is no more, alone or with its batch."""
    [one, other] = await rig.submit(task(batch="b"), task(batch="b"))
    async with gallery.looker() as looker:
        await looker.stream.watch([one, other])
        await looker.until(lambda: len(looker.watched) == 2)

        await rig.queue.delete_task(one)
        await looker.until(lambda: looker.watched[one].task is None)
        assert looker.watched[other].task is not None
        await rig.queue.delete_batch("b")
        await looker.until(lambda: looker.watched[other].task is None)


async def test_another_watch_replaces_the_first(gallery: Gallery, rig: Rig) -> None:
    """Who looks elsewhere hears no more of what they looked at before."""
    [one, other] = await rig.submit(task(batch="b"), task(batch="b"))
    async with gallery.looker() as looker:
        await looker.stream.watch([one])
        await looker.until(lambda: one in looker.watched)
        await looker.stream.watch([other])
        await looker.until(lambda: other in looker.watched)

        await rig.queue.cancel_task(one)
        await rig.queue.cancel_task(other)
        await looker.until(lambda: looker.watched[other].task.status is TaskStatus.CANCELLED)  # type: ignore[union-attr]

        assert looker.watched[one].task.status is TaskStatus.PENDING  # type: ignore[union-attr]


async def test_staging_is_watched_as_it_goes(gallery: Gallery, rig: Rig) -> None:
    """How far the inputs of a watched task have come is seen without a commit."""
    [one] = await rig.submit(task())
    member = await rig.join()
    await rig.report(member, progress=[{"task": one, "attempt": 1, "phase": "downloading"}])
    async with gallery.looker() as looker:
        await looker.stream.watch([one])
        await looker.until(lambda: one in looker.watched)
        staging = {"direction": "in", "done": 7, "total": 9}
        await rig.report(member, staging=[{"task": one, "attempt": 1, "staging": staging}])

        await looker.until(
            lambda: (e := looker.watched[one].execution) and e.staging and e.staging.done == 7
        )


async def test_jobs_are_seen(gallery: Gallery, rig: Rig) -> None:
    """A job appears, moves and ends before everybody's eyes."""
    await rig.join()
    async with gallery.looker() as looker:
        job = await rig.queue.release_worker("w1")
        await looker.until(lambda: looker.jobs.get(job.id))
        await looker.until(lambda: looker.jobs[job.id].status == "running")
        await rig.queue.cancel_job(job.id)
        await looker.until(lambda: looker.jobs[job.id].status == "cancelled")


async def test_nothing_is_painted_when_nobody_looks(gallery: Gallery, rig: Rig) -> None:
    """Before the first viewer and after the last, the stream costs nothing; history goes on."""
    news = rig.dispatcher.news
    await rig.submit(task(batch="unseen"))
    assert gallery.streams._painting is None
    assert not news.listening

    async with gallery.looker():
        assert gallery.streams._painting is not None
    await gallery.nobody_looks()
    assert gallery.streams._painting is None
    assert not news.listening
    await rig.submit(task(batch="unseen"))
    assert news.take().batches == set()
    assert gallery.streams._painter.picture.version == 0
    assert sum(point.submitted for point in rig.dispatcher.history.since(0)) == 2


async def test_a_second_viewer_sees_the_same(gallery: Gallery, rig: Rig) -> None:
    """Who comes later starts from where everybody else is, and is told the same from there."""
    await rig.submit(task())
    async with gallery.looker() as first:
        await rig.submit(task(batch="b"))
        await first.until(lambda: "b" in first.batches)
        async with gallery.looker() as second:
            assert second.batches.keys() == first.batches.keys()
            await rig.submit(task(batch="c"))
            await first.until(lambda: "c" in first.batches)
            await second.until(lambda: "c" in second.batches)


async def test_a_slow_viewer_gets_all_at_once(
    gallery: Gallery, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not read holds up nobody, and later gets one frame of all it has missed."""
    sent = stream_module._send
    blocked: dict[Any, asyncio.Event] = {}

    async def send(socket: Any, frame: str) -> None:
        if socket in blocked:
            await blocked[socket].wait()
        await sent(socket, frame)

    monkeypatch.setattr(stream_module, "_send", send)
    async with gallery.looker() as slow:
        [socket] = gallery.streams._viewers.values()
        async with gallery.looker() as quick:
            blocked[socket] = asyncio.Event()
            for number in range(4):
                await rig.submit(task(batch=f"b{number}"))
                await quick.until(lambda number=number: f"b{number}" in quick.batches)
            blocked[socket].set()
            before = len(slow.frames)
            await slow.until(lambda: "b3" in slow.batches)

    late = [frame for frame in slow.frames[before:] if isinstance(frame, Changes)]
    assert {f"b{number}" for number in range(4)} <= slow.batches.keys()
    assert any(frame.missed and len(frame.batches) > 1 for frame in late)
    assert not any(frame.missed for frame in quick.frames if isinstance(frame, Changes))


async def test_a_viewer_that_takes_nothing_is_cut_off(
    gallery: Gallery, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer whose connection takes nothing more does not stay for ever."""
    monkeypatch.setattr(limits, "STREAM_STALL_SECONDS", 0.5)

    async def never(_self: object, _frame: str) -> None:
        await asyncio.Event().wait()

    async with gallery.looker() as looker:
        [socket] = gallery.streams._viewers.values()
        monkeypatch.setattr(type(socket), "send_str", never)
        await rig.submit(task())

        with pytest.raises(StopAsyncIteration):
            await looker.until(lambda: False)


async def test_nothing_new_is_told_now_and_then(
    gallery: Gallery, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quiet server still says that it is there, with its clock."""
    monkeypatch.setattr(limits, "HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr(limits, "HISTORY_STEP", 1_800)
    async with gallery.looker() as looker:
        first = await looker.look()
        second = await looker.look()

    assert second.server.now > first.server.now
    assert second.batches == []


TOO_MANY = json.dumps({"type": "watch", "tasks": list(range(1, limits.WATCHED + 2))})


@pytest.mark.parametrize(
    "said",
    [
        "",
        "{",
        '{"type":"watch","tasks":["1"]}',
        '{"type":"watch","tasks":[0]}',
        '{"a":1}',
        TOO_MANY,
    ],
)
async def test_nonsense_ends_the_conversation(gallery: Gallery, said: str) -> None:
    """A viewer that says what is not understood is told so, and the others are not disturbed."""
    url = f"http://127.0.0.1:{gallery.server.port}{stream_module.PATH}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        assert json.loads(await socket.receive_str())["type"] == "snapshot"
        await socket.send_str(said)
        async for message in socket:
            assert message.type is aiohttp.WSMsgType.TEXT

        assert socket.close_code == 1007


async def test_there_is_a_bound_to_viewers(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One viewer too many is refused in words before anything is opened."""
    monkeypatch.setattr(limits, "VIEWERS", 1)
    async with gallery.looker():
        with pytest.raises(PytqError) as refusal:
            async with gallery.looker():
                pass

    assert refusal.value.status == BusyError.status


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
async def test_other_sites_cannot_look(gallery: Gallery, headers: dict[str, str]) -> None:
    """The stream stands behind the same guards as everything else."""
    url = f"http://127.0.0.1:{gallery.server.port}{stream_module.PATH}"
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(url, headers=headers)

    assert refusal.value.status == 403


async def test_a_restart_is_announced(gallery: Gallery) -> None:
    """When the server stops, viewers are told to come back: 1012."""
    url = f"http://127.0.0.1:{gallery.server.port}{stream_module.PATH}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.receive_str()
        closing = asyncio.create_task(gallery.streams.close())
        async for message in socket:
            assert message.type is aiohttp.WSMsgType.TEXT
        await closing

        assert socket.close_code == 1012


async def test_a_database_that_is_away_is_waited_for(
    gallery: Gallery, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database does not answer the picture stands still; nothing is lost by that."""
    read = rig.db.read

    async def away(_look: object) -> None:
        raise BusyError("away")

    async with gallery.looker() as looker:
        monkeypatch.setattr(rig.db, "read", away)
        await rig.submit(task(batch="meanwhile"))
        await asyncio.sleep(3 * limits.STREAM_SECONDS)
        assert "meanwhile" not in looker.batches
        monkeypatch.setattr(rig.db, "read", read)

        await looker.until(lambda: "meanwhile" in looker.batches)


async def test_a_worker_keeps_its_place_among_others(gallery: Gallery, rig: Rig) -> None:
    """Only workers that have changed are told again."""
    await rig.join()
    member = (await rig.dispatcher.welcome(hello("w2", "id-2")))[0]
    async with gallery.looker() as looker:
        assert looker.workers.keys() == {"w1", "w2"}
        told = len(looker.frames)
        await rig.report(member, load={"cpu": 50.0})
        await looker.until(lambda: looker.workers["w2"].load)

    assert {worker.name for frame in looker.frames[told:] for worker in frame.workers} == {"w2"}
