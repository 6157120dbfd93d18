"""Jobs: recruiting and releasing from beginning to end, through trouble and restarts."""

import asyncio

import pytest
import sqlalchemy as sa
from office import Office, Played
from rig import task

from pytq.schema import limits
from pytq.schema.problems import ConflictError, InvalidError, NotFoundError, PytqError
from pytq.schema.queries import LogFrom
from pytq.schema.recruit import JobStatus, Recruit
from pytq.schema.states import WorkerStatus
from pytq.schema.views import WorkerUpdate
from pytq.server.recruit import bringing
from pytq.server.recruit.providers import Machine
from pytq.server.store import jobs as store


async def come(office: Office, name: str) -> None:
    await office.rig.join(name=name, identity=name)


async def test_workers_are_brought(office: Office, provider: Played) -> None:
    """A job makes machines, waits for their workers, and says all of that."""
    job = await office.queue.recruit(Recruit(provider="played", count=2, batch="run7", prefetch=3))
    assert job.title == "recruit 2 of played/small into run7"
    await office.said(job.id, "made played-1-2")
    await come(office, "played-1-1")
    await office.said(job.id, "played-1-1 is online")
    assert (await office.queue.get_job(job.id)).workers == ["played-1-1"]
    await come(office, "played-1-2")
    ended = await office.until(job.id)

    [order] = provider.orders
    assert (order.flavor.name, order.concurrency, order.prefetch) == ("small", 1, 3)
    assert ended.status is JobStatus.SUCCEEDED
    assert (ended.progress, ended.detail) == (1.0, "2 of 2 came")
    assert ended.workers == ["played-1-1", "played-1-2"]
    assert ended.started_at
    assert ended.ended_at
    log = await office.queue.get_job_log(job.id, LogFrom())
    assert log.ended
    part = await office.queue.get_job_log(job.id, LogFrom(offset=log.next_offset - 3))
    assert part.text == log.text[-3:]


async def test_concurrency_is_the_flavors_cpus_unless_it_is_said(
    office: Office, provider: Played
) -> None:
    """A big machine gets many slots by itself, one without CPUs gets one, and a wish wins."""
    for wish in ({"flavor": "big"}, {"region": "south"}, {"flavor": "big", "concurrency": 3}):
        await office.queue.recruit(Recruit.model_validate({"provider": "played", **wish}))
    for number in (1, 2, 3):
        await office.said(number, "made")

    assert [order.concurrency for order in provider.orders] == [16, 1, 3]


@pytest.mark.parametrize(
    ("wish", "error", "field"),
    [
        ({"provider": "nobody"}, NotFoundError, "provider"),
        ({"region": "west"}, InvalidError, "region"),
        ({"flavor": "tiny"}, InvalidError, "flavor"),
        ({"count": 6}, ConflictError, "count"),
    ],
)
async def test_what_cannot_be_had_is_told_before_there_is_a_job(
    office: Office, wish: dict[str, object], error: type[PytqError], field: str
) -> None:
    """A wish that cannot be fulfilled names the field and what could be had."""
    with pytest.raises(error) as refusal:
        await office.queue.recruit(Recruit.model_validate({"provider": "played", **wish}))

    assert refusal.value.field == field
    assert refusal.value.cure
    assert await office.queue.list_jobs() == []


async def test_a_provider_in_trouble_says_so(office: Office, provider: Played) -> None:
    """Nothing is begun with a provider that cannot be used now."""
    provider.trouble = "no credentials"

    with pytest.raises(ConflictError, match="no credentials"):
        await office.queue.recruit(Recruit(provider="played"))

    assert (await office.queue.list_providers())[0].trouble == "no credentials"


