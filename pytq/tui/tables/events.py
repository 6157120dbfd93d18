"""The table of events."""

from typing import Final

from pytq.schema.views import EventView
from pytq.tui import words
from pytq.tui.cells import Cell, Row, Tone, text
from pytq.tui.columns import Column

COLUMNS: Final = (
    Column("at", "TIME", 8),
    Column("kind", "WHAT", 11, flex=1, most=20),
    Column("about", "ABOUT", 14, flex=1, most=30),
    Column("detail", "DETAIL", 26, rank=1, flex=4),
    Column("worker", "WORKER", 12, rank=3, flex=1, most=24),
    Column("batch", "BATCH", 10, rank=4, flex=1, most=20),
    Column("actor", "BY", 8, rank=2, flex=1, most=16),
)
_TONES: Final[tuple[tuple[str, Tone], ...]] = (
    ("fail", "bad"),
    ("lost", "bad"),
    ("offline", "bad"),
    ("gone", "warn"),
    ("refus", "warn"),
    ("cancel", "odd"),
    ("pause", "warn"),
    ("drain", "odd"),
    ("succeed", "good"),
    ("online", "good"),
)


def about(event: EventView) -> str:
    """Whom an event is about, in short."""
    if event.task is not None:
        return f"task {event.task}" + (f".{event.attempt}" if event.attempt else "")
    if event.worker is not None:
        return f"worker {words.clean(event.worker)}"
    return f"batch {words.clean(event.batch)}" if event.batch else words.NOTHING


def says(event: EventView) -> tuple[str, ...]:
    """What a filter looks through."""
    return (
        event.kind,
        about(event),
        event.detail or "",
        event.worker or "",
        event.batch or "",
        event.actor,
    )


def row(event: EventView) -> Row:
    """An event as a row."""
    tones = [tone for part, tone in _TONES if part in event.kind]
    cells: tuple[Cell, ...] = (
        text(words.time_of_day(event.at), "dim"),
        text(words.clean(event.kind), tones[0] if tones else "plain"),
        text(about(event), "bold"),
        text(words.clean(event.detail or "")),
        text(words.clean(event.worker or "")),
        text(words.clean(event.batch or "")),
        text(words.clean(event.actor), "dim"),
    )
    return Row(event.id, cells)
