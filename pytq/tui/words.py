"""How things are said on a screen: numbers, sizes, times; and text from outside made harmless."""

import re
import shlex
from datetime import datetime
from typing import Final

from pytq.schema.tasks import TaskSpec
from pytq.schema.views import Reason

_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_STEP: Final = 1024
_THOUSAND: Final = 1_000
_TENFOLD: Final = 10
_TAB: Final = 8
# Terminal commands: CSI, OSC and its kin up to their end, and the short ones.
_ESCAPES: Final = re.compile(
    "\x1b(?:\\[[0-?]*[ -/]*[@-~]|[\\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?|[ -/]*[0-~])"
    "|\x9b[0-?]*[ -/]*[@-~]"
)
NOTHING: Final = "–"  # noqa: RUF001 - a dash where there is nothing to say


def clean(text: str, limit: int = 2_000) -> str:
    """Text from outside as one harmless line; what is cut off or left out shows as a mark."""
    if len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\n", "⏎")
    return _printable(text)


def clean_line(line: str) -> str:
    """A line of a log as a terminal would leave it standing: nothing of it can act."""
    if line.isprintable():
        return line
    line = _ESCAPES.sub("", line).rstrip("\r")
    if "\r" in line:  # a progress bar: only what was written last
        line = line[line.rindex("\r") + 1 :]
    return _printable(line.expandtabs(_TAB))


def _printable(text: str) -> str:
    """Controls, bidi marks and their kin fake what an operator sees: each becomes a dot."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else "·" for char in text)


def number(amount: float) -> str:
    """A count in full: 1,234,567."""
    return f"{amount:,.0f}"


def short(amount: float) -> str:
    """A count in at most five cells: 987, 12.3k, 1.2M."""
    if amount < _THOUSAND:
        return f"{amount:.0f}"
    for unit in ("k", "M"):
        amount /= _THOUSAND
        if amount < _THOUSAND:
            return f"{amount:.1f}{unit}" if amount < _THOUSAND / _TENFOLD else f"{amount:.0f}{unit}"
    return f"{amount / _THOUSAND:.1f}G"


def rate(a_minute: float) -> str:
    """How many a minute, with as many digits as mean something."""
    return f"{a_minute:.1f}" if 0 < a_minute < _TENFOLD else short(a_minute)


def size(amount: float) -> str:
    """Bytes: 512 B, 3.4 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _STEP:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{_digits(amount)} {unit}"
        amount /= _STEP
    return f"{_digits(amount)} TiB"


def tiny(amount: float) -> str:
    """Bytes in at most five cells: 512B, 3.4G."""
    for unit in ("B", "K", "M", "G"):
        if amount < _STEP:
            return f"{amount:.0f}B" if unit == "B" else f"{_digits(amount)}{unit}"
        amount /= _STEP
    return f"{_digits(amount)}T"


def _digits(amount: float) -> str:
    return f"{amount:.1f}" if amount < _TENFOLD else f"{amount:.0f}"


def duration(seconds: float) -> str:
    """How long: 0.8 s, 42 s, 3m 05s, 2h 10m, 4d 3h."""
    seconds = max(0.0, seconds)
    if seconds < _TENFOLD:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def since(then: datetime | None, now: datetime) -> str:
    """How long ago, to the second."""
    if then is None:
        return ""
    return since_seconds((now - then).total_seconds())


def since_seconds(seconds: float) -> str:
    """How long ago, without fractions that nobody can read as they pass."""
    return f"{int(max(0.0, seconds))} s" if seconds < _TENFOLD else duration(seconds)


def percent(share: float) -> str:
    """A share of 1 as a percentage that says 100 only when it is all, and 0 only for nothing."""
    if 0 < share < 0.01:  # noqa: PLR2004 - one percent
        return "<1%"
    return f"{min(int(share * 100), 100)}%"


def time_of_day(at: datetime) -> str:
    """A time as this machine's clock shows it."""
    return at.astimezone().strftime("%H:%M:%S")


def moment(at: datetime | None) -> str:
    """A date and time as this machine's clock shows them."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plural(amount: int, thing: str) -> str:
    """`1 task`, `1,200 tasks`, `3 batches`."""
    return f"{number(amount)} {thing if amount == 1 else things(thing)}"


def things(thing: str) -> str:
    """`tasks`, `batches`."""
    return thing + ("es" if thing.endswith(("ch", "s", "x")) else "s")


def command(spec: TaskSpec) -> str:
    """A task's command as a shell would take it."""
    return " ; ".join(one_command(step.command) for step in spec.steps)


def one_command(given: str | list[str]) -> str:
    """A command as a shell would take it."""
    return given if isinstance(given, str) else shlex.join(given)


def reason(given: Reason | None) -> str:
    """Why something is as it is."""
    return "" if given is None else clean(given.detail or given.cause.value)
