"""One simulated history: a world, its people and its fates, from the first task to the last."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sim_fates import Fates
from sim_people import People
from sim_truth import unfinished
from sim_world import World, world

from pytq.server.store.tables import tasks

TASKS: Final = 45
FAULTY_SECONDS: Final = 200.0
DRAIN_SECONDS: Final = 1200.0
AUDIT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class History:
    """What a history came to."""

    steps: int
    seconds: float  # simulated
    faults: Counter[str]
    outcomes: Counter[str]
    digest: int


def play(seed: int, folder: Path, only: Collection[str] = ()) -> History:
    """Play the history of a seed; AssertionError where a promise was broken.

    `only` names the faults that there are, when not all of them.
    """
    with world(seed, folder) as one:
        people = People(one)
        fates = Fates(one, people, only)
        people.submit_all(TASKS, FAULTY_SECONDS * 0.8)
        fates.begin()
        while one.timeline.now < FAULTY_SECONDS:
            one.run(AUDIT_SECONDS)
            one.server.db.look(one.truth.audit)
        fates.heal()
        _drain(one, people)
        one.server.db.look(lambda conn: one.truth.settle(conn, people.acknowledged))
        one.run(0.0)
        outcomes = one.server.db.look(_outcomes)
        return History(
            one.timeline.steps, one.timeline.now, fates.done, outcomes, one.timeline.digest
        )


def _drain(one: World, people: People) -> None:
    """Let everything come to its end, with all knobs where something can run."""

    def over() -> bool:
        return not people.waiting and not one.server.db.look(unfinished)

    until = one.timeline.now + DRAIN_SECONDS
    while one.timeline.now < until and not over():
        people.hold(paused=False)
        for worker in one.workers:
            people.tune(worker, {"paused": False, "concurrency": 4})
        people.resume_all()
        one.run(AUDIT_SECONDS)
        one.server.db.look(one.truth.audit)


def _outcomes(conn: sa.Connection) -> Counter[str]:
    query = sa.select(tasks.c.status, sa.func.count()).group_by(tasks.c.status)
    return Counter({row.status: row[1] for row in conn.execute(query)})
