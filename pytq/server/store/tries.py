"""Executions, one by one and in lists: newest task first, and of each task the newest try first."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from pytq.schema import limits
from pytq.schema.problems import NotFoundError
from pytq.schema.queries import ExecutionFilter
from pytq.schema.states import Outcome, Phase, Signal
from pytq.schema.views import ExecutionView, Page
from pytq.server.store.engine import among, listed
from pytq.server.store.reading import reason
from pytq.server.store.tables import AnyRow, executions, workers

_WINDOW: Final = 50_000  # task numbers, looked through for an outcome: no index knows of those
_EXECUTIONS: Final = sa.select(executions, workers.c.name.label("worker_name")).join(
    workers, workers.c.id == executions.c.worker
)
_NUMBER: Final = (executions.c.task.desc(), executions.c.attempt.desc())


def list_executions(conn: sa.Connection, wanted: ExecutionFilter) -> Page[ExecutionView]:
    """One page of executions.

    One request looks through so many tasks for an outcome; a page may then be short, or empty,
    and its cursor tells where to go on.
    """
    sources = _sources(conn, wanted)
    after = _place(wanted.after)
    found: list[AnyRow] = []
    lowest: int | None = None
    for lowest in _windows(conn, wanted, after):
        span = [] if lowest is None else [executions.c.task >= lowest]
        found += _take(
            conn, [s.where(*span) for s in sources], after, wanted.limit + 1 - len(found)
        )
        if len(found) > wanted.limit:
            last = found[wanted.limit - 1]
            return _page(found[: wanted.limit], f"{last.task}.{last.attempt}")
        if lowest is not None:
            after = (lowest, 0)
    return _page(found, f"{lowest}.0" if lowest is not None and lowest > 1 else None)


def _page(rows: Sequence[AnyRow], cursor: str | None) -> Page[ExecutionView]:
    return Page[ExecutionView](items=[_execution_view(row) for row in rows], next=cursor)


def _place(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    task, _, attempt = cursor.partition(".")
    return int(task), int(attempt or 0)


def _sources(conn: sa.Connection, wanted: ExecutionFilter) -> list[sa.Select[*tuple[Any, ...]]]:
    """Queries that read an index in the list's order: one for each worker of the name."""
    query = _EXECUTIONS
    if wanted.task is not None:
        query = query.where(executions.c.task == wanted.task)
    if wanted.open is not None:
        open_now = executions.c.ended_at.is_(None)
        query = query.where(open_now if wanted.open else sa.not_(open_now))
    if wanted.outcome is not None:
        query = query.where(executions.c.outcome == wanted.outcome.value)
    if wanted.worker is None:
        return [query]
    named = conn.execute(sa.select(workers.c.id).where(workers.c.name == wanted.worker)).scalars()
    return [query.where(executions.c.worker == worker) for worker in named]


def _windows(
    conn: sa.Connection, wanted: ExecutionFilter, after: tuple[int, int] | None
) -> Iterator[int | None]:
    """From which task on to look, down and down; None where nothing needs to be bounded."""
    if wanted.outcome is None or wanted.task is not None:
        yield None
        return
    newest = conn.execute(sa.select(sa.func.max(executions.c.task))).scalar() or 0
    high = newest if after is None else min(newest, after[0])
    for looked in range(0, limits.SEARCH_IDS, _WINDOW):
        lowest = high - looked - _WINDOW + 1
        yield max(1, lowest)
        if lowest <= 1:
            return


def _take(
    conn: sa.Connection,
    sources: Sequence[sa.Select[*tuple[Any, ...]]],
    after: tuple[int, int] | None,
    most: int,
) -> list[AnyRow]:
    """The next `most` rows of all sources together."""
    rows: list[AnyRow] = []
    here = sa.tuple_(executions.c.task, executions.c.attempt)
    for source in sources:
        query = source
        if after is not None:
            query = query.where(here < sa.tuple_(*map(sa.literal, after)))
        rows += conn.execute(query.order_by(*_NUMBER).limit(most))
    return sorted(rows, key=lambda row: (row.task, row.attempt), reverse=True)[:most]


def get_execution(conn: sa.Connection, task: int, attempt: int) -> ExecutionView:
    """One execution."""
    found = conn.execute(
        _EXECUTIONS.where(executions.c.task == task, executions.c.attempt == attempt)
    )
    row = found.one_or_none()
    if row is None:
        raise NotFoundError(f"there is no execution {task}.{attempt}", field="execution")
    return _execution_view(row)


def executions_of(
    conn: sa.Connection, refs: Collection[tuple[int, int]]
) -> dict[tuple[int, int], ExecutionView]:
    """Those of these executions that there are; each is a task and an attempt."""
    dialect = conn.dialect.name
    found = conn.execute(
        _EXECUTIONS.where(among(dialect, executions.c.task, "of")),
        {"of": listed(dialect, [task for task, _ in refs])},
    )
    wanted = set(refs)
    rows = [row for row in found if (row.task, row.attempt) in wanted]
    return {(row.task, row.attempt): _execution_view(row) for row in rows}


def _execution_view(row: AnyRow) -> ExecutionView:
    return ExecutionView(
        id=f"{row.task}.{row.attempt}",
        task=row.task,
        attempt=row.attempt,
        worker=row.worker_name,
        phase=Phase(row.phase),
        outcome=Outcome(row.outcome) if row.outcome else None,
        reason=reason(row),
        exit_code=row.exit_code,
        paused=row.paused,
        stop_wanted=Signal(row.stop_wanted) if row.stop_wanted else None,
        assigned_at=row.assigned_at,
        downloading_at=row.downloading_at,
        ready_at=row.ready_at,
        running_at=row.running_at,
        uploading_at=row.uploading_at,
        ended_at=row.ended_at,
        cpu_seconds=row.cpu_seconds,
        memory=row.memory,
        stdout_bytes=row.stdout_bytes,
        stderr_bytes=row.stderr_bytes,
    )
