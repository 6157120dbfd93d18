"""Taking in what workers say of their executions.

The attempt is the fence: only the execution that is open, of this worker and of this attempt,
may speak.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from pydantic_core import from_json, to_json

from pytq.schema import limits
from pytq.schema.frames import Chunk, Ended, Progress, Ref
from pytq.schema.states import PHASE_ORDER, TASK_ENDED, Cause, Outcome, Phase, Signal, TaskStatus
from pytq.server.rules import Tries, Verdict, settle
from pytq.server.store.bulk import execute_many, fetch
from pytq.server.store.changes import Changes
from pytq.server.store.engine import among, listed
from pytq.server.store.outputs import keep_chunks
from pytq.server.store.promoting import promote
from pytq.server.store.tables import executions, tasks


@dataclass(slots=True)
class Taken:
    """What became of a report: outcomes now stored, executions that are not the worker's."""

    settled: list[Ref] = field(default_factory=list)
    fenced: list[Ref] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)


@dataclass(frozen=True, slots=True)
class Said:
    """What a worker says, in the server's own time (microseconds since 1970)."""

    worker: int
    now: int
    progress: list[Progress]
    chunks: list[Chunk]
    ended: list[Ended]

    def at(self, ago: float | None) -> int | None:
        """When something was, on the server's clock."""
        return None if ago is None else self.now - round(ago * 1e6)


class Held(NamedTuple):
    """An open execution, and what its task has behind it: the columns below, in their order."""

    task: int
    attempt: int
    worker: int
    phase: str
    stop_wanted: str | None
    batch: str
    retries: int
    failures: int
    losses: int
    awaited: bool
    retry_delay: float | None
    oom_factor: float | None


_COLUMNS: Final = (
    executions.c.task,
    executions.c.attempt,
    executions.c.worker,
    executions.c.phase,
    executions.c.stop_wanted,
    tasks.c.batch,
    tasks.c.retries,
    tasks.c.failures,
    tasks.c.losses,
    tasks.c.awaited,
    tasks.c.retry_delay,
    tasks.c.oom_factor,
)
_mine: Final = (
    executions.c.task == sa.bindparam("e_task"),
    executions.c.attempt == sa.bindparam("e_attempt"),
    executions.c.ended_at.is_(None),
)
_TIMES: Final = ("downloading_at", "ready_at", "running_at", "uploading_at")
_PROGRESS: Final = (
    sa.update(executions)
    .where(*_mine)
    .values(
        phase=sa.bindparam("new_phase"),
        paused=sa.bindparam("is_paused"),
        **{t: sa.func.coalesce(executions.c[t], sa.bindparam(f"new_{t}")) for t in _TIMES},
    )
)
_END: Final = (
    sa.update(executions)
    .where(*_mine)
    .values(
        phase=Phase.ENDED.value,
        paused=False,
        outcome=sa.bindparam("new_outcome"),
        cause=sa.bindparam("new_cause"),
        detail=sa.bindparam("new_detail"),
        exit_code=sa.bindparam("new_exit_code"),
        ended_at=sa.bindparam("new_ended_at"),
        cpu_seconds=sa.bindparam("new_cpu_seconds"),
        memory=sa.bindparam("new_memory"),
        stdout_bytes=sa.func.coalesce(sa.bindparam("new_stdout"), executions.c.stdout_bytes),
        stderr_bytes=sa.func.coalesce(sa.bindparam("new_stderr"), executions.c.stderr_bytes),
        **{t: sa.func.coalesce(sa.bindparam(f"new_{t}"), executions.c[t]) for t in _TIMES},
    )
)
_SETTLE: Final = (
    sa.update(tasks)
    .where(
        tasks.c.id == sa.bindparam("t_id"),
        tasks.c.attempt == sa.bindparam("t_attempt"),
        tasks.c.status == TaskStatus.ACTIVE.value,
    )
    .values(
        status=sa.bindparam("new_status"),
        failures=sa.bindparam("new_failures"),
        losses=sa.bindparam("new_losses"),
        cause=sa.bindparam("new_cause"),
        detail=sa.bindparam("new_detail"),
        due_at=sa.bindparam("new_due_at"),
        avoid=sa.bindparam("new_avoid"),
        changed_at=sa.bindparam("at"),
    )
)

# The open executions were locked and their attempts compared before this is run.
_SUCCEED: Final = (
    sa.update(tasks)
    .where(tasks.c.status == TaskStatus.ACTIVE.value)
    .values(
        status=TaskStatus.SUCCEEDED.value, cause=None, detail=None, changed_at=sa.bindparam("at")
    )
)


