"""What is known of one batch."""

from collections.abc import Sequence

from pytq.schema.states import Cause
from pytq.schema.views import BatchView, FailureView
from pytq.tui import rates, words
from pytq.tui.cells import Line, Span, draw, line, text
from pytq.tui.panels.layout import Fact, cut, facts
from pytq.tui.tables.batches import progress, share_done, state, time_left
from pytq.tui.tables.listing import Moment

Failures = Sequence[FailureView] | None  # None: not known yet


def batch(view: BatchView, failures: Failures, at: Moment, width: int, height: int) -> list[Line]:
    """Progress, pace, workers, and why its tasks failed."""
    counts = view.counts
    whole = rates.total(counts)
    lines: list[Line] = []
    if whole:
        share = f" {words.percent(share_done(counts))} of {words.plural(whole, 'task')}"
        lines.append((*draw(progress(counts), max(8, width - len(share))), Span(share)))
    lines += facts(_facts(view, at), width, least=30)
    lines += _failures(view, failures, width, max(2, height - len(lines)))
    return lines[:height] if height else lines


def _facts(view: BatchView, at: Moment) -> list[Fact]:
    seconds = time_left(view, at)
    pace = at.store.pace.of(view, at.now)
    crew = at.store.crew(view.name)
    running = sum(worker.running for worker in crew)
    slots = sum(worker.settings.concurrency for worker in crew)
    workers = f"{view.workers}, {running}/{slots} slots busy" if crew else "none"
    left = f"about {words.duration(seconds)}" if seconds is not None else words.NOTHING
    return [
        ("state", state(view).line),
        ("time left", text(left)),
        (
            "pace",
            text(f"{words.rate(pace * 60)} a minute")
            if pace is not None
            else text(words.NOTHING, "dim"),
        ),
        ("workers", text(workers, "plain" if crew else "bad")),
    ]


def _failures(view: BatchView, failures: Failures, width: int, room: int) -> list[Line]:
    if not view.counts.failed:
        return [text("✓ no task has failed", "good")] if rates.total(view.counts) else []
    if failures is None:
        return [text(f"✗ {words.plural(view.counts.failed, 'task')} failed …", "bad")]
    lines: list[Line] = []
    for failure in failures[: room if len(failures) <= room else room - 1]:
        said = words.clean(failure.detail) or failure.cause.value
        cause = kind(failure)
        act = f"screen.show_task({failure.task})"
        spans = line(
            Span(f"✗ {words.short(failure.count):>5} ", "bad"),
            Span(f"{cause:<10} ", "warn"),
            Span(f"as task {failure.task}", "title", act),
            Span(f"  {said}"),
        )
        lines.append(tuple(cut(spans, width)))
    if len(failures) > room:
        lines.append(text(f"  and {len(failures) - len(lines)} other ways to fail", "dim"))
    return lines


def kind(failure: FailureView) -> str:
    """How tasks failed, in a word or two."""
    if failure.cause is Cause.EXIT and failure.exit_code is not None:
        return f"exit {failure.exit_code}"
    return failure.cause.value
