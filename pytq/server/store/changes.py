"""What a transaction changed: gathered by the verbs, counted in the database, told afterwards."""

from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from pytq.schema.states import TaskStatus, check_task_move
from pytq.server.store.bulk import execute_many, fetch
from pytq.server.store.tables import events, sequences

_COUNT: Final = sa.text(
    # The proposed row is checked too, before the conflict is seen: it must not be negative.
    "INSERT INTO task_counts (batch, status, n) VALUES (:batch, :status, :floor)"
    " ON CONFLICT (batch, status) DO UPDATE SET n = task_counts.n + :by"
)
_INSERT_EVENTS: Final = sa.insert(events)
_NEXT: Final = (
    sa.update(sequences)
    .where(sequences.c.name == sa.bindparam("sequence"))
    .values(next=sequences.c.next + sa.bindparam("by"))
    .returning(sequences.c.next)
)


@dataclass(slots=True)
class Changes:
    """What a verb has changed, for those who wait in memory: links, waiters, counts."""

    moved: dict[tuple[str, str], int] = field(default_factory=dict)
    # Tasks by their new status; None: they are gone.
    touched: dict[int, TaskStatus | None] = field(default_factory=dict)
    swept: bool = False  # more tasks are gone than are named
    awake: set[str] = field(default_factory=set)  # batches with new pending tasks
    due: int | None = None  # when the first of those that wait for their next try may have it
    noted: list[dict[str, Any]] = field(default_factory=list)
    batches: set[str] = field(default_factory=set)  # that came, went, or changed beside the counts
    workers: set[str] = field(default_factory=set)  # likewise
    lost: int = 0  # executions that ended through no fault of their task

    def move(
        self, task: int, batch: str, before: TaskStatus | None, after: TaskStatus | None
    ) -> None:
        """Note that a task went from one status to another; None is outside the queue."""
        if before is not None and after is not None:
            check_task_move(before, after)
        if before is not None:
            self._count(batch, before, -1)
        if after is not None:
            self._count(batch, after, 1)
        self.touched[task] = after
        if after is TaskStatus.PENDING:
            self.awake.add(batch)

    def _count(self, batch: str, status: TaskStatus, by: int) -> None:
        self.moved[batch, status] = self.moved.get((batch, status), 0) + by

    def wait(self, until: int) -> None:
        """Note that a task waits for its next try."""
        self.due = until if self.due is None else min(self.due, until)

    def note(self, at: int, kind: str, actor: str, **about: Any) -> None:
        """Note an event: what happened, through whom, and what it is about."""
        if about.get("batch"):
            self.batches.add(about["batch"])
        if about.get("worker"):
            self.workers.add(about["worker"])
        self.noted.append({"at": at, "kind": kind, "actor": actor, **about})

    def write(self, conn: sa.Connection) -> None:
        """Bring the counts up to date and append the events, inside the verb's transaction."""
        counts = [
            {"batch": batch, "status": status, "by": by, "floor": max(by, 0)}
            for (batch, status), by in sorted(self.moved.items())  # one order: no deadlocks
            if by
        ]
        if counts:
            execute_many(conn, _COUNT, counts)
        if self.noted:
            blank = dict.fromkeys(("task", "attempt", "batch", "worker", "detail"))
            conn.execute(_INSERT_EVENTS, [{**blank, **note} for note in self.noted])


def next_ids(conn: sa.Connection, sequence: str, count: int) -> int:
    """Take `count` consecutive ids and return the first; they are never given out again."""
    [(after,)] = fetch(conn, _NEXT, {"sequence": sequence, "by": count})
    return int(after) - count
