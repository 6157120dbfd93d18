"""Looking: pages by keyset, counts from the kept counts, rows turned into the API's views."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json

from pytq.schema.problems import NotFoundError
from pytq.schema.queries import EventFilter
from pytq.schema.states import Cause, Phase, RunWhen, TaskStatus
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import (
    BatchView,
    Counts,
    EventView,
    Page,
    Reason,
    TaskView,
)
from pytq.server.store.engine import among, listed
from pytq.server.store.tables import (
    AnyRow,
    batches,
    events,
    executions,
    requirements,
    task_counts,
    tasks,
    workers,
)


def _cursor(rows: Sequence[AnyRow], limit: int, name: Any) -> str | None:
    return name(rows[limit - 1]) if len(rows) > limit else None


def get_task(conn: sa.Connection, task: int) -> TaskView:
    """One task."""
    row = (conn.execute(sa.select(tasks).where(tasks.c.id == task))).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no task {task}", field="task")
    [view] = task_views(conn, [row])
    return view


def owner(conn: sa.Connection, task: int) -> str | None:
    """Who submitted a task; None for those from before there were tokens."""
    row = conn.execute(sa.select(tasks.c.owner).where(tasks.c.id == task)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no task {task}", field="task")
    return None if row.owner is None else str(row.owner)


def task_views(conn: sa.Connection, rows: Sequence[AnyRow]) -> list[TaskView]:
    """Rows of tasks as the API shows them."""
    required: dict[int, list[int]] = {}
    if rows:
        dialect = conn.dialect.name
        found = conn.execute(
            sa.select(requirements.c.task, requirements.c.required)
            .where(among(dialect, requirements.c.task, "ids"))
            .order_by(requirements.c.task, requirements.c.required),
            {"ids": listed(dialect, [row.id for row in rows])},
        )
        for edge in found:
            required.setdefault(edge.task, []).append(edge.required)
    return [_task_view(row, required.get(row.id, [])) for row in rows]


def _task_view(row: AnyRow, required: list[int]) -> TaskView:
    return TaskView(
        id=row.id,
        name=row.name,
        batch=row.batch,
        owner=row.owner,
        status=TaskStatus(row.status),
        priority=row.priority,
        retries=row.retries,
        failures=row.failures,
        losses=row.losses,
        attempt=row.attempt,
        due_at=row.due_at,
        run_when=RunWhen(row.run_when),
        requirements=required,
        tags=from_json(row.tags) if row.tags else {},
        reason=reason(row),
        created_at=row.created_at,
        changed_at=row.changed_at,
        spec=TaskSpec.model_validate_json(row.spec),
    )


def reason(row: AnyRow) -> Reason | None:
    """Why something is as its row says."""
    return Reason(cause=Cause(row.cause), detail=row.detail or "") if row.cause else None


def count(conn: sa.Connection, batch: str | None) -> Counts:
    """How many tasks there are of each status, in one batch or in all."""
    query = sa.select(task_counts.c.status, sa.func.sum(task_counts.c.n))
    if batch is not None:
        query = query.where(task_counts.c.batch == batch)
    found = conn.execute(query.group_by(task_counts.c.status))
    return Counts(**{status: int(n) for status, n in found})


def list_batches(
    conn: sa.Connection, online: Mapping[str, int], only: Collection[str] | None = None
) -> list[BatchView]:
    """Batches with their counts, all or `only` some; `online` tells how many workers each has."""
    query = sa.select(batches).order_by(batches.c.name)
    numbers = sa.select(task_counts)
    if only is not None:
        query = query.where(batches.c.name.in_(only))
        numbers = numbers.where(task_counts.c.batch.in_(only))
    counts: dict[str, dict[str, int]] = {}
    for row in conn.execute(numbers):
        counts.setdefault(row.batch, {})[row.status] = row.n
    return [
        BatchView(
            name=row.name,
            paused=row.paused,
            created_at=row.created_at,
            counts=Counts(**counts.get(row.name, {})),
            workers=online.get(row.name, 0),
        )
        for row in conn.execute(query)
    ]


def list_workers(conn: sa.Connection, names: Collection[str] | None = None) -> Sequence[AnyRow]:
    """Every worker that is not gone, or those of these names."""
    query = sa.select(workers).where(workers.c.gone.is_(False)).order_by(workers.c.name)
    if names is not None:
        query = query.where(workers.c.name.in_(names))
    return conn.execute(query).all()


def crew(
    conn: sa.Connection, names: Collection[str] | None, connected: Collection[int]
) -> tuple[Sequence[AnyRow], dict[int, dict[Phase, int]]]:
    """Workers, and how many executions each of those that are not connected holds, by phase."""
    rows = list_workers(conn, names)
    away = [row.id for row in rows if row.id not in connected]
    return rows, _held_by(conn, away) if away else {}


def _held_by(conn: sa.Connection, which: Collection[int]) -> dict[int, dict[Phase, int]]:
    dialect = conn.dialect.name
    found = conn.execute(
        sa.select(executions.c.worker, executions.c.phase, sa.func.count())
        .where(executions.c.ended_at.is_(None), among(dialect, executions.c.worker, "which"))
        .group_by(executions.c.worker, executions.c.phase),
        {"which": listed(dialect, which)},
    )
    held: dict[int, dict[Phase, int]] = {}
    for worker, phase, number in found:
        held.setdefault(worker, {})[Phase(phase)] = number
    return held


def list_events(conn: sa.Connection, wanted: EventFilter) -> Page[EventView]:
    """One page of events."""
    query = sa.select(events)
    for column, value in (
        (events.c.task, wanted.task),
        (events.c.batch, wanted.batch),
        (events.c.worker, wanted.worker),
    ):
        if value is not None:
            query = query.where(column == value)
    after = int(wanted.after.split(".")[0]) if wanted.after else None
    if after is not None:
        query = query.where(events.c.id > after if wanted.oldest_first else events.c.id < after)
    order = events.c.id if wanted.oldest_first else events.c.id.desc()
    rows = (conn.execute(query.order_by(order).limit(wanted.limit + 1))).all()
    return Page[EventView](
        items=[EventView(**row._mapping) for row in rows[: wanted.limit]],  # noqa: SLF001 - its public name
        next=_cursor(rows, wanted.limit, lambda row: str(row.id)),
    )


def statuses(conn: sa.Connection, ids: Iterable[int]) -> dict[int, TaskStatus]:
    """How some tasks stand."""
    dialect = conn.dialect.name
    found = conn.execute(
        sa.select(tasks.c.id, tasks.c.status).where(among(dialect, tasks.c.id, "ids")),
        {"ids": listed(dialect, ids)},
    )
    return {row.id: TaskStatus(row.status) for row in found}


def latest(conn: sa.Connection, task: int) -> AnyRow:
    """A task's status and its latest execution, if it has one yet."""
    found = conn.execute(
        sa.select(
            tasks.c.status,
            tasks.c.cause,
            tasks.c.detail,
            tasks.c.attempt,
            executions.c.exit_code,
            executions.c.stdout_bytes,
            executions.c.stderr_bytes,
        )
        .outerjoin(
            executions,
            sa.and_(executions.c.task == tasks.c.id, executions.c.attempt == tasks.c.attempt),
        )
        .where(tasks.c.id == task)
    )
    row = found.one_or_none()
    if row is None:
        raise NotFoundError(f"there is no task {task}", field="task")
    return row
