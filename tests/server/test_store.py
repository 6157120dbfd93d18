"""The store's verbs and the dispatcher, on real SQLite and on real PostgreSQL."""

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from rig import Rig, check_counts, hello, task
from sqlalchemy.exc import IntegrityError

from pytq.schema import limits
from pytq.schema.problems import ConflictError, InvalidError, NotFoundError
from pytq.schema.queries import (
    CountsFilter,
    ExecutionFilter,
    FollowFrom,
    OutputRange,
    TaskFilter,
    WorkerRemoval,
)
from pytq.schema.states import Outcome, RunWhen, Signal, Stream, TaskStatus
from pytq.schema.tasks import Request
from pytq.schema.views import BatchUpdate, SignalOrder, TaskUpdate, WaitFor, WorkerUpdate
from pytq.server.dispatcher import clock
from pytq.server.liveness import Liveness
from pytq.server.store.database import Database
from pytq.server.store.tables import executions


@pytest.fixture
async def rig(database_uri: str) -> AsyncIterator[Rig]:
    db = await Database.open(database_uri)
    yield Rig(db)
    await db.close()


async def test_a_task_runs_once_through(rig: Rig) -> None:
    """A submitted task is leased to a hungry worker and its outcome is stored once."""
    member = await rig.join()
    [one] = await rig.submit(task(name="hello"))
    await rig.settle()

    [parcel] = member.empty().leases
    assert (parcel.task, parcel.attempt, parcel.name) == (one, 1, "hello")
    await rig.end(member, one, exit_code=0, running=1.0)
    await rig.end(member, one, exit_code=0, running=1.0)

    assert member.empty().settled == [(one, 1), (one, 1)]
    assert await rig.status(one) is TaskStatus.SUCCEEDED
    [execution] = (await rig.queue.list_executions(ExecutionFilter(task=one))).items
    assert execution.outcome is Outcome.SUCCEEDED
    assert execution.running_at < execution.ended_at


async def test_priority_then_age(rig: Rig) -> None:
    """Urgent tasks come first, and among equals the oldest."""
    ids = await rig.submit(task(), task(priority=5), task(), task(priority=5))
    member = await rig.join(capacity=4)
    await rig.settle()

    assert [p.task for p in member.empty().leases] == [ids[1], ids[3], ids[0], ids[2]]


async def test_only_its_own_batch(rig: Rig) -> None:
    """A worker takes only tasks of its own batch, until it is moved to another."""
    [other] = await rig.submit(task(batch="other"))
    member = await rig.join()
    await rig.settle()
    assert member.empty().leases == []

    await rig.queue.update_worker("w1", WorkerUpdate(batch="other"))
    await rig.settle()

    full = member.empty()
    assert [p.task for p in full.leases] == [other]
    assert full.settings.batch == "other"


async def test_requests_are_respected(rig: Rig) -> None:
    """A task that asks for more than a machine has, or has free, waits; others pass it."""
    huge, big, again, small = await rig.submit(
        task(request=Request(cpus=99)),
        task(request=Request(cpus=3)),
        task(request=Request(cpus=3)),
        task(),
    )
    member = await rig.join(capacity=9)
    await rig.settle()
    assert {p.task for p in member.empty().leases} == {big, small}

    await rig.end(member, big)
    await rig.settle()

    assert [p.task for p in member.empty().leases] == [again]
    assert await rig.status(huge) is TaskStatus.PENDING


async def test_retries_are_used_up_by_failures_only(rig: Rig) -> None:
    """A task fails for good after its retries; being handed back costs nothing."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task(retries=1))
    await rig.settle()
    await rig.end(member, one, "refused", cause="returned")
    await rig.end(member, one, "failed", cause="exit", detail="exit code 3", exit_code=3)
    assert await rig.status(one) is TaskStatus.ACTIVE
    await rig.end(member, one, "failed", cause="exit", detail="exit code 3", exit_code=3)

    view = await rig.queue.get_task(one)
    assert (view.status, view.failures, view.attempt) == (TaskStatus.FAILED, 2, 3)
    assert view.reason.detail == "exit code 3"


async def test_losses_are_free_but_bounded(rig: Rig) -> None:
    """A task that is lost again and again fails in the end, and says so."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    for _ in range(limits.LOST_LIMIT):
        await rig.end(member, one, "lost", cause="lost", detail="keeper gone")
        await rig.hurry()

    view = await rig.queue.get_task(one)
    assert view.status is TaskStatus.FAILED
    assert view.failures == 0
    assert "5 times" in view.reason.detail


