"""Handing pending tasks to hungry workers: one transaction for all of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa

from pytq.schema import limits
from pytq.schema.states import Phase, TaskStatus
from pytq.server.rules import Candidate, Hungry, choose
from pytq.server.store.bulk import execute_many, fetch
from pytq.server.store.changes import Changes
from pytq.server.store.crew import holding
from pytq.server.store.engine import among, listed
from pytq.server.store.tables import AnyRow, batches, executions, tasks

Known = Mapping[int, Collection[int]]  # the tasks that each worker holds


@dataclass(frozen=True, slots=True)
class Granted:
    """A task handed to a worker; `spec` is the JSON of its core, as it was stored."""

    worker: int
    attempt: int
    candidate: Candidate


@dataclass(slots=True)
class Leased:
    """What one pass handed out, and which batches have nothing more that fits anybody."""

    granted: list[Granted] = field(default_factory=list)
    astray: list[AnyRow] = field(default_factory=list)  # leased by a pass that seemed to fail
    dry: set[str] = field(default_factory=set)
    changes: Changes = field(default_factory=Changes)


_PENDING: Final[sa.ColumnElement[str]] = sa.literal_column(
    "'pending'"
)  # literal, or the partial index goes unused
_CANDIDATES: Final = (
    sa.select(
        tasks.c.id,
        tasks.c.attempt,
        tasks.c.name,
        tasks.c.spec,
        tasks.c.cpus,
        tasks.c.memory,
        tasks.c.disk,
        tasks.c.gpus,
        tasks.c.containers,
        sa.case((tasks.c.changed_at > sa.bindparam("of_late"), tasks.c.avoid)),
    )
    .where(
        tasks.c.status == _PENDING,
        tasks.c.batch == sa.bindparam("from_batch"),
        tasks.c.cpus <= sa.bindparam("cpus"),
        tasks.c.memory <= sa.bindparam("memory"),
        tasks.c.disk <= sa.bindparam("disk"),
        tasks.c.gpus <= sa.bindparam("gpus"),
        sa.or_(sa.bindparam("containers", type_=sa.Boolean()), sa.not_(tasks.c.containers)),
        sa.or_(
            tasks.c.avoid.is_(None),
            tasks.c.avoid != sa.bindparam("only"),
            tasks.c.changed_at <= sa.bindparam("of_late"),
        ),
        ~sa.exists().where(
            batches.c.name == sa.bindparam("from_batch"), batches.c.paused.is_(True)
        ),
    )
    .order_by(tasks.c.priority.desc(), tasks.c.id)
    .limit(sa.bindparam("room"))
    .with_for_update(skip_locked=True, of=tasks)
)
# Tasks that keep away from a worker for a while: it may be theirs later.
_SHY: Final = (
    sa.select(tasks.c.id)
    .where(
        tasks.c.status == _PENDING,
        tasks.c.batch == sa.bindparam("from_batch"),
        tasks.c.avoid.is_not(None),
    )
    .limit(1)
)
# The candidates are locked, so each one's next attempt is the one that was granted.
_ACTIVATE: Final = (
    sa.update(tasks)
    .where(tasks.c.status == _PENDING)
    .values(
        status=TaskStatus.ACTIVE.value, attempt=tasks.c.attempt + 1, changed_at=sa.bindparam("at")
    )
)
_OPEN: Final = sa.insert(executions)


@cache
def _activate(dialect: str) -> sa.Update:
    return _ACTIVATE.where(among(dialect, tasks.c.id, "chosen"))


def lease(
    conn: sa.Connection, now: int, hungry: Sequence[Hungry], known: Known | None = None
) -> Leased:
    """Open executions for hungry workers, each batch's most urgent and oldest tasks first.

    With `known`, what connected workers are known to hold, it also finds what a pass before has
    leased to them when its commit seemed to fail: without that, nobody would ever be told.
    """
    leased = Leased()
    for worker, held in (known or {}).items():
        leased.astray += [row for row in holding(conn, worker) if _is_astray(row, held)]
    by_batch = sorted((worker for worker in hungry if worker.room > 0), key=lambda w: w.batch)
    for batch, group in groupby(by_batch, key=lambda worker: worker.batch):
        workers = list(group)
        wanted = min(sum(worker.room for worker in workers), limits.LEASES_PER_TICK)
        rows = fetch(conn, _CANDIDATES, _appetite(now, batch, workers, wanted))
        candidates = [Candidate(*row) for row in rows]
        if len(candidates) < wanted and not fetch(conn, _SHY, {"from_batch": batch}):
            leased.dry.add(batch)
        for candidate, worker in choose(candidates, workers):
            leased.granted.append(Granted(worker, candidate.attempt + 1, candidate))
            leased.changes.move(candidate.task, batch, TaskStatus.PENDING, TaskStatus.ACTIVE)
    if leased.granted:
        _open(conn, now, leased.granted)
        leased.changes.write(conn)
    return leased


def _is_astray(row: AnyRow, held: Collection[int]) -> bool:
    return Phase(row.phase) is Phase.ASSIGNED and row.task not in held


def _appetite(now: int, batch: str, workers: Sequence[Hungry], wanted: int) -> dict[str, Any]:
    """The most that any of the workers could take: what fits nobody is not even looked at."""
    alone = len(workers) == 1 and workers[0].peers
    return {
        "from_batch": batch,
        "of_late": now - round(limits.AVOID_SECONDS * 1e6),
        "only": workers[0].worker if alone else 0,
        "cpus": max(worker.cpus for worker in workers),
        "memory": max(worker.memory for worker in workers),
        "disk": max(worker.disk for worker in workers),
        "gpus": max(worker.gpus for worker in workers),
        "containers": any(worker.containers for worker in workers),
        "room": wanted,
    }


def _open(conn: sa.Connection, now: int, granted: Sequence[Granted]) -> None:
    dialect = conn.dialect.name
    chosen = listed(dialect, [g.candidate.task for g in granted])
    fetch(conn, _activate(dialect), {"chosen": chosen, "at": now})
    # One open execution per task is a unique index: a task leased twice would be refused here.
    execute_many(
        conn,
        _OPEN,
        [
            {
                "task": g.candidate.task,
                "attempt": g.attempt,
                "worker": g.worker,
                "phase": Phase.ASSIGNED.value,
                "paused": False,
                "assigned_at": now,
                "stdout_bytes": 0,
                "stderr_bytes": 0,
            }
            for g in granted
        ],
    )
