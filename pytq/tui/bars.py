"""The lines that frame every screen: where one is, how things stand, which keys there are. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len

from pytq.schema.states import TaskStatus
from pytq.tui import looks, words
from pytq.tui.cells import Line, Span
from pytq.tui.model import Store

PLACES: Final = ("overview", "batches", "workers", "tasks", "jobs", "events")
_NAME: Final = " PYTQ "
_RARE: Final = frozenset({TaskStatus.WAITING, TaskStatus.CANCELLED})
_BRIEF: Final[dict[TaskStatus, str]] = {
    TaskStatus.WAITING: "wait",
    TaskStatus.PENDING: "pend",
    TaskStatus.ACTIVE: "active",
    TaskStatus.SUCCEEDED: "ok",
    TaskStatus.FAILED: "fail",
    TaskStatus.CANCELLED: "canc",
}


class Key(NamedTuple):
    """A key, as the last line shows it."""

    shown: str
    does: str
    act: str


def top(store: Store, here: str, address: str, now: float, width: int) -> Line:
    """The name, the places with their keys, and how the connection stands."""
    state = _link(store, now)
    spans = [Span(_NAME, "title", "app.goto('overview')"), Span(" ")]
    for number, place in enumerate(PLACES, 1):
        act = f"app.goto('{place}')"
        spans.append(Span(f"{number} ", "accent" if place == here else "dim", act))
        spans.append(Span(place.title(), "title" if place == here else "plain", act))
        spans.append(Span("  "))
    used, right = length(spans), cell_len(state.text)
    where = f"{words.clean(address)}  "
    if used + cell_len(where) + right + 1 <= width:
        spans.append(Span(" " * (width - used - cell_len(where) - right - 1)))
        spans.append(Span(where, "dim"))
    else:
        spans.append(Span(" " * max(0, width - used - right - 1)))
    return (*spans, state)


def _link(store: Store, now: float) -> Span:
    if store.link.state == "live":
        return Span("● live", "good")
    if store.link.state == "away":
        return Span(f"✗ away {words.since_seconds(store.silent(now))}", "bad")
    return Span("○ connecting", "wait")


def away(store: Store, now: float, address: str, width: int) -> str:
    """What the banner says while the server is away, as far as it fits; empty while it is there."""
    if store.link.state != "away":
        return ""
    why = words.clean(store.link.why)
    if store.server is None:
        parts = [f"no server at {words.clean(address)} yet: {why}", "trying again …"]
    else:
        silent = words.since_seconds(store.silent(now))
        parts = [f"server away for {silent}; showing what was", "trying again …", why]
    said = parts[0]
    for part in parts[1:]:
        longer = f"{said}; {part}"
        said = longer if cell_len(longer) <= width else said
    return said


def counts(store: Store, width: int) -> Line:
    """How many tasks there are of each status, and the workers; shorter where room is short."""
    numbers = store.counts.model_dump()
    fleet = store.fleet()
    workers = words.plural(fleet.online, "worker")
    if fleet.away:
        workers += f", {fleet.away} offline"
    line: list[Span] = []
    for shown, brief in _ways(numbers):
        line = _counts(numbers, shown, brief=brief)
        spare = width - length(line) - len(workers) - 1
        if spare >= 1:
            return (*line, Span(" " * spare), Span(workers, "dim", "app.goto('workers')"))
        if length(line) <= width:
            break
    return tuple(line)


def _ways(numbers: dict[str, int]) -> Iterator[tuple[list[TaskStatus], bool]]:
    """Which counts to show and how briefly, the longest way first."""
    everything = list(TaskStatus)
    some = [status for status in everything if numbers[status] or status not in _RARE]
    for brief in (False, True):
        yield everything, brief
        yield some, brief


def _counts(numbers: dict[str, int], shown: Sequence[TaskStatus], *, brief: bool) -> list[Span]:
    say = words.short if brief else words.number
    spans = [Span(" ")]
    for status in shown:
        look, amount = looks.TASK[status], numbers[status]
        word = _BRIEF[status] if brief else look.word
        act = f"app.tasks_of('{status}')"
        spans.append(Span(f"{look.glyph} {say(amount)}", look.tone if amount else "dim", act))
        spans.append(Span(f" {word}  ", "plain" if amount else "dim", act))
    return spans


def keys(available: Sequence[Key], width: int) -> Line:
    """The keys there is room for, each whole; the last one leads to all of them."""
    more = (Span(" ? ", "accent", "app.help"), Span("all keys", "dim", "app.help"))
    room = width - length(more) - 1
    spans: list[Span] = []
    for key in available:
        part = (Span(f" {key.shown} ", "accent", key.act), Span(f"{key.does} ", "plain", key.act))
        if length(spans) + length(part) > room:
            break
        spans += part
    return (*spans, Span(" " * (width - length(spans) - length(more) - 1)), *more)


def length(spans: Sequence[Span]) -> int:
    """How many cells spans take."""
    return sum(cell_len(span.text) for span in spans)
