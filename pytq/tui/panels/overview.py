"""The panes of the overview: how things stand, at one look."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from pytq.schema import limits
from pytq.schema.states import TaskStatus, WorkerStatus
from pytq.schema.stream import Point
from pytq.schema.views import WorkerView
from pytq.tui import looks, rates, words
from pytq.tui.cells import Bar, Line, Span, Tone, draw, line, text
from pytq.tui.model import HERE, Store
from pytq.tui.tables import events
from pytq.tui.tables.jobs import took
from pytq.tui.tables.listing import Moment

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_WHOLE: Final = 8
_LABEL: Final = 6
_SHORTEST: Final = 300  # seconds that a plot shows at least
_TENFOLD: Final = 10
_WORKER_WIDTH: Final = 28
_NAME: Final = 12
_BY_HAND: Final = "pytq worker SERVER 4"
_STEPS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 20)  # where an axis may end


def tasks(store: Store, width: int) -> list[Line]:
    """How many tasks there are of each status, with a bar for each."""
    numbers = store.counts.model_dump()
    whole = max(1, sum(numbers.values()))
    room = max(4, width - 24)
    lines: list[Line] = []
    for status in TaskStatus:
        look, amount = looks.TASK[status], numbers[status]
        act = f"app.tasks_of('{status}')"
        head = Span(f"{look.glyph} {look.word:<10}", look.tone if amount else "dim", act)
        many = Span(f"{words.number(amount):>11} ", "bold" if amount else "dim", act)
        lines.append((head, many, *draw(Bar(((amount / whole, look.tone),)), room)))
    return lines


# --- throughput


def throughput(points: Sequence[Point], width: int, height: int) -> list[Line]:
    """Tasks that ended, by the minute, over the last hour at most; failures below, by number."""
    columns, rows = width - _LABEL, height - 2
    if columns < _WHOLE or rows < 1:
        return []
    if not any(point.succeeded + point.failed for point in points):
        return _no_throughput(points, width, height)
    seconds = _column_seconds(points, columns)
    until = points[-1].at + limits.HISTORY_STEP
    shown = rates.buckets(points, until, seconds, columns)
    ended = [rates.a_minute(point.succeeded + point.failed, seconds) for point in shown]
    top = _round_up(max(ended))
    lines = [_plot_row(row, rows, ended, top) for row in range(rows)]
    return [*lines, _axis(until, seconds * columns, columns), _failures(shown)]


def _no_throughput(points: Sequence[Point], width: int, height: int) -> list[Line]:
    started = any(point.started for point in points)
    said = "tasks run; none has ended yet" if started else "nothing has ended within the last hour"
    lines: list[Line] = [()] * max(0, height // 2 - 1)
    return [*lines, (Span(said.center(width), "dim"),)]


def _column_seconds(points: Sequence[Point], columns: int) -> int:
    """How many seconds a column stands for: whole steps, and no more than there is to show."""
    busy = next(point.at for point in points if point.started or point.succeeded or point.failed)
    span = min(limits.HISTORY_SECONDS, max(_SHORTEST, points[-1].at - busy + limits.HISTORY_STEP))
    return math.ceil(span / columns / limits.HISTORY_STEP) * limits.HISTORY_STEP


def _round_up(amount: float) -> float:
    """The next round number: 1, 2, 3, 4, 5, 6, 8 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(amount, 1.0)))
    return power * next(step for step in _STEPS if step * power >= amount)


def _plot_row(row: int, rows: int, values: Sequence[float], top: float) -> Line:
    below = (rows - 1 - row) * _WHOLE
    drawn = "".join(
        _EIGHTHS[max(0, min(_WHOLE, math.ceil(value / top * rows * _WHOLE) - below))]
        for value in values
    )
    label = ""
    if row == 0:
        label = words.rate(top)
    elif rows > 4 and row == rows // 2:  # noqa: PLR2004 - where a second label helps
        label = words.rate(top / 2)
    return (Span(f"{label:>{_LABEL - 1}}" + ("┤" if label else "│"), "dim"), Span(drawn, "good"))


