"""When and where a task is tried again after it came to grief."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from rig import Rig, task

from pytq.schema.states import TaskStatus
from pytq.server.store.database import Database


@pytest.fixture
async def rig(database_uri: str) -> AsyncIterator[Rig]:
    db = await Database.open(database_uri)
    yield Rig(db)
    await db.close()


async def test_a_retry_waits_as_long_as_it_was_told_to(rig: Rig) -> None:
    """With `retry_delay` the first retry waits so long, the second twice as long."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task(retries=2, retry_delay=100.0))
    await rig.settle()
    for pause in (100, 200):
        await rig.end(member, one, "failed", cause="exit", exit_code=1)
        view = await rig.queue.get_task(one)
        assert view.status is TaskStatus.WAITING
        assert view.due_at == view.changed_at + timedelta(seconds=pause)
        await rig.hurry()
        assert await rig.status(one) is TaskStatus.ACTIVE


async def test_the_next_try_comes_by_itself(rig: Rig) -> None:
    """Nobody has to ask: when the time has come, the task is leased again."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task(retries=1, retry_delay=0.02))
    await rig.settle()
    await rig.end(member, one, "failed", cause="exit", exit_code=1)
    with rig.dispatcher.hub.watch([one]) as watcher:
        while await rig.status(one) is not TaskStatus.ACTIVE:
            assert await watcher.wait(5)


async def test_trouble_sends_a_task_elsewhere(rig: Rig) -> None:
    """What a worker could not do goes to another one, though the first asks for more."""
    first = await rig.join(capacity=1, name="w1", identity="one")
    [one] = await rig.submit(task())
    await rig.settle()
    second = await rig.join(capacity=0, name="w2", identity="two")
    second.capacity = 1  # willing, but busy for the moment
    second.held[10**6] = second.held.get(10**6) or first.held[one]
    await rig.end(first, one, "refused", cause="disk", detail="disk full")
    await rig.hurry()
    assert one not in first.held

    del second.held[10**6]
    await rig.report(second)

    assert one in second.held


async def test_a_lone_worker_gets_it_again(rig: Rig) -> None:
    """Where there is no other worker, the same one may try once more."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    await rig.end(member, one, "lost", cause="lost", detail="gone")

    assert member.held[one].attempt == 2


async def test_more_memory_after_running_out(rig: Rig) -> None:
    """With `oom_factor` the next try asks for so many times as much."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task(retries=1, oom_factor=2.0, request={"memory": 10**8}))
    await rig.settle()
    await rig.end(member, one, "failed", cause="oom", detail="out of memory")

    view = await rig.queue.get_task(one)
    assert view.spec.request.memory == 2 * 10**8
    assert member.held[one].memory == 2 * 10**8


async def test_people_need_not_wait(rig: Rig) -> None:
    """A task that waits for its next try can be tried at once, or cancelled."""
    member = await rig.join(capacity=2)
    now, never = await rig.submit(*[task(retries=1, retry_delay=1000.0)] * 2)
    await rig.settle()
    for one in (now, never):
        await rig.end(member, one, "failed", cause="exit", exit_code=1)

    await rig.queue.retry_task(now)
    await rig.queue.cancel_task(never)
    await rig.settle()

    assert await rig.status(now) is TaskStatus.ACTIVE
    assert await rig.status(never) is TaskStatus.CANCELLED
    await rig.hurry()
    assert await rig.status(never) is TaskStatus.CANCELLED


async def test_nobody_idles_beside_a_queue(rig: Rig) -> None:
    """What waits behind a busy worker is taken back as soon as another one has an empty slot."""
    laden = await rig.join(capacity=4, name="w1", identity="one", concurrency=1)
    await rig.submit(*[task()] * 4)
    await rig.settle()
    assert len(laden.held) == 4
    laden.empty()
    await rig.join(capacity=2, name="w2", identity="two", concurrency=2)

    rig.dispatcher.balance()

    assert laden.empty().take_back == 2


async def test_what_does_not_fit_is_left_where_it_is(rig: Rig) -> None:
    """Nothing is taken back for a worker that could not run it: it would only come back."""
    laden = await rig.join(capacity=4, name="w1", identity="one", concurrency=1, memory=10**10)
    await rig.submit(*[task(request={"memory": 2 * 10**9})] * 4)
    await rig.settle()
    assert len(laden.held) == 4
    laden.empty()
    await rig.join(capacity=2, name="w2", identity="two", concurrency=2)

    rig.dispatcher.balance()

    assert laden.empty().take_back == 0
