"""What stands above and below the table of tasks."""

from pytq.schema.states import TaskStatus
from pytq.schema.views import Counts
from pytq.tui import bars, looks, words
from pytq.tui.cells import Line, Span, Tone, text
from pytq.tui.filters import SORT_WORDS, TaskQuery
from pytq.tui.panels.layout import wrapped
from pytq.tui.tables.tasks import TaskRow


def counts_of(counts: Counts, query: TaskQuery) -> int:
    """How many tasks a query finds, as far as the kept counts can tell."""
    numbers = counts.model_dump()
    return sum(numbers[status] for status in query.statuses or TaskStatus)


def tabs(counts: Counts, query: TaskQuery, width: int) -> Line:
    """The statuses to choose from, each with how many there are; those chosen stand out."""
    numbers = counts.model_dump()
    whole = sum(numbers.values())
    for say in (words.number, words.short, None):
        many = "" if say is None else f" {say(whole)}"
        spans = [*_tab("", f"All{many}", not query.statuses, "plain")]
        for status in TaskStatus:
            look, chosen = looks.TASK[status], status in query.statuses
            many = "" if say is None else f" {say(numbers[status])}"
            tone = look.tone if numbers[status] else "dim"
            spans += _tab(status, f"{look.glyph} {look.word}{many}", chosen, tone)
        if bars.length(spans) <= width:
            break
    order = Span(SORT_WORDS[query.sort][query.oldest_first], "dim", "screen.order")
    spare = width - bars.length(spans) - len(order.text) - 1
    return (*spans, Span(" " * spare), order) if spare > 0 else tuple(spans)


def _tab(status: str, said: str, chosen: bool, tone: Tone) -> tuple[Span, ...]:  # noqa: FBT001 - a look, not a switch
    act = f"screen.only('{status}')"
    if chosen:
        return (Span("▐", "accent"), Span(said, "accent", act), Span("▌", "accent"))
    return (Span(" "), Span(said, tone, act), Span(" "))


def preview(row: TaskRow | None, width: int, height: int) -> list[Line]:
    """The task under the cursor: its whole command, and why it is as it is."""
    if row is None:
        return []
    lines = wrapped(f"$ {row.command}", width, max(1, height - 1))
    if row.reason:
        tone: Tone = "bad" if row.status is TaskStatus.FAILED else "dim"
        lines += wrapped(row.reason, width, max(1, height - len(lines)), tone)
    return lines or [text("")]
