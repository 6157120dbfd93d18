"""The pure decisions: who gets which task, and what an outcome means for its task."""

import hypothesis.strategies as st
from hypothesis import given

from pytq.schema import limits
from pytq.schema.states import TASK_MOVES, Cause, Outcome, TaskStatus
from pytq.server.rules import STAGING, Candidate, Hungry, Tries, choose, fits, settle

amounts = st.integers(0, 4)
candidates = st.builds(
    Candidate,
    task=st.integers(1, 10**6),
    attempt=st.just(0),
    name=st.none(),
    spec=st.just("{}"),
    cpus=amounts.map(float),
    memory=amounts,
    disk=amounts,
    gpus=amounts,
    containers=st.booleans(),
)
workers = st.builds(
    Hungry,
    worker=st.integers(1, 10**6),
    batch=st.just("b"),
    concurrency=st.integers(0, 4),
    held=st.integers(0, 4),
    room=st.integers(0, 5),
    cpus=amounts.map(float),
    memory=amounts,
    disk=amounts,
    gpus=amounts,
    containers=st.booleans(),
)


@given(
    st.lists(candidates, max_size=20, unique_by=lambda c: c.task),
    st.lists(workers, max_size=5, unique_by=lambda w: w.worker),
)
def test_nobody_is_given_more_than_fits(tasks: list[Candidate], hungry: list[Hungry]) -> None:
    """Each task goes to one worker at most; no worker beyond its room or its machine."""
    before = {w.worker: (w.room, w.cpus, w.memory, w.disk, w.gpus, w.containers) for w in hungry}
    chosen = choose(tasks, hungry)

    assert len({task.task for task, _ in chosen}) == len(chosen)
    for worker, (room, cpus, memory, disk, gpus, containers) in before.items():
        mine = [task for task, whose in chosen if whose == worker]
        assert len(mine) <= room
        assert sum(task.cpus for task in mine) <= cpus
        assert sum(task.memory for task in mine) <= memory
        assert sum(task.disk for task in mine) <= disk
        assert sum(task.gpus for task in mine) <= gpus
        assert containers or not any(task.containers for task in mine)
    given_out = {task.task for task, _ in chosen}
    for task in tasks:
        if task.task not in given_out:
            assert not any(worker.room > 0 and fits(task, worker) for worker in hungry)


def worker(number: int, **about: object) -> Hungry:
    usual = {"batch": "b", "concurrency": 2, "held": 0, "room": 2, "cpus": 8.0, "memory": 0,
             "disk": 0, "gpus": 0, "containers": False}  # fmt: skip
    return Hungry(worker=number, **(usual | about))  # type: ignore[arg-type]


def test_work_is_spread() -> None:
    """The least crowded worker comes first, so that nobody idles beside a queue."""
    tasks = [Candidate(n, 0, None, "{}", 0, 0, 0, 0, containers=False) for n in range(4)]
    chosen = choose(tasks, [worker(1, held=2, room=4), worker(2), worker(3)])

    assert [whose for _, whose in chosen] == [2, 3, 2, 3]


@given(
    st.builds(
        Tries,
        retries=st.integers(0, 3),
        failures=st.integers(0, 3),
        losses=st.integers(0, limits.LOST_LIMIT - 1),
        stop_wanted=st.booleans(),
    ),
    st.sampled_from(Outcome),
    st.sampled_from([None, *Cause]),
)
def test_every_outcome_settles_its_task(
    tries: Tries, outcome: Outcome, cause: Cause | None
) -> None:
    """A verdict is always a legal move; only failures cost retries; who wants a stop gets it."""
    verdict = settle(tries, outcome, cause, "why")

    assert verdict.status in TASK_MOVES[TaskStatus.ACTIVE]
    counts = outcome is Outcome.FAILED and not tries.stop_wanted and cause not in STAGING
    assert verdict.failures - tries.failures == int(counts)
    if outcome is Outcome.SUCCEEDED:
        assert verdict.status is TaskStatus.SUCCEEDED
    elif tries.stop_wanted:
        assert verdict.status is TaskStatus.CANCELLED
    if outcome is Outcome.FAILED and cause in STAGING:
        assert verdict.status in (TaskStatus.FAILED, TaskStatus.CANCELLED)
    if verdict.status is TaskStatus.PENDING:
        assert verdict.losses < limits.LOST_LIMIT or cause is Cause.RETURNED
        assert verdict.failures <= tries.retries or outcome is not Outcome.FAILED