async def test_zombies_are_fenced(rig: Rig) -> None:
    """An execution that was handed on cannot speak any more, whatever it says."""
    zombie = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    await rig.report(zombie, progress=[{"task": one, "attempt": 1, "phase": "running"}])
    await rig.dispatcher.goodbye(zombie, "cable cut")
    liveness = Liveness(rig.dispatcher)
    await liveness.sweep(0)
    await liveness.sweep(29)
    assert await rig.status(one) is TaskStatus.ACTIVE
    await liveness.sweep(31)
    assert await rig.status(one) is TaskStatus.PENDING

    await rig.end(zombie, one, attempt=1)

    assert (one, 1) in zombie.empty().fenced
    assert await rig.status(one) is TaskStatus.PENDING


async def test_a_restarted_worker_is_settled_with(rig: Rig) -> None:
    """After a reconnect: what never arrived is sent again, what vanished is lost, the rest kept."""
    member = await rig.join(capacity=3)
    unsent, vanished, kept = await rig.submit(task(), task(), task())
    await rig.settle()
    for one in (vanished, kept):
        await rig.report(member, progress=[{"task": one, "attempt": 1, "phase": "running"}])
    await rig.settle()
    held = [
        {"task": kept, "attempt": 1, "phase": "running"},
        {"task": 999, "attempt": 1, "phase": "running"},
    ]

    again = await rig.join(capacity=2, held=held)
    await rig.settle()

    assert rig.welcome.keep == [(kept, 1)]
    assert rig.welcome.fenced == [(999, 1)]
    assert [(p.task, p.attempt) for p in again.empty().leases] == [(unsent, 1)]
    assert await rig.status(vanished) is TaskStatus.PENDING


async def test_a_name_is_not_an_identity(rig: Rig) -> None:
    """Another machine cannot take over the name of a worker that still holds something."""
    member = await rig.join(capacity=1)
    await rig.submit(task())
    await rig.settle()
    member.empty()  # it was told of the lease
    await rig.dispatcher.goodbye(member, "gone")

    with pytest.raises(ConflictError, match="still holds 1"):
        await rig.dispatcher.welcome(hello(identity="id-2"))


