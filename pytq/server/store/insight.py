"""Reading what explains things: how tasks of a batch failed, and what one of them waits for."""

from typing import Any, Final

import sqlalchemy as sa

from pytq.schema import limits
from pytq.schema.problems import NotFoundError
from pytq.schema.states import Cause, Phase, TaskStatus
from pytq.schema.views import FailureView
from pytq.server.explaining import Case
from pytq.server.rules import Needs
from pytq.server.store.tables import (
    AnyRow,
    batches,
    executions,
    requirements,
    task_counts,
    tasks,
    workers,
)

_NAMED: Final = 5  # requirements
_LATEST: Final = sa.and_(executions.c.task == tasks.c.id, executions.c.attempt == tasks.c.attempt)


def failures(conn: sa.Connection, batch: str) -> list[FailureView]:
    """How the failed tasks of a batch failed, the most frequent way first.

    Looks at the newest `limits.FAILURES_EXAMINED` of them, so that a million cost no more.
    """
    if conn.execute(sa.select(batches.c.name).where(batches.c.name == batch)).first() is None:
        raise NotFoundError(f"there is no batch {batch!r}", field="name")
    failed = (tasks.c.batch == batch, tasks.c.status == TaskStatus.FAILED.value)
    newest = sa.select(tasks.c.id, tasks.c.attempt, tasks.c.cause).where(*failed)
    newest = newest.order_by(tasks.c.id.desc()).limit(limits.FAILURES_EXAMINED)
    some = newest.subquery()
    tried = sa.and_(executions.c.task == some.c.id, executions.c.attempt == some.c.attempt)
    number, example = sa.func.count(), sa.func.max(some.c.id)
    groups = conn.execute(
        sa.select(some.c.cause, executions.c.exit_code, number, example)
        .outerjoin(executions, tried)
        .group_by(some.c.cause, executions.c.exit_code)
        .order_by(number.desc(), example.desc())
    ).all()
    details = _details(conn, [row[3] for row in groups])
    sampled = _how_many(conn, batch) > limits.FAILURES_EXAMINED
    return [
        FailureView(
            cause=Cause(cause or Cause.EXIT),
            exit_code=exit_code,
            count=count,
            task=task,
            detail=details[task],
            sampled=sampled,
        )
        for cause, exit_code, count, task in groups
    ]


def _details(conn: sa.Connection, ids: list[int]) -> dict[int, str]:
    found = conn.execute(sa.select(tasks.c.id, tasks.c.detail).where(tasks.c.id.in_(ids)))
    return {task: detail or "" for task, detail in found}


def _how_many(conn: sa.Connection, batch: str) -> int:
    counted = task_counts.c.batch == batch, task_counts.c.status == TaskStatus.FAILED.value
    return conn.execute(sa.select(task_counts.c.n).where(*counted)).scalar() or 0


def case_of(conn: sa.Connection, now: int, task: int) -> Case:
    """What is known of a task that somebody asks about."""
    query = (
        sa.select(
            tasks,
            batches.c.paused.label("batch_paused"),
            executions.c.phase,
            executions.c.paused.label("stopped"),
            workers.c.name.label("worker_name"),
        )
        .join(batches, batches.c.name == tasks.c.batch)
        .outerjoin(executions, _LATEST)
        .outerjoin(workers, workers.c.id == executions.c.worker)
    )
    row = conn.execute(query.where(tasks.c.id == task)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no task {task}", field="task")
    return Case(
        task=task,
        status=TaskStatus(row.status),
        batch=row.batch,
        needs=Needs(row.cpus, row.memory, row.disk, row.gpus, row.containers),
        batch_paused=row.batch_paused,
        reason=row.detail or "",
        due=None if row.due_at is None else (row.due_at - now) / 1e6,
        avoid=row.avoid,
        ahead=_ahead(conn, row) if row.status == TaskStatus.PENDING else 0,
        worker=row.worker_name,
        phase=Phase(row.phase) if row.phase else None,
        paused=bool(row.stopped),
        **_awaited(conn, task),
    )


def _awaited(conn: sa.Connection, task: int) -> dict[str, Any]:
    unmet = (requirements.c.task == task, sa.not_(requirements.c.met))
    number = conn.execute(sa.select(sa.func.count()).select_from(requirements).where(*unmet))
    named = conn.execute(
        sa.select(tasks.c.id, tasks.c.status)
        .join(requirements, requirements.c.required == tasks.c.id)
        .where(*unmet)
        .order_by(tasks.c.id)
        .limit(_NAMED)
    )
    awaits = [(required, TaskStatus(status)) for required, status in named]
    return {"awaits": awaits, "awaited": number.scalar_one()}


def _ahead(conn: sa.Connection, row: AnyRow) -> int:
    """How many pending tasks of its batch go before a task; counts no further than needed."""
    # As text, or the partial index goes unused.
    pending: sa.ColumnElement[str] = sa.literal_column("'pending'")
    first = sa.or_(
        tasks.c.priority > row.priority,
        sa.and_(tasks.c.priority == row.priority, tasks.c.id < row.id),
    )
    some = (
        sa.select(tasks.c.id)
        .where(tasks.c.status == pending, tasks.c.batch == row.batch, first)
        .order_by(tasks.c.priority.desc(), tasks.c.id)
        .limit(limits.AHEAD + 1)
        .subquery()
    )
    return conn.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
