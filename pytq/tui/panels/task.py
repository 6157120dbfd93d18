"""What is known of one task: itself, its tries as lines of time, its transfers."""

from collections.abc import Sequence
from typing import Final

from pytq.schema.states import TaskStatus
from pytq.schema.tasks import Mount, Output, TaskSpec
from pytq.schema.views import ExecutionView, Staging, TaskView
from pytq.tui import looks, timeline, words
from pytq.tui.cells import Bar, Line, Span, Tone, draw, line, text
from pytq.tui.panels.layout import Fact, cut, facts, wrapped
from pytq.tui.tables.listing import Moment

_COMMAND_LINES: Final = 4
_NAMED: Final = 6
_LABEL: Final = len("outputs")
_KEYS: Final = 12  # cells of a bar of the timeline, at the least
_WORKER: Final = 14
_OUTCOME: Final = 19
_FIXED: Final = 4 + _WORKER + _OUTCOME + 8
_RAN: Final = 12
_ROOMY: Final = 100


def task(view: TaskView, at: Moment, width: int, height: int) -> list[Line]:
    """Command, reason and facts, in so many lines at most."""
    spec = view.spec
    lines: list[Line] = []
    for number, step in enumerate(spec.steps[:_COMMAND_LINES]):
        shown = words.one_command(step.command)
        mark = "$ " if len(spec.steps) == 1 else f"{number + 1}$ "
        shown = mark + "\n".join(words.clean(part) for part in shown.splitlines())
        lines += wrapped(shown, width, _COMMAND_LINES if len(spec.steps) == 1 else 1, "bold")
    if len(spec.steps) > _COMMAND_LINES:
        lines.append(text(f"and {len(spec.steps) - _COMMAND_LINES} more steps", "dim"))
    if view.reason is not None:
        tone: Tone = "bad" if view.status is TaskStatus.FAILED else "warn"
        lines += wrapped(f"{words.reason(view.reason)}", width, 2, tone)
    lines += facts(_facts(view, at), width, least=34, label=_LABEL)
    for label, places in _places(spec):
        lines.append(tuple(cut(line(Span(f"{label:<{_LABEL}}  ", "dim"), Span(places)), width)))
    return lines[:height] if height else lines


def _facts(view: TaskView, at: Moment) -> list[Fact]:
    now, spec = at.store.clock(at.now), view.spec
    tries = f"{view.failures} of {view.retries + 1} used"
    tries += f", {view.losses} lost" if view.losses else ""
    return [
        ("batch", text(words.clean(view.batch))),
        ("queued", text(f"{words.since(view.created_at, now)} ago")),
        ("changed", text(f"{words.since(view.changed_at, now)} ago")),
        ("tries", text(tries)),
        ("priority", text(view.priority or "")),
        ("needs", text(_request(spec))),
        ("timeouts", text(_timeouts(spec))),
        ("after", text(_after(view))),
        ("tags", text(", ".join(f"{k}={words.clean(v)}" for k, v in view.tags.items()))),
        ("as user", text("" if spec.uid is None else f"{spec.uid}:{spec.gid}")),
    ]


def _request(spec: TaskSpec) -> str:
    request = spec.request
    parts = [f"{request.cpus:g} CPUs"] if request.cpus else []
    parts += [f"{words.size(request.memory)} of memory"] if request.memory else []
    parts += [f"{words.size(request.disk)} of disk"] if request.disk else []
    parts += [words.plural(request.gpus, "GPU")] if request.gpus else []
    return ", ".join(parts)


def _timeouts(spec: TaskSpec) -> str:
    given = spec.timeouts.model_dump(exclude_none=True)
    return ", ".join(f"{phase} {words.duration(seconds)}" for phase, seconds in given.items())


def _after(view: TaskView) -> str:
    names = [str(task) for task in view.requirements[:_NAMED]]
    more = len(view.requirements) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _places(spec: TaskSpec) -> list[tuple[str, str]]:
    found = []
    containers = sorted({step.container for step in spec.steps if step.container})
    if containers:
        found.append(("image", "  ".join(words.clean(one) for one in containers)))
    if spec.mounts:
        found.append(("inputs", "  ".join(_mount(mount) for mount in spec.mounts[:_NAMED])))
    if spec.outputs:
        found.append(("outputs", "  ".join(_output(output) for output in spec.outputs[:_NAMED])))
    return found