def _axis(until: int, span: int, columns: int) -> Line:
    """The time axis, with the time of day where there is room."""
    drawn = ["─"] * columns
    places = (0.0, 0.25, 0.5, 0.75, 1.0) if columns >= 10 * _WHOLE else (0.0, 0.5, 1.0)
    for share in places:
        at = datetime.fromtimestamp(until - span * (1 - share), UTC).astimezone()
        label = at.strftime("%H:%M" if share in (0.0, 1.0) else " %H:%M ")
        start = max(0, min(columns - len(label), round(share * columns) - len(label) // 2))
        drawn[start : start + len(label)] = label
    return (Span("0".rjust(_LABEL - 1) + "└" + "".join(drawn), "dim"),)


def _failures(shown: Sequence[Point]) -> Line:
    marks = "".join(
        " " if not point.failed else str(point.failed) if point.failed < _TENFOLD else "+"
        for point in shown
    )
    tone: Tone = "bad" if marks.strip() else "dim"
    return (Span("failed".ljust(_LABEL), tone), Span(marks, "bad"))


def pace(points: Sequence[Point]) -> str:
    """The last minute, in words."""
    last = rates.recent(points)
    parts = [f"✓ {words.number(last.succeeded)}", f"✗ {words.number(last.failed)}"]
    if last.lost:
        parts.append(f"? {words.number(last.lost)} lost")
    return "in the last minute " + "  ".join(parts)


# --- workers


def fleet(store: Store, width: int, height: int) -> list[Line]:
    """The workers in a few numbers, then each: as a line where there is room, else as a cell."""
    if not store.workers:
        return [
            text("no worker yet", "bold"),
            line(Span("r", "accent"), Span(" recruits some, or run  ", "dim"), Span(_BY_HAND)),
        ]
    lines = _summary(store, width)
    room = height - len(lines)
    columns = max(1, (width + 2) // (_WORKER_WIDTH + 2))
    if len(store.workers) <= columns * room:
        return [*lines, *_listed(store, width, columns)]
    return [*lines, *_map(store, width, max(1, room))]


def _summary(store: Store, width: int) -> list[Line]:
    numbers = store.fleet()
    busy, slots = words.number(numbers.running), words.number(numbers.slots)
    rest: tuple[tuple[int, str, Tone], ...] = (
        (numbers.away, f"✗ {numbers.away} offline", "bad"),
        (numbers.held, f"‖ {numbers.held} held", "warn"),
        (len(numbers.hungry), f"{len(numbers.hungry)} hungry", "wait"),
        (len(numbers.idle), f"{len(numbers.idle)} idle", "dim"),
    )
    online = Span(f"● {numbers.online} online", "good")
    said = tuple(Span(f"{what}  ", tone) for amount, what, tone in rest if amount)
    for slot in (f"  {busy} of {slots} slots busy  ", f"  {busy}/{slots} busy  "):
        if sum(len(span.text) for span in (online, Span(slot), *said)) <= width:
            return [(online, Span(slot), *said)]
    return [line(online, Span(f"  {busy} of {slots} slots busy")), said]


def _listed(store: Store, width: int, columns: int) -> list[Line]:
    """A line for each worker, in columns that are read downwards."""
    names = sorted(store.workers)
    rows = -(-len(names) // columns)
    room = (width - 2 * (columns - 1)) // columns
    made: list[Line] = []
    for row in range(rows):
        spans: list[Span] = []
        for name in names[row::rows]:
            spans += [*_worker_line(store.workers[name], room), Span("  ")]
        made.append(tuple(spans[:-1]))
    return made


def _worker_line(worker: WorkerView, room: int) -> list[Span]:
    act = f"app.worker('{worker.name}')"
    look = looks.WORKER[worker.status]
    slots = worker.settings.concurrency
    said = f" {worker.running:>3}/{slots:<3}"
    bar = max(4, room - _NAME - len(said) - 2)
    share = min(1.0, worker.running / max(1, slots))
    name = words.clean(worker.name)
    return [
        Span(f"{look.glyph} ", look.tone, act),
        Span(f"{name[: _NAME - 1]:<{_NAME}}", "plain", act),
        *draw(Bar(((share, "busy" if worker.status in HERE else "dim"),)), bar),
        Span(said, "plain" if worker.running else "dim"),
    ]


def _map(store: Store, width: int, rows: int) -> list[Line]:
    names = sorted(store.workers)
    room = width * rows
    shown = names if len(names) <= room else names[: max(0, room - width)]
    cells = [_worker_cell(store.workers[name]) for name in shown]
    made = [tuple(cells[i : i + width]) for i in range(0, len(cells), width)]
    if len(shown) < len(names):
        made.append(text(f"and {len(names) - len(shown)} more", "dim"))
    return made


def _worker_cell(worker: WorkerView) -> Span:
    act = f"app.worker('{worker.name}')"
    if worker.status is not WorkerStatus.ONLINE:
        look = looks.WORKER[worker.status]
        return Span(look.glyph, look.tone, act)
    if not worker.open:
        return Span("·", "dim", act)
    share = worker.running / max(1, worker.settings.concurrency)
    return Span(_EIGHTHS[max(1, min(_WHOLE, math.ceil(share * _WHOLE)))], "busy", act)


# --- what goes on


def news(at: Moment, width: int, height: int) -> list[Line]:
    """Jobs that are under way, then the latest events."""
    lines: list[Line] = []
    for job in at.store.jobs_open()[: max(1, height // 3)]:
        act = f"app.job({job.id})"
        seconds = took(job, at)
        since = "" if seconds is None else f"  {words.duration(seconds)}"
        title = Span(words.clean(job.title), "bold", act)
        lines.append((Span("► ", "busy", act), title, Span(since, "dim")))
        bar = draw(Bar(((job.progress, "busy"),)), max(4, width - 8))
        lines.append((Span("  "), *bar, Span(f" {words.percent(job.progress):>4}")))
    room = height - len(lines)
    for event in reversed(at.store.events[-room:] if room > 0 else []):
        row = events.row(event)
        when, kind, about = (cell for cell in row.cells[:3] if isinstance(cell, tuple))
        detail = words.clean(event.detail or "", width)
        lines.append((*when, Span(" "), *kind, Span(" "), *about, Span(" "), Span(detail, "dim")))
    return lines or [text("nothing has happened yet", "dim")]
