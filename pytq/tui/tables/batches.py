"""The table of batches."""

from typing import Final

from pytq.schema.views import BatchView, Counts
from pytq.tui import rates, words
from pytq.tui.cells import EMPTY, Bar, Cell, Line, Tone, text
from pytq.tui.columns import Column
from pytq.tui.looks import GOING, PAUSED, Look
from pytq.tui.tables.listing import Listing, Moment

DONE: Final = Look("✓", "done", "good")
BARE: Final = Look("○", "empty", "dim")

COLUMNS: Final = (
    Column("name", "BATCH", 12, flex=2, most=40),
    Column("state", "STATE", 8, rank=3),
    Column("progress", "PROGRESS", 10, rank=2, flex=3, most=48),
    Column("share", "DONE", 4, right=True),
    Column("left", "TIME LEFT", 9, rank=4, right=True),
    Column("pace", "A MINUTE", 8, rank=9, right=True),
    Column("waiting", "WAITING", 7, rank=11, right=True),
    Column("pending", "PENDING", 7, rank=1, right=True),
    Column("active", "ACTIVE", 6, right=True),
    Column("succeeded", "SUCCEEDED", 9, rank=8, right=True),
    Column("failed", "FAILED", 6, right=True),
    Column("cancelled", "CANCELLED", 9, rank=10, right=True),
    Column("total", "TASKS", 7, rank=7, right=True),
    Column("workers", "WORKERS", 7, rank=5, right=True),
)
_TONES: Final[dict[str, Tone]] = {
    "waiting": "dim",
    "pending": "wait",
    "active": "busy",
    "succeeded": "good",
    "failed": "bad",
    "cancelled": "odd",
}
_FULL: Final = 100_000  # from here on a count is shortened


def state(batch: BatchView) -> Look:
    """How a batch stands, in a word."""
    if batch.paused:
        return PAUSED
    if rates.left(batch.counts):
        return GOING
    return DONE if rates.total(batch.counts) else BARE


def share_done(counts: Counts) -> float:
    """How much of a batch is over, as a share of 1."""
    return rates.ended(counts) / max(1, rates.total(counts))


def progress(counts: Counts) -> Bar:
    """A batch as a bar: what succeeded, failed, was cancelled, and what is under way."""
    whole = max(1, rates.total(counts))
    parts: tuple[tuple[int, Tone], ...] = (
        (counts.succeeded, "good"),
        (counts.failed, "bad"),
        (counts.cancelled, "odd"),
        (counts.active, "busy"),
    )
    return Bar(tuple((amount / whole, tone) for amount, tone in parts))


def time_left(batch: BatchView, at: Moment) -> float | None:
    """When a batch will be over, in seconds; None where nobody can tell."""
    store = at.store
    active = store.counts.active
    return rates.seconds_left(batch, store.pace, store.points(), active, at.now)


def count(amount: int, tone: Tone) -> Line:
    """A count; nothing is dim."""
    shown = words.number(amount) if amount < _FULL else words.short(amount)
    return text(shown, tone) if amount else text("0", "dim")


def _cells(batch: BatchView, at: Moment) -> tuple[Cell, ...]:
    counts = batch.counts
    seconds = time_left(batch, at)
    pace = at.store.pace.of(batch, at.now)
    whole = rates.total(counts)
    idle = not batch.workers and counts.pending
    numbers = [count(getattr(counts, name), tone) for name, tone in _TONES.items()]
    return (
        text(words.clean(batch.name), "bold"),
        state(batch).line,
        progress(counts) if whole else EMPTY,
        text(words.percent(share_done(counts)) if whole else words.NOTHING),
        text("" if seconds is None else words.duration(seconds)),
        text("" if pace is None else words.rate(pace * 60), "plain" if pace else "dim"),
        *numbers,
        count(whole, "plain"),
        text("none!", "bad") if idle else count(batch.workers, "plain"),
    )


LISTING: Final[Listing[BatchView]] = Listing(
    columns=COLUMNS,
    things=lambda store: store.batches.values(),
    key=lambda batch: batch.name,
    says=lambda batch: (batch.name, state(batch).word),
    cells=_cells,
    by={
        "state": lambda batch, _: state(batch).word,
        "progress": lambda batch, _: share_done(batch.counts),
        "share": lambda batch, _: share_done(batch.counts),
        "left": lambda batch, at: time_left(batch, at) or 0.0,
        "pace": lambda batch, at: -(at.store.pace.of(batch, at.now) or 0.0),
        "waiting": lambda batch, _: -batch.counts.waiting,
        "pending": lambda batch, _: -batch.counts.pending,
        "active": lambda batch, _: -batch.counts.active,
        "succeeded": lambda batch, _: -batch.counts.succeeded,
        "failed": lambda batch, _: -batch.counts.failed,
        "cancelled": lambda batch, _: -batch.counts.cancelled,
        "total": lambda batch, _: -rates.total(batch.counts),
        "workers": lambda batch, _: -batch.workers,
    },
)
