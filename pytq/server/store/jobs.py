"""Jobs in the database: what was asked for, how far it is, and what was said meanwhile."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from pydantic_core import from_json, to_json

from pytq.schema import limits
from pytq.schema.recruit import JobKind, JobStatus, JobView
from pytq.server.store.bulk import execute_many
from pytq.server.store.changes import Changes, next_ids
from pytq.server.store.tables import AnyRow, job_logs, jobs

# Of what a job has said, beside its end: how it began.
_HEAD_CHARS: Final = 64 * 1024
_READ_ROWS: Final = 200
_SAID: Final = sa.insert(job_logs)


def create(conn: sa.Connection, view: JobView, wish: str, actor: str) -> tuple[JobView, Changes]:
    """Write down a new job; its number is given here."""
    number = next_ids(conn, "jobs", 1)
    view = view.model_copy(update={"id": number})
    conn.execute(sa.insert(jobs).values(id=number, wish=wish, **_values(view)))
    changes = Changes()
    at = _microseconds(view.created_at)
    changes.note(at, "asked", actor, batch=view.batch, detail=f"job {number}: {view.title}")
    changes.write(conn)
    return view, changes


def save(
    conn: sa.Connection, views: Sequence[JobView], said: Iterable[tuple[int, int, str]]
) -> None:
    """Write down how jobs stand, and what they said: of which job, from which character on."""
    for view in views:
        conn.execute(sa.update(jobs).where(jobs.c.id == view.id).values(**_values(view)))
    rows: list[dict[str, Any]] = [
        {"job": job, "offset": offset, "size": len(text), "text": text}
        for job, offset, text in said
    ]
    if rows:
        execute_many(conn, _SAID, rows)
    for row in rows:
        _trim(conn, row["job"], row["offset"] + row["size"])


def _trim(conn: sa.Connection, job: int, end: int) -> None:
    """Beyond the head, keep only the tail of a long log."""
    if end > limits.JOB_LOG_BYTES:
        conn.execute(
            sa.delete(job_logs).where(
                job_logs.c.job == job,
                job_logs.c.offset >= _HEAD_CHARS,
                job_logs.c.offset + job_logs.c.size <= end - limits.JOB_LOG_BYTES + _HEAD_CHARS,
            )
        )


def end(conn: sa.Connection, view: JobView) -> Changes:
    """Write down that a job has ended, and tell of it."""
    save(conn, [view], ())
    changes = Changes()
    detail = f"job {view.id}: {view.title}" + (f": {view.detail}" if view.detail else "")
    at = _microseconds(view.ended_at or view.created_at)
    changes.note(at, str(view.status), "server", batch=view.batch, detail=detail)
    changes.write(conn)
    return changes


def forget(conn: sa.Connection, ids: Sequence[int]) -> None:
    """Delete jobs, with what they said."""
    conn.execute(sa.delete(jobs).where(jobs.c.id.in_(ids)))


def every(conn: sa.Connection) -> list[tuple[JobView, str, int]]:
    """Every job that is remembered, oldest first; what was asked for; how long its log is."""
    length = sa.select(sa.func.max(job_logs.c.offset + job_logs.c.size))
    said = length.where(job_logs.c.job == jobs.c.id).scalar_subquery().label("said")
    rows = conn.execute(sa.select(jobs, said).order_by(jobs.c.id))
    return [(_view(row), row.wish, row.said or 0) for row in rows]


def read_log(conn: sa.Connection, job: int, offset: int) -> tuple[str, int]:
    """What a job said from a character on, as far as it was kept; and where that ends."""
    found = conn.execute(
        sa.select(job_logs.c.offset, job_logs.c.text)
        .where(job_logs.c.job == job, job_logs.c.offset + job_logs.c.size > offset)
        .order_by(job_logs.c.offset)
        .limit(_READ_ROWS)
    )
    text = ""
    for begin, part in found:
        if begin > offset:
            text += f"[{begin - offset} characters were not kept]\n"
            offset = begin
        text += part[offset - begin :]
        offset = begin + len(part)
    return text, offset


def _values(view: JobView) -> dict[str, Any]:
    return {
        "kind": view.kind.value,
        "status": view.status.value,
        "title": view.title,
        "progress": view.progress,
        "detail": view.detail,
        "batch": view.batch,
        "workers": to_json(view.workers).decode(),
        "created_at": _microseconds(view.created_at),
        "started_at": view.started_at and _microseconds(view.started_at),
        "ended_at": view.ended_at and _microseconds(view.ended_at),
    }


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6)


def _view(row: AnyRow) -> JobView:
    return JobView(
        id=row.id,
        kind=JobKind(row.kind),
        status=JobStatus(row.status),
        title=row.title,
        progress=row.progress,
        detail=row.detail,
        batch=row.batch,
        workers=from_json(row.workers),
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )
