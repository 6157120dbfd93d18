"""Why a task is not running: the sentences, without a database."""

from typing import Any

import pytest

from pytq.schema.states import Phase, TaskStatus, WorkerStatus
from pytq.server.explaining import Case, Mate, explain, why_not
from pytq.server.rules import Needs

GIB = 2**30
BIG = Needs(8.0, 16 * GIB, 100 * GIB, 0, containers=True)
NOTHING = Needs(0.0, 0, 0, 0, containers=False)


def mate(name: str = "w1", **about: Any) -> Mate:
    usual = {
        "id": 1,
        "name": name,
        "status": WorkerStatus.ONLINE,
        "slots": 2,
        "held": 0,
        "total": BIG,
        "free": about.get("total", BIG),
    }
    return Mate(**(usual | about))


def case(**about: Any) -> Case:
    usual = {"task": 5, "status": TaskStatus.PENDING, "batch": "run7", "needs": NOTHING}
    return Case(**(usual | about))


@pytest.mark.parametrize(
    ("about", "worker", "said"),
    [
        ({}, {"status": WorkerStatus.OFFLINE}, "it is offline"),
        ({}, {"status": WorkerStatus.PAUSED}, "it is paused"),
        ({}, {"status": WorkerStatus.DRAINING}, "it is draining"),
        ({"needs": BIG._replace(cpus=9.0)}, {}, "suffice: the task asks for 9 CPUs, here are 8"),
        ({"needs": NOTHING._replace(cpus=1.0)}, {"total": NOTHING}, "asks for 1 CPU, here are 0"),
        (
            {"needs": BIG._replace(memory=32 * GIB)},
            {},
            "asks for 32 GiB of memory, here are 16 GiB",
        ),
        ({"needs": BIG._replace(disk=1000 * GIB)}, {}, "1000 GiB of disk, here are 100 GiB"),
        ({"needs": BIG._replace(gpus=1)}, {}, "asks for 1 GPU, here are 0 GPUs"),
        ({"needs": BIG}, {"total": BIG._replace(containers=False)}, "no Docker"),
        ({}, {"slots": 0}, "its concurrency is 0"),
        ({}, {"held": 2}, "it is full: it holds 2 of 2"),
        (
            {"needs": BIG},
            {"held": 1, "free": BIG._replace(cpus=2.0)},
            "what it holds leaves too little: the task asks for 8 CPUs, here are 2",
        ),
        ({"batch_paused": True}, {}, "it has room, but the batch is paused"),
        ({"ahead": 3}, {}, "it has room; others go first"),
        ({}, {}, "it has room; the task goes here next"),
    ],
)
def test_a_worker_says_what_keeps_it(
    about: dict[str, Any], worker: dict[str, Any], said: str
) -> None:
    """Of all that may keep a worker from a task, the first is told, with the numbers."""
    one = mate(**worker)

    assert said in why_not(case(**about), one, [one])


def test_grief_counts_only_beside_others() -> None:
    """The worker where a task failed is passed over as long as there is another one."""
    first, second = mate("w1"), mate("w2", id=2)

    assert "came to grief" in why_not(case(avoid=1), first, [first, second])
    assert "goes here next" in why_not(case(avoid=1), second, [first, second])
    assert "goes here next" in why_not(case(avoid=1), first, [first])


@pytest.mark.parametrize(
    ("about", "workers", "said"),
    [
        (
            {"status": TaskStatus.WAITING, "awaits": [(1, TaskStatus.ACTIVE)], "awaited": 3},
            [],
            "it waits on task 1 (active) and 2 more",
        ),
        (
            {"status": TaskStatus.WAITING, "due": 25.4, "reason": "exit code 1"},
            [],
            "its next try comes in 25 s; the last one: exit code 1",
        ),
        ({"batch_paused": True}, [mate()], "its batch run7 is paused"),
        ({}, [], "there is no worker in batch run7"),
        (
            {},
            [mate(status=WorkerStatus.PAUSED), mate("b", status=WorkerStatus.OFFLINE)],
            "no worker of batch run7 takes tasks now: 1 paused, 1 offline",
        ),
        ({"needs": BIG._replace(cpus=64.0)}, [mate()], "can run it; w1: the task asks for 64 CPUs"),
        ({"ahead": 12}, [mate(held=2)], "busy; 12 of its batch go first"),
        ({"ahead": 10_001}, [mate(held=2)], "more than 10,000 of its batch go first"),
        ({}, [mate(held=2)], "busy; it is the next one of its batch"),
        ({}, [mate()], "about to be given to a worker"),
        (
            {"status": TaskStatus.ACTIVE, "phase": Phase.DOWNLOADING, "worker": "w9"},
            [],
            "worker w9 fetches its inputs",
        ),
        (
            {"status": TaskStatus.ACTIVE, "phase": Phase.RUNNING, "worker": "w9", "paused": True},
            [],
            "it runs on worker w9, paused",
        ),
        ({"status": TaskStatus.SUCCEEDED}, [], "it succeeded"),
        ({"status": TaskStatus.FAILED, "reason": "exit code 1"}, [], "it failed: exit code 1"),
        ({"status": TaskStatus.CANCELLED}, [], "it was cancelled"),
    ],
)
def test_the_summary(about: dict[str, Any], workers: list[Mate], said: str) -> None:
    """One sentence says where a task is, or why it is nowhere."""
    assert said in explain(case(**about), workers).summary


@pytest.mark.parametrize("status", list(TaskStatus))
def test_only_a_pending_task_is_anybodys_business(status: TaskStatus) -> None:
    """Workers say why they do not take a task only where one could take it."""
    told = explain(case(status=status, phase=Phase.RUNNING, worker="w1"), [mate()])

    assert bool(told.workers) == (status is TaskStatus.PENDING)
    assert told.summary
