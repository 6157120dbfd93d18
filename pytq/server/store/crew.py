"""Workers in the database: who they are, what was asked of them, what they hold."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from pydantic_core import to_json

from pytq.schema.frames import Hello, Ref, root_of
from pytq.schema.problems import ConflictError, NotFoundError
from pytq.schema.states import Phase
from pytq.schema.views import WorkerUpdate
from pytq.server.store.changes import Changes, next_ids
from pytq.server.store.reporting import give_up, lose, open_executions
from pytq.server.store.submitting import ENSURE_BATCH
from pytq.server.store.tables import AnyRow, executions, tasks, workers

SETTINGS: Final = ("batch", "concurrency", "prefetch", "paused", "draining")


def _named(conn: sa.Connection, name: str) -> AnyRow:
    found = conn.execute(
        sa.select(workers)
        .where(workers.c.name == name, workers.c.gone.is_(False))
        .with_for_update()
    )
    row = found.one_or_none()
    if row is None:
        raise NotFoundError(f"there is no worker {name!r}", field="name")
    return row


def greet(conn: sa.Connection, now: int, hello: Hello) -> tuple[AnyRow, bool, Changes]:
    """Register a worker or know it again; returns its row, and whether it is the same as before.

    What its command line asks for is applied when it is new or was changed since the last time;
    otherwise what an operator tuned stays.
    """
    changes = Changes()
    conn.execute(ENSURE_BATCH, [{"name": hello.batch, "created_at": now}])
    found = conn.execute(
        sa.select(workers)
        .where(workers.c.name == hello.name, workers.c.gone.is_(False))
        .with_for_update()
    )
    known = found.one_or_none()
    same = known is not None and known.identity == hello.identity
    if known is not None and root_of(known.identity) != root_of(hello.identity):
        _refuse_impostor(conn, known)
    declared = {k: getattr(hello, k) for k in ("batch", "concurrency", "prefetch")}
    said = to_json(declared).decode()
    values = _facts(hello, now) | {"declared": said}
    if known is None:
        values |= declared | {
            "id": next_ids(conn, "workers", 1),
            "paused": False,
            "draining": False,
            "settings_version": 1,
            "gone": False,
            "created_at": now,
        }
        conn.execute(sa.insert(workers).values(values))
        which = values["id"]
    else:
        which = known.id
        if known.declared != said:
            values |= declared | {"settings_version": known.settings_version + 1}
        conn.execute(sa.update(workers).where(workers.c.id == which).values(values))
    changes.note(now, "online", hello.name, worker=hello.name, batch=hello.batch)
    changes.write(conn)
    row = (conn.execute(sa.select(workers).where(workers.c.id == which))).one()
    return row, same, changes


def _refuse_impostor(conn: sa.Connection, known: AnyRow) -> None:
    """Another machine may take over a name only when nothing is held under it any more."""
    held = holding(conn, known.id)
    if held:
        raise ConflictError(
            f"a worker named {known.name!r} on {known.hostname} still holds {len(held)} executions",
            field="name",
            cure="start this one with another --name, or forget the other one with force",
        )


def _facts(hello: Hello, now: int) -> dict[str, Any]:
    return {
        "name": hello.name,
        "identity": hello.identity,
        "incarnation": hello.incarnation,
        "boot": hello.boot,
        "hostname": hello.hostname,
        "version": hello.version,
        "cpus": hello.cpus,
        "memory": hello.memory,
        "disk": hello.disk,
        "gpus": hello.gpus,
        "containers": hello.containers,
        "seen_at": now,
    }


_HOLDING: Final = (
    sa.select(
        executions.c.task,
        executions.c.attempt,
        executions.c.worker,
        executions.c.phase,
        executions.c.stop_wanted,
        tasks.c.name,
        tasks.c.spec,
        tasks.c.cpus,
        tasks.c.memory,
        tasks.c.disk,
        tasks.c.gpus,
        tasks.c.containers,
    )
    .join(tasks, tasks.c.id == executions.c.task)
    .where(executions.c.worker == sa.bindparam("by"), executions.c.ended_at.is_(None))
)


def holding(conn: sa.Connection, worker: int) -> Sequence[AnyRow]:
    """The open executions of a worker, with what it takes to lease them to it again."""
    return (conn.execute(_HOLDING, {"by": worker})).all()


def reconcile(
    conn: sa.Connection, now: int, worker: int, held: Sequence[Ref], *, same_identity: bool
) -> tuple[AnyRow, Sequence[AnyRow], Changes]:
    """Bring the books in line with what a worker says it holds.

    What was leased but never reached it stays open, to be sent again; what had gone further and
    is not held any more is lost. Returns the worker's row and the executions that stay open.
    """
    changes = Changes()
    open_now = holding(conn, worker)
    said = set(held)
    missing = [
        row.task
        for row in open_now
        if (row.task, row.attempt) not in said
        and not (same_identity and Phase(row.phase) is Phase.ASSIGNED)
    ]
    if missing:
        rows = open_executions(conn, missing)
        lose(conn, now, list(rows.values()), "its worker no longer knows it", changes)
        changes.write(conn)
    row = conn.execute(sa.select(workers).where(workers.c.id == worker)).one()
    return row, [row for row in open_now if row.task not in set(missing)], changes


def close_all(conn: sa.Connection, now: int, worker: int, detail: str) -> tuple[list[Ref], Changes]:
    """Everything a silent worker held is lost, and handed on."""
    changes = Changes()
    held = holding(conn, worker)
    if held:
        rows = open_executions(conn, [row.task for row in held])
        lose(conn, now, list(rows.values()), detail, changes)
        changes.write(conn)
    return [(row.task, row.attempt) for row in held], changes


def left(conn: sa.Connection, now: int, worker: int, name: str, why: str) -> Changes:
    """A worker's connection ended."""
    changes = Changes()
    conn.execute(sa.update(workers).where(workers.c.id == worker).values(seen_at=now))
    changes.note(now, "offline", name, worker=name, detail=why)
    changes.write(conn)
    return changes