@cache
def _find_open(dialect: str) -> sa.Select[*tuple[Any, ...]]:
    return (
        sa.select(*_COLUMNS)
        .join(tasks, tasks.c.id == executions.c.task)
        .where(among(dialect, executions.c.task, "of"), executions.c.ended_at.is_(None))
        .with_for_update()
    )


@cache
def _succeed(dialect: str) -> sa.Update:
    return _SUCCEED.where(among(dialect, tasks.c.id, "good"))


def report(conn: sa.Connection, said: Said) -> Taken:
    """Take in a worker's report: output first, then progress, then outcomes."""
    taken = Taken()
    refs = _named(said)
    if not refs:
        return taken
    held = open_executions(conn, {task for task, _ in refs})
    mine = {ref for ref in refs if _is_mine(held.get(ref[0]), ref, said.worker)}
    _answer_strangers(conn, said, refs - mine, taken)
    keep_chunks(conn, [chunk for chunk in said.chunks if _ref(chunk) in mine])
    ending = [end for end in said.ended if _ref(end) in mine]
    over = {_ref(end) for end in ending}
    moving = [p for p in said.progress if _ref(p) in mine - over]
    if moving:
        _progress(conn, said, moving, held)
    if ending:
        rows = [_end_row(said, end) for end in ending]
        verdicts = [_verdict(held[e.task], e.outcome, e.cause, e.detail) for e in ending]
        close(conn, said.now, rows, verdicts, [held[e.task] for e in ending], taken.changes)
        taken.settled += over
    taken.changes.write(conn)
    return taken


def open_executions(conn: sa.Connection, of: Iterable[int]) -> dict[int, Held]:
    """The open execution of each task that has one, locked until the transaction ends."""
    dialect = conn.dialect.name
    found = fetch(conn, _find_open(dialect), {"of": listed(dialect, sorted(of))})
    return {row[0]: Held(*row) for row in found}


def close(
    conn: sa.Connection,
    now: int,
    rows: list[dict[str, Any]],
    verdicts: list[Verdict],
    held: list[Held],
    changes: Changes,
) -> None:
    """End executions and settle their tasks; wake or fail the tasks that require them."""
    execute_many(conn, _END, rows)
    _settle(conn, now, held, verdicts)
    awaited = {}
    for row, verdict in zip(held, verdicts, strict=True):
        changes.move(row.task, row.batch, TaskStatus.ACTIVE, verdict.status)
        changes.lost += verdict.losses - row.losses
        if verdict.delay:
            changes.wait(now + _microseconds(verdict.delay))
        if row.awaited and verdict.status in TASK_ENDED:
            awaited[row.task] = verdict.status
    if awaited:
        promote(conn, now, awaited, changes)


def _settle(conn: sa.Connection, now: int, held: list[Held], verdicts: list[Verdict]) -> None:
    """Write what became of the tasks. Most succeed, and success is the same for all of them."""
    good, rest = [], []
    for row, verdict in zip(held, verdicts, strict=True):
        if verdict.status is TaskStatus.SUCCEEDED:
            good.append(row.task)
            continue
        rest.append(
            {
                "t_id": row.task,
                "t_attempt": row.attempt,
                "new_status": verdict.status.value,
                "new_failures": verdict.failures,
                "new_losses": verdict.losses,
                "new_cause": verdict.cause.value if verdict.cause else None,
                "new_detail": verdict.detail or None,
                "new_due_at": now + _microseconds(verdict.delay) if verdict.delay else None,
                "new_avoid": row.worker if verdict.elsewhere else None,
                "at": now,
            }
        )
        if verdict.grow > 1:
            _grow(conn, row.task, verdict.grow)
    if good:
        dialect = conn.dialect.name
        fetch(conn, _succeed(dialect), {"good": listed(dialect, good), "at": now})
    if rest:
        execute_many(conn, _SETTLE, rest)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


def _grow(conn: sa.Connection, task: int, factor: float) -> None:
    """Have the next try ask for more memory."""
    row = conn.execute(sa.select(tasks.c.spec, tasks.c.memory).where(tasks.c.id == task)).one()
    memory = min(int(row.memory * factor), limits.MEMORY_BYTES)
    if memory:
        spec = from_json(row.spec)
        spec["request"]["memory"] = memory
        more = {"memory": memory, "spec": to_json(spec).decode()}
        conn.execute(sa.update(tasks).where(tasks.c.id == task).values(**more))


def _verdict(row: Held, outcome: Outcome, cause: Cause | None, detail: str) -> Verdict:
    stopping = row.stop_wanted in (Signal.TERM, Signal.KILL)
    tries = Tries(
        row.retries,
        row.failures,
        row.losses,
        stopping,
        row.retry_delay or 0.0,
        row.oom_factor or 1.0,
    )
    return settle(tries, outcome, cause, detail)


