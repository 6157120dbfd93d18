"""The tables of one worker: what it has under way, and what it keeps."""

from typing import Final

from pytq.schema.views import ExecutionView, ResourceView, Staging
from pytq.tui import looks, timeline, words
from pytq.tui.cells import Bar, Cell, Line, Row, text
from pytq.tui.columns import Column
from pytq.tui.tables.listing import Moment

EXECUTIONS: Final = (
    Column("task", "TASK", 8, right=True),
    Column("phase", "PHASE", 13),
    Column("time", "FOR", 7, right=True),
    Column("staging", "STAGING", 10, flex=1, most=24),
    Column("amount", "", 14, rank=1, flex=1),
    Column("attempt", "TRY", 3, rank=2, right=True),
)
RESOURCES: Final = (
    Column("kind", "KIND", 8),
    Column("size", "SIZE", 8, right=True),
    Column("used", "USED", 10, rank=1, right=True),
    Column("uri", "WHAT", 16, flex=1),
)


def execution(view: ExecutionView, at: Moment) -> Row:
    """An execution that is under way."""
    parts = timeline.stretches(view, at.store.clock(at.now))
    cells: tuple[Cell, ...] = (
        text(view.task, "bold"),
        looks.of_execution(view).line,
        text(words.duration(parts[-1].seconds) if parts else ""),
        _bar(view.staging),
        _amount(view.staging),
        text(view.attempt, "dim"),
    )
    return Row(view.task, cells)


def _bar(staging: Staging | None) -> Cell:
    if staging is None or not staging.total:
        return ()
    return Bar(((staging.done / staging.total, "wait"),))


def _amount(staging: Staging | None) -> Line:
    if staging is None:
        return ()
    whole = f"/{words.tiny(staging.total)}" if staging.total else ""
    left = f"  {words.duration(staging.eta)} left" if staging.eta is not None else ""
    return text(f"{words.tiny(staging.done)}{whole} {words.tiny(staging.rate)}/s{left}", "dim")


def resource(view: ResourceView) -> Row:
    """Something a worker keeps."""
    used = f"by {view.users} now" if view.users else f"{words.since_seconds(view.used)} ago"
    marks = (" pinned" if view.pinned else "") + ("" if view.ready else " on its way")
    cells: tuple[Cell, ...] = (
        text(view.kind),
        text(words.size(view.bytes)),
        text(used, "busy" if view.users else "dim"),
        (*text(words.clean(view.uri)), *text(marks, "accent")),
    )
    return Row(view.uri, cells)