async def test_undelivered_leases_go_to_others(rig: Rig) -> None:
    """What was leased to a worker that left before it could be told is pending again."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    await rig.dispatcher.goodbye(member, "gone")

    other = await rig.join(name="w2", identity="id-2")
    await rig.settle()

    assert [(p.task, p.attempt) for p in other.empty().leases] == [(one, 2)]


async def test_the_same_key_is_the_same_tasks(rig: Rig) -> None:
    """Repeating a submit changes nothing; the same key with another body is refused."""
    first = await rig.queue.submit_tasks([task(), task()], "key", "hash")
    again = await rig.queue.submit_tasks([task(), task()], "key", "hash")

    assert again.ids == first.ids
    assert again.repeated
    assert (await rig.queue.count_tasks(CountsFilter())).pending == 2
    with pytest.raises(ConflictError, match="Idempotency-Key"):
        await rig.queue.submit_tasks([task()], "key", "other")


async def test_fifty_clients_one_key(rig: Rig) -> None:
    """Fifty submits at once with one key make one task and get one answer."""
    answers = await asyncio.gather(
        *(rig.queue.submit_tasks([task()], "key", "hash") for _ in range(50))
    )

    assert {tuple(answer.ids) for answer in answers} == {(1,)}
    assert sum(not answer.repeated for answer in answers) == 1


async def test_all_or_nothing(rig: Rig) -> None:
    """A list with one bad task stores none of them, and does not hurt its neighbours."""
    good, bad, also = await asyncio.gather(
        rig.submit(task()),
        rig.submit(task(), task(requirements=[12345])),
        rig.submit(task()),
        return_exceptions=True,
    )

    assert isinstance(bad, InvalidError)
    assert bad.field == "1.requirements"
    assert len(good) == len(also) == 1
    assert (await rig.queue.count_tasks(CountsFilter())).pending == 2


async def test_requirements_wake_and_fail(rig: Rig) -> None:
    """Tasks wait for what they require: success wakes them, failure fails them and theirs."""
    member = await rig.join(capacity=2)
    good, bad = await rig.submit(task(), task())
    both, after_good, either, chain = (
        (await rig.submit(task(requirements=[good, bad])))[0],
        (await rig.submit(task(requirements=[good])))[0],
        (await rig.submit(task(requirements=[good, bad], run_when=RunWhen.ENDED)))[0],
        0,
    )
    [chain] = await rig.submit(task(requirements=[both]))
    await rig.settle()
    assert await rig.status(after_good) is TaskStatus.WAITING
    await rig.queue.update_batch("default", BatchUpdate(paused=True))
    await rig.end(member, good)
    assert await rig.status(after_good) is TaskStatus.PENDING
    assert await rig.status(either) is TaskStatus.WAITING
    await rig.end(member, bad, "failed", cause="exit", exit_code=1)

    assert await rig.status(either) is TaskStatus.PENDING
    assert await rig.status(both) is TaskStatus.FAILED
    assert await rig.status(chain) is TaskStatus.FAILED
    assert str(both) in (await rig.queue.get_task(chain)).reason.detail

    await rig.queue.retry_task(bad)
    assert await rig.status(both) is TaskStatus.WAITING
    assert await rig.status(chain) is TaskStatus.WAITING
    await counts_are_right(rig)


async def test_cancel_everywhere(rig: Rig) -> None:
    """A waiting task is cancelled at once, a running one when its worker has ended it."""
    member = await rig.join(capacity=1)
    running, idle = await rig.submit(task(), task())
    await rig.settle()
    member.empty()
    await rig.queue.cancel_task(idle)
    assert await rig.status(idle) is TaskStatus.CANCELLED
    await rig.queue.cancel_task(running)
    assert [(s[0], s[2]) for s in member.empty().signals] == [(running, Signal.TERM)]
    assert await rig.status(running) is TaskStatus.ACTIVE
    await rig.end(member, running, "cancelled", cause="cancelled")

    assert await rig.status(running) is TaskStatus.CANCELLED
    with pytest.raises(ConflictError, match="already"):
        await rig.queue.cancel_task(running)


async def test_a_cancel_that_loses_the_race_says_so(rig: Rig) -> None:
    """A task that succeeded before the cancel reached it stays succeeded."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    await rig.queue.cancel_task(one)
    await rig.end(member, one)

    assert await rig.status(one) is TaskStatus.SUCCEEDED


