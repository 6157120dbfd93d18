"""Taking tasks in: durable, all or nothing, and once, however often the request is repeated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from pydantic_core import to_json

from pytq.schema.problems import ConflictError, InvalidError
from pytq.schema.states import TASK_ENDED, Cause, RunWhen, TaskStatus
from pytq.schema.tasks import SugarError, TaskSubmit, core_of
from pytq.server.store.bulk import execute_many, fetch
from pytq.server.store.changes import Changes, next_ids
from pytq.server.store.engine import among, listed
from pytq.server.store.tables import requirements, submissions, tasks

ENSURE_BATCH: Final = sa.text(
    "INSERT INTO batches (name, paused, created_at) VALUES (:name, FALSE, :created_at)"
    " ON CONFLICT (name) DO NOTHING"
)
_FIND_KEY: Final = sa.select(submissions).where(submissions.c.key == sa.bindparam("wanted"))
_INSERT: Final = sa.insert(tasks)
_CLAIM_KEY: Final = sa.text(
    "INSERT INTO submissions (key, body_hash, first, count, created_at)"
    " VALUES (:key, :body_hash, :first, :count, :created_at)"
    " ON CONFLICT (key) DO NOTHING RETURNING first"
)
_INSERT_REQUIREMENT: Final = sa.insert(requirements)


@dataclass(frozen=True, slots=True)
class Submission:
    """Tasks ready to be stored: rows without their ids, and what each of them requires."""

    rows: list[dict[str, Any]]
    requires: list[tuple[int, Sequence[int], RunWhen]]  # (position, ids, when)
    batches: list[str]
    key: str
    body_hash: str


def prepare(submitted: Sequence[TaskSubmit], key: str, body_hash: str, actor: str) -> Submission:
    """Turn what people sent into rows, outside of any transaction.

    Raises InvalidError, naming the task's position and field, for what only the whole shows.
    """
    rows: list[dict[str, Any]] = []
    requires: list[tuple[int, Sequence[int], RunWhen]] = []
    many = len(submitted) > 1
    for position, task in enumerate(submitted):
        try:
            core = core_of(task)
        except SugarError as error:
            field = f"{position}.{error.field}" if many else error.field
            raise InvalidError(str(error), field=field) from error
        rows.append(_row(task, core, actor))
        if task.requirements:
            requires.append((position, sorted(set(task.requirements)), task.run_when))
    batches = sorted({task.batch for task in submitted})
    return Submission(rows, requires, batches, key, body_hash)


def _row(task: TaskSubmit, core: dict[str, Any], actor: str) -> dict[str, Any]:
    request = task.request
    return {
        "name": task.name,
        "batch": task.batch,
        "owner": actor,
        "status": TaskStatus.WAITING.value if task.requirements else TaskStatus.PENDING.value,
        "priority": task.priority,
        "retries": task.retries,
        "failures": 0,
        "losses": 0,
        "attempt": 0,
        "run_when": task.run_when.value,
        "awaited": False,
        "cpus": request.cpus,
        "memory": request.memory,
        "disk": request.disk,
        "gpus": request.gpus,
        "containers": any("container" in step for step in core["steps"]),
        "retry_delay": task.retry_delay or None,
        "oom_factor": task.oom_factor if task.oom_factor > 1 else None,
        "tags": to_json(task.tags).decode() if task.tags else None,
        "cause": None,
        "detail": None,
        "spec": to_json(core).decode(),
    }


def submit(
    conn: sa.Connection, now: int, submission: Submission, new_batches: Iterable[str]
) -> tuple[range, bool, Changes]:
    """Store tasks. Returns their ids, whether the key had been used before, and the changes.

    `new_batches` are those of the submission's that may not be there yet.
    """
    changes = Changes()
    first = next_ids(conn, "tasks", len(submission.rows))
    ids = range(first, first + len(submission.rows))
    claim = {
        "key": submission.key,
        "body_hash": submission.body_hash,
        "first": first,
        "count": len(ids),
        "created_at": now,
    }
    if not fetch(conn, _CLAIM_KEY, claim):
        return _repeated(conn, submission), True, changes
    created = [{"name": name, "created_at": now} for name in sorted(new_batches)]
    if created:
        conn.execute(ENSURE_BATCH, created)
    stamp = {"created_at": now, "changed_at": now}
    rows = [{**row, "id": first + i, **stamp} for i, row in enumerate(submission.rows)]
    edges = _judge_requirements(conn, rows, submission) if submission.requires else []
    execute_many(conn, _INSERT, rows)
    if edges:
        execute_many(conn, _INSERT_REQUIREMENT, edges)
    for row in rows:
        changes.move(row["id"], row["batch"], None, TaskStatus(row["status"]))
    changes.write(conn)
    return ids, False, changes


def _repeated(conn: sa.Connection, submission: Submission) -> range:
    """The ids that this key created the first time."""
    known = conn.execute(_FIND_KEY, {"wanted": submission.key}).one()
    if known.body_hash != submission.body_hash:
        raise ConflictError(
            "this Idempotency-Key was used before, with another body",
            field="Idempotency-Key",
            cure="use a new key for a new request",
        )
    return range(known.first, known.first + known.count)


def _judge_requirements(
    conn: sa.Connection, rows: list[dict[str, Any]], submission: Submission
) -> list[dict[str, Any]]:
    """Set each new task's status by how its requirements stand; return the edges to store."""
    wanted = sorted({required for _, ids, _ in submission.requires for required in ids})
    standing = _standing(conn, wanted)
    edges = []
    for position, ids, when in submission.requires:
        row = rows[position]
        any_end = when is RunWhen.ENDED
        missing = [required for required in ids if required not in standing]
        if missing:
            raise InvalidError(
                f"there is no task {missing[0]} to wait for",
                field=f"{position}.requirements" if len(rows) > 1 else "requirements",
            )
        met = {r: _is_met(standing[r], any_end=any_end) for r in ids}
        broken = [r for r in ids if not met[r] and standing[r] in TASK_ENDED]
        if broken:
            row["status"] = TaskStatus.FAILED.value
            row["cause"] = Cause.REQUIREMENT.value
            row["detail"] = f"task {broken[0]}, which it requires, {standing[broken[0]]}"
        elif all(met.values()):
            row["status"] = TaskStatus.PENDING.value
        edges += [
            {"task": row["id"], "required": r, "any_end": any_end, "met": met[r]} for r in ids
        ]
    return edges


def _standing(conn: sa.Connection, wanted: list[int]) -> dict[int, TaskStatus]:
    dialect = conn.dialect.name
    which = among(dialect, tasks.c.id, "wanted")
    found = conn.execute(
        sa.update(tasks).where(which).values(awaited=True).returning(tasks.c.id, tasks.c.status),
        {"wanted": listed(dialect, wanted)},
    )
    return {row.id: TaskStatus(row.status) for row in found}


def _is_met(status: TaskStatus, *, any_end: bool) -> bool:
    return status is TaskStatus.SUCCEEDED or (any_end and status in TASK_ENDED)
