"""What people do to tasks and batches: cancel, run again, change, delete."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from pydantic_core import from_json, to_json

from pytq.schema import limits
from pytq.schema.problems import ConflictError, NotFoundError
from pytq.schema.states import TASK_ENDED, Cause, Signal, TaskStatus
from pytq.schema.views import TaskUpdate
from pytq.server.store.changes import Changes
from pytq.server.store.engine import among, listed
from pytq.server.store.promoting import promote, revive
from pytq.server.store.submitting import ENSURE_BATCH
from pytq.server.store.tables import AnyRow, batches, executions, requirements, task_counts, tasks

Verb = Callable[[sa.Connection], Changes]
Act = Callable[[sa.Connection, int, Sequence[int], str], Changes]

_LOOK: Final = (
    tasks.c.id,
    tasks.c.batch,
    tasks.c.status,
    tasks.c.attempt,
    tasks.c.awaited,
    tasks.c.spec,
    tasks.c.due_at,
)


def _locked(conn: sa.Connection, ids: Iterable[int]) -> dict[int, AnyRow]:
    dialect = conn.dialect.name
    found = conn.execute(
        sa.select(*_LOOK)
        .where(among(dialect, tasks.c.id, "ids"))
        .order_by(tasks.c.id)
        .with_for_update(),
        {"ids": listed(dialect, ids)},
    )
    return {row.id: row for row in found}


def _one(conn: sa.Connection, task: int) -> AnyRow:
    found = _locked(conn, [task])
    if task not in found:
        raise NotFoundError(f"there is no task {task}", field="task")
    return found[task]


def cancel(conn: sa.Connection, now: int, ids: Sequence[int], actor: str) -> Changes:
    """Cancel tasks: what has not begun at once, what runs by asking its worker to end it."""
    changes = Changes()
    found = _locked(conn, ids)
    idle = [row for row in found.values() if row.status in (TaskStatus.WAITING, TaskStatus.PENDING)]
    running = [row for row in found.values() if row.status == TaskStatus.ACTIVE]
    if idle:
        _set_status(conn, now, idle, TaskStatus.CANCELLED, Cause.CANCELLED, f"cancelled by {actor}")
        for row in idle:
            changes.move(row.id, row.batch, TaskStatus(row.status), TaskStatus.CANCELLED)
        awaited = {row.id: TaskStatus.CANCELLED for row in idle if row.awaited}
        if awaited:
            promote(conn, now, awaited, changes)
    if running:
        want_stop(conn, [row.id for row in running], Signal.TERM)
    for row in (*idle, *running):
        changes.note(now, "cancelled", actor, task=row.id, batch=row.batch)
    changes.write(conn)
    return changes


def cancel_one(conn: sa.Connection, now: int, task: int, actor: str) -> Changes:
    """Cancel one task; refuse if it has ended."""
    row = _one(conn, task)
    if row.status in TASK_ENDED:
        raise ConflictError(f"task {task} has already {_ended(row.status)}", field="task")
    return cancel(conn, now, [task], actor)


def want_stop(conn: sa.Connection, ids: Iterable[int], signal: Signal) -> None:
    """Write down that open executions are to end, so that no reconnect forgets it."""
    dialect = conn.dialect.name
    conn.execute(
        sa.update(executions)
        .where(among(dialect, executions.c.task, "ids"), executions.c.ended_at.is_(None))
        .values(stop_wanted=signal.value),
        {"ids": listed(dialect, ids)},
    )


def retry(conn: sa.Connection, now: int, ids: Sequence[int], actor: str) -> Changes:
    """Run ended tasks again, with all their retries; what failed for their sake waits again.

    Those that wait for their next try have it now.
    """
    changes = Changes()
    found = _locked(conn, ids)
    ended = [row for row in found.values() if row.status in TASK_ENDED or row.due_at]
    waiting = _unmet(conn, [row.id for row in ended])
    for status in (TaskStatus.PENDING, TaskStatus.WAITING):
        rows = [row for row in ended if (row.id in waiting) == (status is TaskStatus.WAITING)]
        if not rows:
            continue
        _set_status(conn, now, rows, status, None, None, failures=0, losses=0)
        for row in rows:
            if row.status != status:
                changes.move(row.id, row.batch, TaskStatus(row.status), status)
    awaited = [row.id for row in ended if row.awaited]
    if awaited:
        revive(conn, now, awaited, changes)
    for row in ended:
        changes.note(now, "retried", actor, task=row.id, batch=row.batch)
    changes.write(conn)
    return changes


def retry_one(conn: sa.Connection, now: int, task: int, actor: str) -> Changes:
    """Run one ended task again; refuse if it has not ended."""
    row = _one(conn, task)
    if row.status not in TASK_ENDED and not row.due_at:
        raise ConflictError(
            f"task {task} is {row.status}; only a task that has ended can run again", field="task"
        )
    return retry(conn, now, [task], actor)


def _unmet(conn: sa.Connection, ids: list[int]) -> set[int]:
    dialect = conn.dialect.name
    found = conn.execute(
        sa.select(requirements.c.task).where(
            among(dialect, requirements.c.task, "ids"), sa.not_(requirements.c.met)
        ),
        {"ids": listed(dialect, ids)},
    )
    return set(found.scalars())


def _set_status(
    conn: sa.Connection,
    now: int,
    rows: Iterable[AnyRow],
    status: TaskStatus,
    cause: Cause | None,
    detail: str | None,
    **more: Any,
) -> None:
    dialect = conn.dialect.name
    conn.execute(
        sa.update(tasks)
        .where(among(dialect, tasks.c.id, "ids"))
        .values(
            status=status.value, cause=cause, detail=detail, due_at=None, changed_at=now, **more
        ),
        {"ids": listed(dialect, [row.id for row in rows])},
    )


def update(conn: sa.Connection, now: int, task: int, change: TaskUpdate, actor: str) -> Changes:
    """Change a task that is not running; what it will run next is what is changed."""
    changes = Changes()
    row = _one(conn, task)
    if row.status == TaskStatus.ACTIVE:
        raise ConflictError(
            f"task {task} is running", field="task", cure="cancel it first, or wait for its end"
        )
    values = change.model_dump(exclude_unset=True, exclude_none=True, exclude={"command"})
    if change.command is not None:
        values["spec"] = _with_command(row, change.command)
    if not values:
        return changes
    if change.batch is not None:
        conn.execute(ENSURE_BATCH, [{"name": change.batch, "created_at": now}])
        status = TaskStatus(row.status)
        changes.moved = {(row.batch, status): -1}
        changes.moved[change.batch, status] = changes.moved.get((change.batch, status), 0) + 1
        changes.awake.add(change.batch)
    conn.execute(sa.update(tasks).where(tasks.c.id == task).values(changed_at=now, **values))
    changes.touched[task] = TaskStatus(row.status)
    changes.note(now, "changed", actor, task=task, batch=row.batch, detail=", ".join(values))
    changes.write(conn)
    return changes


def _with_command(row: AnyRow, command: list[str] | str) -> str:
    core = from_json(row.spec)
    if len(core["steps"]) != 1:
        raise ConflictError(
            f"task {row.id} has {len(core['steps'])} steps; `command` can only replace one",
            field="command",
        )
    core["steps"][0]["command"] = command
    return to_json(core).decode()


def delete(conn: sa.Connection, now: int, task: int, actor: str) -> Changes:
    """Delete a task that is not running, with its history; refuse while others wait on it."""
    changes = Changes()
    row = _one(conn, task)
    if row.status == TaskStatus.ACTIVE:
        raise ConflictError(f"task {task} is running", field="task", cure="cancel it first")
    waiting = conn.execute(
        sa.select(requirements.c.task)
        .join(tasks, tasks.c.id == requirements.c.task)
        .where(requirements.c.required == task, tasks.c.status == TaskStatus.WAITING.value)
        .limit(1)
    )
    dependant = waiting.scalar_one_or_none()
    if dependant is not None:
        raise ConflictError(
            f"task {dependant} waits on task {task}", field="task", cure="cancel that one first"
        )
    conn.execute(sa.delete(tasks).where(tasks.c.id == task))
    changes.move(task, row.batch, TaskStatus(row.status), None)
    changes.note(now, "deleted", actor, task=task, batch=row.batch)
    changes.write(conn)
    return changes


def _ended(status: str) -> str:
    return "been cancelled" if status == TaskStatus.CANCELLED else status


def pause_batch(conn: sa.Connection, now: int, name: str, actor: str, *, paused: bool) -> Changes:
    """Hold a batch back, or let it go on."""
    changes = Changes()
    done = conn.execute(sa.update(batches).where(batches.c.name == name).values(paused=paused))
    if not done.rowcount:
        raise NotFoundError(f"there is no batch {name!r}", field="name")
    if not paused:
        changes.awake.add(name)
    changes.note(now, "paused" if paused else "resumed", actor, batch=name)
    changes.write(conn)
    return changes


def some_of_batch(conn: sa.Connection, name: str, statuses: Sequence[TaskStatus]) -> list[int]:
    """The next few thousand tasks of a batch that have one of these statuses."""
    found = conn.execute(
        sa.select(tasks.c.id)
        .where(tasks.c.batch == name, tasks.c.status.in_([s.value for s in statuses]))
        .order_by(tasks.c.status, tasks.c.id)  # the index's own order: nothing is sorted
        .limit(limits.IDS_PER_REQUEST)
    )
    return list(found.scalars())


def open_of_batch(conn: sa.Connection, name: str) -> list[int]:
    """Every task of a batch that a worker holds: no more than the workers have room for."""
    found = conn.execute(
        sa.select(tasks.c.id)
        .where(tasks.c.batch == name, tasks.c.status == TaskStatus.ACTIVE.value)
        .order_by(tasks.c.id)
    )
    return list(found.scalars())


def delete_batch(conn: sa.Connection, now: int, name: str, actor: str) -> tuple[int, Changes]:
    """Delete a batch and all its tasks; refuse while one runs or is waited on from outside."""
    changes = Changes()
    known = conn.execute(sa.select(batches.c.name).where(batches.c.name == name))
    if known.scalar_one_or_none() is None:
        raise NotFoundError(f"there is no batch {name!r}", field="name")
    mine = sa.select(tasks.c.id).where(tasks.c.batch == name)
    active = conn.execute(mine.where(tasks.c.status == TaskStatus.ACTIVE.value).limit(1))
    if active.scalar_one_or_none() is not None:
        raise ConflictError(
            f"tasks of batch {name!r} are running", field="name", cure="cancel the batch first"
        )
    outsider = conn.execute(
        sa.select(tasks.c.id)
        .join(requirements, requirements.c.task == tasks.c.id)
        .where(
            requirements.c.required.in_(mine),
            tasks.c.batch != name,
            tasks.c.status == TaskStatus.WAITING.value,
        )
        .limit(1)
    )
    waiting = outsider.scalar_one_or_none()
    if waiting is not None:
        raise ConflictError(f"task {waiting} of another batch waits on this one", field="name")
    gone = conn.execute(sa.delete(tasks).where(tasks.c.batch == name))
    conn.execute(sa.delete(task_counts).where(task_counts.c.batch == name))
    conn.execute(sa.delete(batches).where(batches.c.name == name))
    changes.swept = True
    changes.note(now, "deleted", actor, batch=name, detail=f"{gone.rowcount} tasks")
    changes.write(conn)
    return int(gone.rowcount), changes
