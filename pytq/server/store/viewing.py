"""What viewers of the event stream see of the database: one look for all that is new."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa

from pytq.schema import limits
from pytq.schema.states import Phase
from pytq.schema.views import BatchView, EventView, ExecutionView, TaskView
from pytq.server.store.engine import among, listed
from pytq.server.store.reading import crew, list_batches, task_views
from pytq.server.store.tables import AnyRow, events, tasks
from pytq.server.store.tries import executions_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at; None is everything."""

    batches: Collection[str] | None
    workers: Collection[str] | None
    connected: Collection[int]  # workers whose executions are known from memory
    online: Mapping[str, int]  # workers by batch
    event: int | None  # the last event that is known; None: do not look for others


@dataclass(slots=True)
class Looked:
    """What was there to see."""

    batches: Sequence[BatchView] = ()
    workers: Sequence[AnyRow] = ()
    held: Mapping[int, Mapping[Phase, int]] = field(default_factory=dict)
    events: Sequence[EventView] = ()  # oldest first


def look(conn: sa.Connection, wanted: Wanted) -> Looked:
    """Look at what is wanted, and at nothing else."""
    looked = Looked()
    if wanted.batches is None or wanted.batches:
        looked.batches = list_batches(conn, wanted.online, wanted.batches)
    if wanted.workers is None or wanted.workers:
        looked.workers, looked.held = crew(conn, wanted.workers, wanted.connected)
    if wanted.event is not None:
        latest = sa.select(events).where(events.c.id > wanted.event).order_by(events.c.id.desc())
        rows = conn.execute(latest.limit(limits.STREAM_EVENTS)).all()
        looked.events = [EventView(**row._mapping) for row in reversed(rows)]  # noqa: SLF001 - its public name
    return looked


class Sight(NamedTuple):
    """A task, with its latest execution if there was one."""

    task: TaskView
    execution: ExecutionView | None


def look_at_tasks(conn: sa.Connection, ids: Collection[int]) -> dict[int, Sight]:
    """Those of these tasks that there are."""
    dialect = conn.dialect.name
    bound = {"ids": listed(dialect, ids)}
    rows = conn.execute(sa.select(tasks).where(among(dialect, tasks.c.id, "ids")), bound).all()
    latest = executions_of(conn, [(row.id, row.attempt) for row in rows if row.attempt])
    views = task_views(conn, rows)
    return {view.id: Sight(view, latest.get((view.id, view.attempt))) for view in views}
