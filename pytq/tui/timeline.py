"""The life of an execution as stretches of time, and those as a bar of text: pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from pytq.schema.states import Phase
from pytq.schema.views import ExecutionView
from pytq.tui.cells import Line, Span, Tone, share_out


class Stretch(NamedTuple):
    """A phase of an execution, and how long it took or has taken, in seconds."""

    phase: Phase
    seconds: float


# Each phase has a pattern of its own, so that the bar can be read without colours.
PATTERN: Final[dict[Phase, tuple[str, Tone]]] = {
    Phase.ASSIGNED: ("·", "dim"),
    Phase.DOWNLOADING: ("▒", "wait"),
    Phase.READY: ("░", "wait"),
    Phase.RUNNING: ("█", "busy"),
    Phase.UPLOADING: ("▓", "odd"),
}


def stretches(execution: ExecutionView, now: datetime) -> list[Stretch]:
    """The phases that an execution has been through, in order."""
    starts = (
        (Phase.ASSIGNED, execution.assigned_at),
        (Phase.DOWNLOADING, execution.downloading_at),
        (Phase.READY, execution.ready_at),
        (Phase.RUNNING, execution.running_at),
        (Phase.UPLOADING, execution.uploading_at),
    )
    there = [(phase, at) for phase, at in starts if at is not None]
    ends = [at for _, at in there[1:]] + [execution.ended_at or now]
    return [
        Stretch(phase, max(0.0, (end - start).total_seconds()))
        for (phase, start), end in zip(there, ends, strict=True)
    ]


def took(execution: ExecutionView, now: datetime) -> float:
    """How long an execution took, or has taken so far: from its lease to its end, in seconds."""
    return max(0.0, ((execution.ended_at or now) - execution.assigned_at).total_seconds())


def ran(execution: ExecutionView, now: datetime) -> float | None:
    """How long its command ran or has run, in seconds; None before it has begun."""
    if execution.running_at is None:
        return None
    end = execution.uploading_at or execution.ended_at or now
    return max(0.0, (end - execution.running_at).total_seconds())


def bar(parts: Sequence[Stretch], longest: float, width: int) -> Line:
    """A bar in `width` cells, of which the `longest` execution takes all; no phase vanishes."""
    seconds = sum(part.seconds for part in parts)
    room = max(len(parts), round(width * seconds / longest)) if longest > 0 else len(parts)
    room = min(room, width)
    cells = share_out([part.seconds for part in parts], room)
    spans = []
    for part, amount in zip(parts, cells, strict=True):
        glyph, tone = PATTERN[part.phase]
        spans.append(Span(glyph * amount, tone))
    return (*spans, Span(" " * (width - sum(cells))))
