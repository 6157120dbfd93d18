"""Tasks that wait on tasks: woken when what they require ended well, failed when it did not."""

from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from pytq.schema.states import TASK_ENDED, Cause, TaskStatus
from pytq.server.store.bulk import execute_many
from pytq.server.store.changes import Changes
from pytq.server.store.engine import among, listed
from pytq.server.store.tables import AnyRow, requirements, tasks

_FAIL: Final = (
    sa.update(tasks)
    .where(tasks.c.id == sa.bindparam("t_id"), tasks.c.status == TaskStatus.WAITING.value)
    .values(
        status=TaskStatus.FAILED.value,
        cause=Cause.REQUIREMENT.value,
        detail=sa.bindparam("why"),
        changed_at=sa.bindparam("at"),
    )
)


def promote(
    conn: sa.Connection, now: int, ended: Mapping[int, TaskStatus], changes: Changes
) -> None:
    """Settle those who waited on tasks that have just ended, and those who waited on them."""
    while ended:
        good = [task for task, status in ended.items() if status is TaskStatus.SUCCEEDED]
        bad = {task: status for task, status in ended.items() if status in TASK_ENDED}
        _mark_met(conn, good, ended)
        _wake(conn, now, ended, changes)
        ended = _fail(conn, now, {t: s for t, s in bad.items() if t not in good}, changes)


def _mark_met(conn: sa.Connection, good: list[int], ended: Iterable[int]) -> None:
    dialect = conn.dialect.name
    edge = requirements.c
    conn.execute(
        sa.update(requirements)
        .where(
            sa.or_(
                among(dialect, edge.required, "good"),
                sa.and_(among(dialect, edge.required, "ended"), edge.any_end),
            ),
            sa.not_(edge.met),
        )
        .values(met=True),
        {"good": listed(dialect, good), "ended": listed(dialect, ended)},
    )


def _wake(conn: sa.Connection, now: int, ended: Iterable[int], changes: Changes) -> None:
    """Those who waited on these tasks and now wait on none go to pending."""
    dialect = conn.dialect.name
    edge = requirements.c
    unmet = requirements.alias("unmet")
    woken = conn.execute(
        sa.update(tasks)
        .where(
            tasks.c.status == TaskStatus.WAITING.value,
            tasks.c.due_at.is_(None),
            tasks.c.id.in_(sa.select(edge.task).where(among(dialect, edge.required, "ended"))),
            ~sa.exists().where(unmet.c.task == tasks.c.id, sa.not_(unmet.c.met)),
        )
        .values(status=TaskStatus.PENDING.value, changed_at=now)
        .returning(tasks.c.id, tasks.c.batch),
        {"ended": listed(dialect, ended)},
    )
    for row in woken:
        changes.move(row.id, row.batch, TaskStatus.WAITING, TaskStatus.PENDING)


def _fail(
    conn: sa.Connection, now: int, bad: Mapping[int, TaskStatus], changes: Changes
) -> dict[int, TaskStatus]:
    """Those who needed one of these to succeed fail; returns the ones awaited themselves."""
    if not bad:
        return {}
    broken = _waiting_on(conn, bad)
    if not broken:
        return {}
    execute_many(
        conn,
        _FAIL,
        [
            {
                "t_id": row.id,
                "at": now,
                "why": f"task {row.required}, which it requires, {bad[row.required]}",
            }
            for row in broken.values()
        ],
    )
    for row in broken.values():
        changes.move(row.id, row.batch, TaskStatus.WAITING, TaskStatus.FAILED)
    return {row.id: TaskStatus.FAILED for row in broken.values() if row.awaited}


def _waiting_on(conn: sa.Connection, bad: Mapping[int, TaskStatus]) -> dict[int, AnyRow]:
    dialect = conn.dialect.name
    edge = requirements.c
    found = conn.execute(
        sa.select(tasks.c.id, tasks.c.batch, tasks.c.awaited, edge.required)
        .join(requirements, edge.task == tasks.c.id)
        .where(
            among(dialect, edge.required, "bad"),
            sa.not_(edge.any_end),
            tasks.c.status == TaskStatus.WAITING.value,
        ),
        {"bad": listed(dialect, bad)},
    )
    return {row.id: row for row in found}


def wake_due(conn: sa.Connection, now: int) -> Changes:
    """Those whose next try is due go to pending; `due` of the changes is when to look again."""
    changes = Changes()
    unmet = requirements.alias("unmet")
    waits = sa.exists().where(unmet.c.task == tasks.c.id, sa.not_(unmet.c.met))
    woken = conn.execute(
        sa.update(tasks)
        .where(tasks.c.due_at <= now, tasks.c.status == TaskStatus.WAITING.value)
        .values(
            status=sa.case((waits, TaskStatus.WAITING.value), else_=TaskStatus.PENDING.value),
            due_at=None,
            changed_at=now,
        )
        .returning(tasks.c.id, tasks.c.batch, tasks.c.status)
    )
    for row in woken:
        if row.status == TaskStatus.PENDING:
            changes.move(row.id, row.batch, TaskStatus.WAITING, TaskStatus.PENDING)
    changes.write(conn)
    changes.due = conn.execute(sa.select(sa.func.min(tasks.c.due_at))).scalar()
    return changes


def revive(conn: sa.Connection, now: int, again: Iterable[int], changes: Changes) -> None:
    """Tasks are to run again: those that failed for their sake wait for them once more."""
    dialect = conn.dialect.name
    edge = requirements.c
    ids = list(again)
    while ids:
        bound = {"again": listed(dialect, ids)}
        waits = among(dialect, edge.required, "again")
        revived = conn.execute(
            sa.update(tasks)
            .where(
                tasks.c.status == TaskStatus.FAILED.value,
                tasks.c.cause == Cause.REQUIREMENT.value,
                tasks.c.id.in_(sa.select(edge.task).where(waits)),
            )
            .values(status=TaskStatus.WAITING.value, cause=None, detail=None, changed_at=now)
            .returning(tasks.c.id, tasks.c.batch, tasks.c.awaited),
            bound,
        )
        rows = revived.all()
        for row in rows:
            changes.move(row.id, row.batch, TaskStatus.FAILED, TaskStatus.WAITING)
        still_waiting = sa.select(tasks.c.id).where(tasks.c.status == TaskStatus.WAITING.value)
        conn.execute(
            sa.update(requirements)
            .where(waits, edge.met, edge.task.in_(still_waiting))
            .values(met=False),
            bound,
        )
        ids = [row.id for row in rows if row.awaited]