def lose(conn: sa.Connection, now: int, held: list[Held], detail: str, changes: Changes) -> None:
    """Close executions whose worker will not speak again, and hand their tasks on."""
    for row in held:
        changes.note(now, "lost", "server", task=row.task, attempt=row.attempt, detail=detail)
    _close_as(conn, now, held, (Outcome.LOST, Cause.LOST, detail), changes)


def give_up(conn: sa.Connection, now: int, held: list[Held], changes: Changes) -> None:
    """Close executions that nobody has begun, and put their tasks back."""
    end = (Outcome.REFUSED, Cause.RETURNED, "taken back before it started")
    _close_as(conn, now, held, end, changes)


def _close_as(
    conn: sa.Connection,
    now: int,
    held: list[Held],
    end: tuple[Outcome, Cause, str],
    changes: Changes,
) -> None:
    rows = [_closing_row(row.task, row.attempt, *end, now) for row in held]
    verdicts = [_verdict(row, *end) for row in held]
    close(conn, now, rows, verdicts, held, changes)


def _closing_row(
    task: int, attempt: int, outcome: Outcome, cause: Cause | None, detail: str, ended_at: int
) -> dict[str, Any]:
    return {
        "e_task": task,
        "e_attempt": attempt,
        "new_outcome": outcome.value,
        "new_cause": cause.value if cause else None,
        "new_detail": detail or None,
        "new_exit_code": None,
        "new_ended_at": ended_at,
        "new_cpu_seconds": None,
        "new_memory": None,
        "new_stdout": None,
        "new_stderr": None,
        **{f"new_{t}": None for t in _TIMES},
    }


def _end_row(said: Said, end: Ended) -> dict[str, Any]:
    ended_at = said.at(end.ended)
    row = _closing_row(
        end.task, end.attempt, end.outcome, end.cause, end.detail, ended_at or said.now
    )
    row |= {
        "new_exit_code": end.exit_code,
        "new_cpu_seconds": end.cpu_seconds,
        "new_memory": end.memory,
        "new_stdout": end.stdout_bytes,
        "new_stderr": end.stderr_bytes,
        "new_downloading_at": said.at(end.downloading),
        "new_ready_at": said.at(end.ready),
        "new_running_at": said.at(end.running),
        "new_uploading_at": said.at(end.uploading),
    }
    return row


def _progress(
    conn: sa.Connection, said: Said, moving: list[Progress], held: dict[int, Held]
) -> None:
    rows = []
    for step in moving:
        known = Phase(held[step.task].phase)
        if PHASE_ORDER[step.phase] < PHASE_ORDER[known] or step.phase is Phase.ENDED:
            continue  # said again, late: phases never go back
        row: dict[str, Any] = {
            "e_task": step.task,
            "e_attempt": step.attempt,
            "new_phase": step.phase.value,
            "is_paused": step.paused,
            **{f"new_{t}": None for t in _TIMES},
        }
        if step.phase is not Phase.ASSIGNED:
            row[f"new_{step.phase}_at"] = said.at(step.ago)
        rows.append(row)
    if rows:
        execute_many(conn, _PROGRESS, rows)


def _answer_strangers(conn: sa.Connection, said: Said, strangers: set[Ref], taken: Taken) -> None:
    """An outcome that is stored already is settled; whatever else is not open is fenced."""
    if not strangers:
        return
    dialect = conn.dialect.name
    found = conn.execute(
        sa.select(
            executions.c.task, executions.c.attempt, executions.c.worker, executions.c.outcome
        ).where(among(dialect, executions.c.task, "of"), executions.c.ended_at.is_not(None)),
        {"of": listed(dialect, sorted({task for task, _ in strangers}))},
    )
    stored = {(*row[:2], row.outcome) for row in found if row.worker == said.worker}
    repeated = {_ref(end) for end in said.ended if (*_ref(end), end.outcome) in stored} & strangers
    taken.settled += repeated
    taken.fenced += strangers - repeated


def _named(said: Said) -> set[Ref]:
    refs = {(end.task, end.attempt) for end in said.ended}
    refs.update((step.task, step.attempt) for step in said.progress)
    refs.update((chunk.task, chunk.attempt) for chunk in said.chunks)
    return refs


def _ref(about: Ended | Progress | Chunk) -> Ref:
    return about.task, about.attempt


def _is_mine(row: Held | None, ref: Ref, worker: int) -> bool:
    return row is not None and row.attempt == ref[1] and row.worker == worker