def tune(
    conn: sa.Connection, now: int, name: str, change: WorkerUpdate, actor: str
) -> tuple[AnyRow, Changes]:
    """Turn a worker's knobs; returns its row as it is then."""
    changes = Changes()
    row = _named(conn, name)
    values = change.model_dump(exclude_unset=True, exclude_none=True)
    if change.batch is not None:
        conn.execute(ENSURE_BATCH, [{"name": change.batch, "created_at": now}])
    if values:
        said = ", ".join(f"{key}={value}" for key, value in values.items())
        values["settings_version"] = row.settings_version + 1
        conn.execute(sa.update(workers).where(workers.c.id == row.id).values(values))
        changes.note(now, "tuned", actor, worker=name, detail=said)
        changes.batches.add(change.batch or row.batch)
        changes.write(conn)
    row = (conn.execute(sa.select(workers).where(workers.c.id == row.id))).one()
    return row, changes


def forget(
    conn: sa.Connection, now: int, name: str, actor: str, *, force: bool
) -> tuple[int, Changes]:
    """Strike a worker off; what it still held is handed on only when forced."""
    row = _named(conn, name)
    held = holding(conn, row.id)
    if held and not force:
        raise ConflictError(
            f"worker {name!r} still holds {len(held)} executions",
            field="name",
            cure="wait for it to come back, or use force if its machine is gone for good",
        )
    _, changes = close_all(conn, now, row.id, f"worker {name} was forgotten by {actor}")
    conn.execute(sa.update(workers).where(workers.c.id == row.id).values(gone=True))
    after = Changes()
    after.note(now, "forgotten", actor, worker=name)
    after.write(conn)
    changes.noted += after.noted
    changes.workers |= after.workers
    return row.id, changes


def hand_back(conn: sa.Connection, now: int, refs: Sequence[Ref]) -> Changes:
    """Undo leases that never reached their worker: their tasks are pending again."""
    changes = Changes()
    rows = open_executions(conn, [task for task, _ in refs])
    wanted = set(refs)
    idle = [
        row
        for row in rows.values()
        if (row.task, row.attempt) in wanted and Phase(row.phase) is Phase.ASSIGNED
    ]
    if idle:
        give_up(conn, now, idle, changes)
        changes.write(conn)
    return changes


def who_holds(conn: sa.Connection) -> dict[int, str]:
    """Every worker that has an open execution, by id, with its name."""
    found = conn.execute(
        sa.select(workers.c.id, workers.c.name)
        .distinct()
        .join(executions, executions.c.worker == workers.c.id)
        .where(executions.c.ended_at.is_(None))
    )
    return {row.id: row.name for row in found}
