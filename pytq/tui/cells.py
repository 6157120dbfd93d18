"""What a table's cell or a line is made of: text with tones. The theme gives the tones colours."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

Tone = Literal[
    "plain",
    "dim",
    "bold",
    "title",
    "accent",
    "good",
    "bad",
    "warn",
    "busy",
    "wait",
    "odd",
]
TONES: Final[tuple[Tone, ...]] = Tone.__args__  # type: ignore[attr-defined]


class Span(NamedTuple):
    """Text of one tone; `act` is what a click on it does, as Textual writes actions."""

    text: str
    tone: Tone = "plain"
    act: str = ""


class Bar(NamedTuple):
    """A bar as wide as its column: shares of 1, drawn one after the other."""

    parts: tuple[tuple[float, Tone], ...]


Line = tuple[Span, ...]
Cell = Line | Bar


class Row(NamedTuple):
    """A row of a table: who it is, and a cell for each column."""

    key: str | int
    cells: tuple[Cell, ...]


def line(*parts: str | Span) -> Line:
    """A line of spans; bare text is plain."""
    return tuple(part if isinstance(part, Span) else Span(part) for part in parts)


def text(value: object, tone: Tone = "plain") -> Line:
    """A line of one tone."""
    return (Span(str(value), tone),)


def plain(cell: Cell) -> str:
    """A cell without its tones, as a CSV file takes it."""
    if isinstance(cell, Bar):
        return f"{sum(share for share, _ in cell.parts):.3f}"
    return "".join(span.text for span in cell)


EMPTY: Final[Line] = ()

# An eighth of a cell is the smallest step of a bar.
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_FILL: Final[dict[Tone, str]] = {"bad": "▒", "busy": "▓", "wait": "░"}
_MOST: Final = 8


def draw(bar: Bar, width: int) -> Line:
    """A bar in `width` cells; each tone has its own pattern, so that none needs colour."""
    if len(bar.parts) == 1:
        return _smooth(*bar.parts[0], width)
    there = [(share, tone) for share, tone in bar.parts if share > 0]
    rest = 1 - sum(share for share, _ in there)
    shares = [share for share, _ in there] + ([rest] if rest > 0 else [])
    cells = share_out(shares, width)
    spans = [
        Span(_FILL.get(tone, "█") * amount, tone)
        for (_, tone), amount in zip(there, cells, strict=False)
    ]
    return (*spans, Span("·" * (width - sum(cells[: len(there)])), "dim"))


def share_out(amounts: Sequence[float], room: int) -> list[int]:
    """`room` cells shared out by amounts; each gets at least one while there are enough."""
    if not amounts:
        return []
    least = 1 if room >= len(amounts) else 0
    spare = room - least * len(amounts)
    whole = sum(amounts)
    exact = [amount / whole * spare if whole else 0.0 for amount in amounts]
    cells = [least + int(share) for share in exact]
    by_rest = sorted(range(len(amounts)), key=lambda i: int(exact[i]) - exact[i])
    for index in by_rest[: room - sum(cells)]:
        cells[index] += 1
    return cells


def _smooth(share: float, tone: Tone, width: int) -> Line:
    eighths = max(0, min(width * _MOST, round(share * width * _MOST)))
    if share > 0 and not eighths:
        eighths = 1
    full, part = divmod(eighths, _MOST)
    drawn = "█" * full + (_EIGHTHS[part] if part else "")
    return Span(drawn, tone), Span("·" * (width - len(drawn)), "dim")
