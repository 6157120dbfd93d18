"""Putting facts in order: labels before values, in as many columns as fit."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.cells import cell_len, chop_cells

from pytq.tui.cells import Line, Span, Tone

Fact = tuple[str, Line]

_GAP: Final = 2


def facts(items: Sequence[Fact], width: int, *, least: int = 36, label: int = 0) -> list[Line]:
    """Facts in columns that are at least so wide, read downwards; `label`: and so their labels."""
    shown = [item for item in items if any(span.text for span in item[1])]
    if not shown or width <= 0:
        return []
    columns = max(1, min(len(shown), (width + _GAP) // (least + _GAP)))
    rows = -(-len(shown) // columns)
    room = (width - _GAP * (columns - 1)) // columns
    stacks = [shown[i * rows : (i + 1) * rows] for i in range(columns)]
    labels = [max((label, *(cell_len(name) for name, _ in stack))) for stack in stacks]
    made: list[Line] = []
    for row in range(rows):
        spans: list[Span] = []
        for place, (stack, wide) in enumerate(zip(stacks, labels, strict=True)):
            if row < len(stack):
                spans += _fact(stack[row], wide, room, last=place == columns - 1)
        made.append(tuple(spans))
    return made


def _fact(fact: Fact, label: int, room: int, *, last: bool) -> list[Span]:
    """One fact in exactly `room` cells and the gap after it, unless it is the `last` of its row."""
    name, value = fact
    spans = [Span(name.ljust(label) + "  ", "dim"), *cut(value, room - label - 2)]
    used = sum(cell_len(span.text) for span in spans)
    return spans if last else [*spans, Span(" " * max(0, room + _GAP - used))]


def cut(line: Iterable[Span], width: int) -> list[Span]:
    """As much of a line as fits, with a mark where something is cut off."""
    kept: list[Span] = []
    used = 0
    for span in line:
        size = cell_len(span.text)
        if used + size > width:
            room = max(0, width - used - 1)
            start = chop_cells(span.text, room)[0] if room and span.text else ""
            kept.append(span._replace(text=start + "…"))
            return kept
        kept.append(span)
        used += size
    return kept


def wrapped(text: str, width: int, most: int, tone: Tone = "plain") -> list[Line]:
    """Text broken into at most so many lines."""
    lines: list[Line] = []
    for given in text.splitlines() or [""]:
        for part in chop_cells(given, max(1, width)) or [""]:
            if len(lines) == most:
                lines[-1] = (*cut(lines[-1], width - 1), Span("…", "dim"))
                return lines
            lines.append((Span(part, tone),))
    return lines


def flowing(parts: Sequence[str], between: str, width: int, most: int) -> list[Line]:
    """Phrases one after the other, in at most so many lines; none is broken but the last."""
    lines = [""]
    for part in parts:
        longer = lines[-1] + (between if lines[-1] else "") + part
        if cell_len(longer) > width and lines[-1] and len(lines) < most:
            lines.append(part)
        else:
            lines[-1] = longer
    return [(Span(one, "bold"),) for one in lines]
