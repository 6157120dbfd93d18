"""Why, how it failed, and signals to all: asked of a queue on both databases."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from rig import Rig, task

from pytq.schema import limits
from pytq.schema.problems import NotFoundError
from pytq.schema.states import Cause, Signal
from pytq.schema.views import BatchUpdate, SignalOrder, WorkerUpdate
from pytq.server.store.database import Database


@pytest.fixture
async def rig(database_uri: str) -> AsyncIterator[Rig]:
    db = await Database.open(database_uri)
    rig = Rig(db)
    yield rig
    rig.dispatcher.close()
    await db.close()


async def why(rig: Rig, one: int) -> tuple[str, dict[str, str]]:
    told = await rig.queue.explain_task(one)
    return told.summary, {each.worker: each.reason for each in told.workers}


async def test_a_task_explains_itself(rig: Rig) -> None:
    """From no worker at all to its end, each thing that holds a task up is named."""
    [first, second] = await rig.submit(task(), task(request={"cpus": 99}, priority=-1))
    [waiting] = await rig.submit(task(requirements=[first, second]))
    assert "no worker in batch default" in (await why(rig, first))[0]
    assert f"task {first} (pending), task {second} (pending)" in (await why(rig, waiting))[0]

    await rig.queue.update_batch("default", BatchUpdate(paused=True))
    member = await rig.join(capacity=1)
    assert await why(rig, first) == (
        "its batch default is paused",
        {"w1": "it has room, but the batch is paused"},
    )
    await rig.queue.update_batch("default", BatchUpdate(paused=False))
    await rig.settle()
    assert (await why(rig, first))[0] == "worker w1 has it and has not begun yet"
    summary, reasons = await why(rig, second)
    assert "no worker of batch default can run it; w1: the task asks for 99 CPUs" in summary
    assert "asks for 99 CPUs, here are 4" in reasons["w1"]
    [third] = await rig.submit(task())
    assert (await why(rig, third))[1] == {"w1": "it is full: it holds 1 of 1"}
    await rig.queue.update_worker("w1", WorkerUpdate(draining=True))
    assert "draining" in (await why(rig, third))[1]["w1"]
    await rig.end(member, first, "failed", cause="exit", detail="exit code 3")
    assert "it failed: exit code 3" in (await why(rig, first))[0]
    assert f"task {first}, which it requires, failed" in (await why(rig, waiting))[0]


async def test_what_goes_first_is_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task knows how many of its batch go before it, up to a bound."""
    ids = await rig.submit(*[task(priority=n // 3) for n in range(9)])
    await rig.submit(*[task(batch="other", priority=50) for _ in range(3)])
    await rig.join(capacity=2)

    # Leased were the first two of the most urgent three.
    assert "it is the next one of its batch" in (await why(rig, ids[8]))[0]
    assert "6 of its batch go first" in (await why(rig, ids[2]))[0]
    monkeypatch.setattr(limits, "AHEAD", 3)
    assert "more than 3 of its batch go first" in (await why(rig, ids[2]))[0]


async def test_unknown_things_explain_nothing(rig: Rig) -> None:
    """What does not exist is told as such."""
    for ask in (
        rig.queue.explain_task(99),
        rig.queue.list_failures("nobody"),
        rig.queue.signal_batch("nobody", SignalOrder(signal=Signal.KILL)),
        rig.queue.release_worker("nobody"),
    ):
        with pytest.raises(NotFoundError):
            await ask


@pytest.fixture
async def failed(rig: Rig) -> list[int]:
    """Tasks that failed in three ways, and some that did not."""
    ids = await rig.submit(*[task() for _ in range(7)])
    member = await rig.join(capacity=7)
    ways: list[dict[str, Any]] = [
        *[{"cause": "exit", "exit_code": 1, "detail": f"way {n}"} for n in range(3)],
        {"cause": "exit", "exit_code": 2},
        *[{"cause": "input", "detail": "404"}] * 2,
    ]
    for one, way in zip(ids, ways, strict=False):
        await rig.end(member, one, "failed", **way)
    await rig.end(member, ids[6])
    return ids


async def test_failures_are_grouped(rig: Rig, failed: list[int]) -> None:
    """Alike failures are one line, the most frequent first, with the newest as an example."""
    found = await rig.queue.list_failures("default")

    assert [(f.count, f.cause, f.exit_code, f.task) for f in found] == [
        (3, Cause.EXIT, 1, failed[2]),
        (2, Cause.INPUT, None, failed[5]),
        (1, Cause.EXIT, 2, failed[3]),
    ]
    assert [f.detail for f in found] == ["way 2", "404", ""]
    assert not any(f.sampled for f in found)


async def test_of_many_failures_the_newest_are_looked_at(
    rig: Rig, failed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million failures cost no more than some: the answer says that there are more."""
    monkeypatch.setattr(limits, "FAILURES_EXAMINED", 3)

    found = await rig.queue.list_failures("default")

    assert sum(f.count for f in found) == 3
    assert all(f.sampled for f in found)
    assert found[0].task == failed[5]


async def test_a_failure_that_is_mended_is_none(rig: Rig, failed: list[int]) -> None:
    """What is tried again is no failure any more."""
    await rig.queue.retry_task(failed[3])

    assert 2 not in {f.exit_code for f in await rig.queue.list_failures("default")}


async def test_a_batch_hears_a_signal(rig: Rig) -> None:
    """Pause and resume reach every execution of the batch on connected workers, and no other."""
    mine = await rig.submit(*[task(batch="b") for _ in range(3)])
    await rig.submit(task(batch="c"))
    first = await rig.join(capacity=2, batch="b")
    second = await rig.join(capacity=2, name="w2", identity="2", batch="b")
    other = await rig.join(capacity=2, name="w3", identity="3", batch="c")
    for member in (first, second, other):
        member.empty()

    told = await rig.queue.signal_batch("b", SignalOrder(signal=Signal.PAUSE))

    heard = [(task, signal) for m in (first, second) for task, _, signal in m.empty().signals]
    assert told.count == 3
    assert sorted(heard) == [(one, Signal.PAUSE) for one in mine]
    assert other.empty().signals == []


async def test_an_end_is_kept_for_who_is_away(rig: Rig) -> None:
    """Term and kill are written down: a worker that is away hears of them when it is back."""
    [one] = await rig.submit(task(batch="b"))
    member = await rig.join(batch="b")
    member.empty()  # it has got its lease
    await rig.dispatcher.goodbye(member, "test")

    told = await rig.queue.signal_batch("b", SignalOrder(signal=Signal.TERM))
    held = [{"task": one, "attempt": 1, "phase": "running"}]
    back = await rig.join(batch="b", held=held)

    assert told.count == 1
    assert (one, 1, Signal.TERM) in back.empty().signals
