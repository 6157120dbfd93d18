"""How people see things: tables and pairs, in which nothing from outside can play tricks."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytq.cli.wire import harmless
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import Counts, Reason

_WIDTH_WITHOUT_TERMINAL: Final = 200
_WIDE: Final = frozenset({"COMMAND", "REASON", "NAME", "WHY"})
_STEP: Final = 1024
COLOURS: Final = {
    "waiting": "dim",
    "pending": "blue",
    "active": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "online": "green",
    "offline": "red",
    "paused": "yellow",
    "draining": "yellow",
    "gone": "dim",
    "lost": "red",
    "refused": "dim",
}


def console() -> Console:
    """The terminal, or wide plain text where there is none."""
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(width=width, highlight=False, markup=False, emoji=False)


def cell(value: object) -> Text:
    """A value as text that rich takes as it is, on one line."""
    text = "" if value is None else harmless(str(value)).replace("\n", "\\n")
    return Text(text, style=COLOURS.get(text, ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table of plain cells, a line for each row; where room is short, the wide columns give."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, no_wrap=column not in _WIDE)
    for row in rows:
        cells = [cell(value) for value in row]
        for one in cells:
            one.no_wrap, one.overflow = True, "ellipsis"
        shown.add_row(*cells)
    return shown


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    console().print(table(columns, rows))


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print what is known of one thing, line by line."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], {}):
            shown.add_row(Text(name), cell(value))
    console().print(shown)


def moment(at: datetime | None) -> str:
    """A time as this machine's clock shows it."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(amount: float | None) -> str:
    """Bytes as people read them."""
    if amount is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _STEP:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _STEP
    return f"{amount:.1f} TiB"


def reason(given: Reason | None) -> str:
    """Why something is as it is."""
    return "" if given is None else given.detail or given.cause.value


def command(spec: TaskSpec) -> str:
    """A task's command as a shell would take it."""
    texts = [
        step.command if isinstance(step.command, str) else shlex.join(step.command)
        for step in spec.steps
    ]
    return " ; ".join(texts)


def counts(of: Counts) -> str:
    """The counts that are not zero, in words."""
    found = [f"{number} {status}" for status, number in of.model_dump().items() if number]
    return ", ".join(found) or "no tasks"