async def test_some_may_come_and_some_not(
    office: Office, provider: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job fails if not all came; who came stays, and what did not come is given back."""
    monkeypatch.setattr(bringing, "_LOOKS_PER_CHECK", 1)
    provider.fail_after = 2
    job = await office.queue.recruit(Recruit(provider="played", count=3))
    await office.said(job.id, "no more machines today")
    await come(office, "played-1-1")
    dead = Machine("played-1-2", "north", "small", alive=False, detail="it burnt down")
    provider.made["played-1-2"] = dead
    ended = await office.until(job.id)

    assert ended.status is JobStatus.FAILED
    assert "1 of 3 came" in ended.detail
    assert "no more machines today" in ended.detail
    assert "played-1-2: it burnt down" in ended.detail
    assert provider.destroyed == ["played-1-2"]
    assert ended.workers == ["played-1-1"]


async def test_who_never_connects_is_given_up(
    office: Office, provider: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose worker does not come in time is given back."""
    monkeypatch.setattr(limits, "RECRUIT_SECONDS", 0.5)
    monkeypatch.setattr(bringing, "_LOOKS_PER_CHECK", 1)

    job = await office.queue.recruit(Recruit(provider="played"))
    ended = await office.until(job.id)

    assert ended.status is JobStatus.FAILED
    assert "did not connect" in ended.detail
    assert provider.destroyed == ["played-1-1"]


async def test_a_cancelled_job_takes_back_what_is_half_made(
    office: Office, provider: Played
) -> None:
    """Who is online stays; machines without a worker yet are given back."""
    provider.gate = asyncio.Event()
    job = await office.queue.recruit(Recruit(provider="played", count=3))
    provider.gate.set()
    await office.said(job.id, "made played-1-3")
    await come(office, "played-1-2")
    await office.said(job.id, "played-1-2 is online")

    assert (await office.queue.cancel_job(job.id)).detail == "being cancelled"
    ended = await office.until(job.id)

    assert ended.status is JobStatus.CANCELLED
    assert sorted(provider.destroyed) == ["played-1-1", "played-1-3"]
    assert "these had come and stay: played-1-2" in await office.log(job.id)
    with pytest.raises(ConflictError):
        await office.queue.cancel_job(job.id)


async def test_so_many_recruit_at_once(
    office: Office, provider: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More jobs than that wait for their turn, as pending; a waiting one can be cancelled."""
    office.queue.recruiter.jobs._slots = asyncio.Semaphore(1)
    first = await office.queue.recruit(Recruit(provider="played"))
    second = await office.queue.recruit(Recruit(provider="played"))
    third = await office.queue.recruit(Recruit(provider="played"))
    await office.said(first.id, "made")
    assert (await office.queue.get_job(second.id)).status is JobStatus.PENDING

    await office.queue.cancel_job(second.id)
    await office.until(second.id, "cancelled")
    await come(office, "played-1-1")
    await office.until(first.id, "succeeded")
    await office.said(third.id, "made")

    assert [order.names for order in provider.orders] == [["played-1-1"], ["played-3-1"]]


async def test_a_worker_is_released_when_it_is_empty(office: Office, provider: Played) -> None:
    """It takes nothing new, finishes what it holds, and is gone with its machine."""
    [one] = await office.rig.submit(task())
    provider.made["w1"] = Machine("w1", "north", "small", alive=True)
    member = await office.rig.join()
    job = await office.queue.release_worker("w1")
    assert (await office.queue.release_worker("w1")).id == job.id
    await office.said(job.id, "takes nothing new")
    assert (await office.queue.get_worker("w1")).status is WorkerStatus.DRAINING
    assert provider.destroyed == []

    await office.rig.end(member, one)
    await office.said(job.id, "destroyed w1")
    await office.rig.dispatcher.goodbye(member, "its machine is gone")
    ended = await office.until(job.id)

    assert ended.status is JobStatus.SUCCEEDED
    assert await office.queue.list_workers() == []


async def test_a_worker_without_a_machine_of_ours_is_told_to_end(office: Office) -> None:
    """One that somebody started by hand is sent away, for good."""
    member = await office.rig.join()
    job = await office.queue.release_worker("w1")
    await office.said(job.id, "told w1 to end")

    assert "released" in member.turned
    await office.rig.dispatcher.goodbye(member, "as it was told")
    assert (await office.until(job.id)).status is JobStatus.SUCCEEDED
    assert await office.queue.list_workers() == []


async def test_a_cancelled_release_undoes_the_draining(office: Office) -> None:
    """Whoever thinks better of it has the worker back as it was."""
    await office.rig.submit(task())
    await office.rig.join()
    job = await office.queue.release_worker("w1")
    await office.said(job.id, "takes nothing new")
    await office.queue.cancel_job(job.id)
    await office.until(job.id, "cancelled")

    assert (await office.queue.get_worker("w1")).status is WorkerStatus.ONLINE

    await office.queue.update_worker("w1", WorkerUpdate(draining=True))
    again = await office.queue.release_worker("w1")
    await office.until(again.id, "running")
    await office.queue.cancel_job(again.id)
    await office.until(again.id, "cancelled")

    assert (await office.queue.get_worker("w1")).status is WorkerStatus.DRAINING


async def test_a_dead_machine_is_released_at_once(office: Office, provider: Played) -> None:
    """What a worker held whose machine is surely dead is handed on without waiting for a lease."""
    [one] = await office.rig.submit(task())
    member = await office.rig.join()
    member.empty()
    await office.rig.dispatcher.goodbye(member, "crashed")
    provider.made["w1"] = Machine("w1", "north", "small", alive=False)

    job = await office.queue.release_worker("w1")
    ended = await office.until(job.id)

    assert ended.status is JobStatus.SUCCEEDED
    assert "handed on" in await office.log(job.id)
    assert (await office.queue.get_task(one)).losses == 1
    assert await office.queue.list_workers() == []


async def test_a_restart_ends_or_resumes_jobs(office: Office, provider: Played) -> None:
    """Recruiting that was under way has failed; releasing begins again; what ended stays."""
    await office.rig.submit(task())
    member = await office.rig.join()
    recruiting = await office.queue.recruit(Recruit(provider="played"))
    releasing = await office.queue.release_worker("w1")
    await office.said(recruiting.id, "made")
    await office.said(releasing.id, "takes nothing new")

    await office.restart()
    failed = await office.until(recruiting.id)
    held = [{"task": ref, "attempt": 1, "phase": "running"} for ref in member.held]
    member = await office.rig.join(held=held)
    for one in list(member.held):
        await office.rig.end(member, one)
    await office.said(releasing.id, "told w1 to end")
    await office.rig.dispatcher.goodbye(member, "as it was told")
    released = await office.until(releasing.id)

    assert failed.status is JobStatus.FAILED
    assert "restarted" in failed.detail
    assert "made" in await office.log(recruiting.id)
    assert released.status is JobStatus.SUCCEEDED
    before = await office.queue.list_jobs()
    await office.restart()
    assert await office.queue.list_jobs() == before


async def test_a_job_that_had_not_begun_is_begun_after_a_restart(
    office: Office, provider: Played
) -> None:
    """Waiting for its turn is no reason to fail."""
    office.queue.recruiter.jobs._slots = asyncio.Semaphore(0)
    job = await office.queue.recruit(Recruit(provider="played"))
    assert job.status is JobStatus.PENDING

    await office.restart()
    await office.said(job.id, "made played-1-1")
    await come(office, "played-1-1")

    assert (await office.until(job.id)).status is JobStatus.SUCCEEDED


async def test_a_long_log_keeps_its_head_and_its_tail(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that talks without end does not fill the disk, and readers see what is missing."""
    monkeypatch.setattr(limits, "JOB_LOG_BYTES", 4_000)
    monkeypatch.setattr(store, "_HEAD_CHARS", 1_000)
    job = await office.queue.recruit(Recruit(provider="played"))
    work = office.queue.recruiter.jobs
    for number in range(40):
        work.get(job.id).say(f"{number:04} {'x' * 200}")
        await work._save()
    log = await office.queue.get_job_log(job.id, LogFrom())

    assert log.text.index("0000 x") < log.text.index("characters were not kept")
    assert log.text.rstrip().endswith("x" * 200)
    assert "0039" in log.text
    assert "0020" not in log.text
    assert len(log.text) < 6_000
    kept = await office.db.read(
        lambda conn: conn.execute(sa.text("SELECT sum(size) FROM job_logs")).scalar()
    )
    assert int(kept) < 6_000


async def test_old_jobs_are_forgotten(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many jobs are remembered; of those that have ended, the oldest go first."""
    monkeypatch.setattr(limits, "JOBS_KEPT", 3)
    for _ in range(5):
        job = await office.queue.recruit(Recruit(provider="played"))
        await office.queue.cancel_job(job.id)
        await office.until(job.id)
    await office.queue.recruit(Recruit(provider="played"))

    assert [job.id for job in await office.queue.list_jobs()] == [6, 5, 4]
    with pytest.raises(NotFoundError):
        await office.queue.get_job(1)


async def test_a_mistake_of_ours_ends_a_job_and_is_told(
    office: Office, provider: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that breaks in a way nobody thought of fails its job, and nothing else."""

    async def machines() -> list[Machine]:
        raise KeyError("oops")

    monkeypatch.setattr(bringing, "_LOOKS_PER_CHECK", 1)
    monkeypatch.setattr(provider, "machines", machines)
    job = await office.queue.recruit(Recruit(provider="played"))
    ended = await office.until(job.id)

    assert ended.status is JobStatus.FAILED
    assert "oops" in ended.detail
    assert (await office.queue.list_providers())[0].name == "played"