def _mount(mount: Mount) -> str:
    source = words.clean(mount.source) if mount.source else f"{len(mount.content or '')} characters"
    return f"{source} → {words.clean(mount.path)}"


def _output(output: Output) -> str:
    return f"{words.clean(output.path)} → {words.clean(output.destination)}"


# --- tries


def tries(
    executions: Sequence[ExecutionView], shown: int | None, at: Moment, width: int, height: int
) -> list[Line]:
    """A line for each try, the latest first: outcome, worker, phases to scale, durations."""
    now = at.store.clock(at.now)
    longest = max((timeline.took(one, now) for one in executions), default=0.0)
    wide = width >= _ROOMY
    room = max(_KEYS, width - _FIXED - (_RAN if wide else 0))
    lines: list[Line] = []
    for one in executions:
        if len(lines) >= height:
            break
        lines.append(_try(one, at, longest, room, shown=one.attempt == shown, wide=wide))
        if one.staging is not None and one.outcome is None:
            lines += staging(one.staging, width)
    return lines[:height]


def _try(
    one: ExecutionView, at: Moment, longest: float, room: int, *, shown: bool, wide: bool
) -> Line:
    now = at.store.clock(at.now)
    look = looks.of_execution(one)
    said = f"{look.glyph} {look.word}{_ending(one)}"
    act = f"screen.attempt({one.attempt})"
    ran = timeline.ran(one, now)
    spans = [
        Span("▌" if shown else " ", "accent"),
        Span(f"{one.attempt:>2} ", "bold" if shown else "dim", act),
        *_sized((Span(said, look.tone, act),), _OUTCOME),
        *_sized((Span(words.clean(one.worker), "plain", act),), _WORKER),
        *timeline.bar(timeline.stretches(one, now), longest, room),
        Span(f" {words.duration(timeline.took(one, now)):>7}", "bold"),
        Span(f" ran {words.duration(ran)}" if ran is not None and wide else "", "dim"),
    ]
    return tuple(spans)


def _sized(spans: Sequence[Span], width: int) -> list[Span]:
    kept = cut(spans, width - 1)
    return [*kept, Span(" " * (width - sum(len(span.text) for span in kept)))]


def _ending(one: ExecutionView) -> str:
    if one.outcome is not None and one.exit_code:
        return f", exit {one.exit_code}"
    return ""


def usage(one: ExecutionView) -> str:
    """What an execution used."""
    parts = [] if one.cpu_seconds is None else [f"{words.duration(one.cpu_seconds)} of CPU"]
    parts += [] if one.memory is None else [f"{words.size(one.memory)} at most"]
    return ", ".join(parts)


LEGEND: Final[Line] = line(
    *(
        part
        for phase, (glyph, tone) in timeline.PATTERN.items()
        for part in (Span(glyph, tone), Span(f" {phase}  ", "dim"))
    )
)


def staging(given: Staging, width: int) -> list[Line]:
    """How far inputs or outputs are: all in all, then file by file."""
    arrow = "↓" if given.direction == "in" else "↑"
    whole = f" of {words.size(given.total)}" if given.total else ""
    eta = f", {words.duration(given.eta)} left" if given.eta is not None else ""
    head = f"  {arrow} {words.size(given.done)}{whole}, {words.size(given.rate)}/s{eta}"
    waiting = f", {words.plural(given.waiting, 'file')} to come" if given.waiting else ""
    lines: list[Line] = [(Span(head + waiting, "wait"),)]
    for transfer in given.transfers:
        share = transfer.done / transfer.total if transfer.total else 0.0
        bar = draw(Bar(((share, "wait"),)), _OUTCOME)
        size = (
            f" {words.percent(share):>4} " if transfer.total else f" {words.size(transfer.done)} "
        )
        spans = (Span("    "), *bar, Span(size), Span(words.clean(transfer.uri), "dim"))
        lines.append(tuple(cut(spans, width)))
    return lines