async def test_output_is_kept_by_offset(rig: Rig) -> None:
    """Output arrives in chunks, twice without harm, and the middle of a flood is left out."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    chunk = {"task": one, "attempt": 1, "stream": "stdout"}
    first = chunk | {"offset": 0, "data": base64.b64encode(b"hello ").decode()}
    second = chunk | {"offset": 6, "data": base64.b64encode(b"world\xff").decode()}
    await rig.report(member, chunks=[first])
    await rig.report(member, chunks=[first, second])
    got = await rig.queue.get_output(one, 1, Stream.STDOUT, OutputRange(offset=3))
    assert got == (3, b"lo world\xff", 12)

    block = base64.b64encode(b"x" * 200_000).decode()
    for i in range(20):
        await rig.report(member, chunks=[chunk | {"offset": 12 + i * 200_000, "data": block}])
    start, _, size = await rig.queue.get_output(one, 1, Stream.STDOUT, OutputRange(offset=300_000))
    assert size == 4_000_012
    assert start >= size - limits.OUTPUT_TAIL_BYTES - 200_000
    assert start > 300_000
    followed = await rig.queue.follow_task(one, FollowFrom(attempt=1, stdout=6))
    assert base64.b64decode(followed.parts[0].data).startswith(b"world")


async def test_waiting_is_woken(rig: Rig) -> None:
    """Whoever waits for tasks hears at once when the last has ended."""
    member = await rig.join(capacity=2)
    ids = await rig.submit(task(), task())
    await rig.settle()
    waiting = asyncio.create_task(rig.queue.wait_for_tasks(WaitFor(ids=ids, timeout=20.0)))
    await asyncio.sleep(0.05)
    await rig.end(member, ids[0])
    assert not waiting.done()
    await rig.end(member, ids[1], "failed", cause="exit", exit_code=1)

    standing = await asyncio.wait_for(waiting, 2)
    assert standing.done
    assert standing.statuses == {TaskStatus.SUCCEEDED: [ids[0]], TaskStatus.FAILED: [ids[1]]}


async def test_pages_by_keyset(rig: Rig) -> None:
    """Pages follow each other without a gap or a repeat, in both directions."""
    ids = await rig.submit(*(task(name=f"n{i % 2}") for i in range(25)))
    for oldest_first in (True, False):
        seen: list[int] = []
        after = None
        while True:
            page = await rig.queue.list_tasks(
                TaskFilter(limit=10, after=after, oldest_first=oldest_first)
            )
            seen += [view.id for view in page.items]
            after = page.next
            if after is None:
                break
        assert seen == (ids if oldest_first else ids[::-1])
    found = await rig.queue.list_tasks(TaskFilter(search="N1", limit=50))
    assert len(found.items) == 12


async def test_changing_and_deleting(rig: Rig) -> None:
    """Idle tasks can be changed and deleted; running ones and those waited on cannot."""
    one, two = await rig.submit(task(), task(requirements=[]))
    [three] = await rig.submit(task(requirements=[one]))
    changed = await rig.queue.update_task(
        two, TaskUpdate(batch="b2", command="echo hi", priority=3)
    )
    assert (changed.batch, changed.priority) == ("b2", 3)
    assert changed.spec.steps[0].argv == ["/bin/sh", "-c", "echo hi"]
    with pytest.raises(ConflictError, match="waits"):
        await rig.queue.delete_task(one)
    await rig.queue.delete_task(three)
    await rig.queue.delete_task(one)
    with pytest.raises(NotFoundError):
        await rig.queue.get_task(one)
    assert (await rig.queue.delete_batch("b2")).count == 1
    await counts_are_right(rig)


async def test_whole_batches(rig: Rig) -> None:
    """A batch is paused, cancelled and tried again as a whole."""
    member = await rig.join(capacity=1)
    ids = await rig.submit(*(task() for _ in range(5)))
    await rig.settle()
    await rig.end(member, ids[0], "failed", cause="exit", exit_code=1)
    assert (await rig.queue.retry_batch("default")).count == 1
    assert (await rig.queue.cancel_batch("default")).count == 5
    counts = await rig.queue.count_tasks(CountsFilter(batch="default"))
    assert (counts.active, counts.cancelled) == (1, 4)
    await counts_are_right(rig)


async def test_signals_need_a_living_worker(rig: Rig) -> None:
    """Pause reaches a connected worker; for a silent one it is refused with a reason."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    await rig.queue.signal_execution(one, 1, SignalOrder(signal=Signal.PAUSE))
    assert [s[2] for s in member.empty().signals] == [Signal.PAUSE]
    await rig.dispatcher.goodbye(member, "gone")
    with pytest.raises(ConflictError, match="not connected"):
        await rig.queue.signal_execution(one, 1, SignalOrder(signal=Signal.RESUME))


async def test_forgetting_a_worker(rig: Rig) -> None:
    """A worker that holds something is only forgotten by force, and its tasks go on."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    await rig.report(member, progress=[{"task": one, "attempt": 1, "phase": "running"}])
    await rig.dispatcher.goodbye(member, "gone")
    with pytest.raises(ConflictError, match="still holds"):
        await rig.queue.delete_worker("w1", WorkerRemoval())
    await rig.queue.delete_worker("w1", WorkerRemoval(force=True))
    assert await rig.status(one) is TaskStatus.PENDING
    assert await rig.queue.list_workers() == []


async def test_the_database_itself_refuses(rig: Rig) -> None:
    """Two open executions of a task, or an end without an outcome, are refused by constraint."""
    member = await rig.join(capacity=1)
    [one] = await rig.submit(task())
    await rig.settle()
    row = {"task": one, "attempt": 7, "worker": member.id, "phase": "assigned", "paused": False,
           "assigned_at": clock(), "stdout_bytes": 0, "stderr_bytes": 0}  # fmt: skip
    with pytest.raises(IntegrityError):
        await rig.db.write(lambda conn: conn.execute(sa.insert(executions).values(row)))
    row |= {"phase": "ended", "ended_at": clock()}
    with pytest.raises(IntegrityError):
        await rig.db.write(lambda conn: conn.execute(sa.insert(executions).values(row)))


async def test_a_second_server_is_refused(rig: Rig, database_uri: str) -> None:
    """One database has one server; a second one is told so instead of doubling work."""
    with pytest.raises(ConflictError, match="another PYTQ server"):
        await Database.open(database_uri)


async def counts_are_right(rig: Rig) -> None:
    """The kept counts equal what is really there."""
    await check_counts(rig.db)
