"""What is known of one worker."""

from typing import Final

from pytq.schema.states import WorkerStatus
from pytq.schema.views import Disk, Load, WorkerSettings, WorkerView
from pytq.tui import words
from pytq.tui.alerts import is_low
from pytq.tui.cells import Bar, Line, Span, draw, text
from pytq.tui.knobs import STAGES, Knobs, Stage
from pytq.tui.panels.layout import Fact, facts
from pytq.tui.tables.listing import Moment
from pytq.tui.tables.workers import look

_GAUGE: Final = 8
_FULL: Final = 100.0


def worker(view: WorkerView, knobs: Knobs, at: Moment, width: int) -> list[Line]:
    """What it is and does, what was asked of it and how far that has come, how its machine is."""
    items = _facts(view, knobs, at)
    if view.load is not None and view.status is not WorkerStatus.OFFLINE:
        items += _load(view.load)
    return facts(items, width, least=35)


def _facts(view: WorkerView, knobs: Knobs, at: Moment) -> list[Fact]:
    held = [
        (view.downloading, "downloading"),
        (view.ready, "ready"),
        (view.running, "running"),
        (view.uploading, "uploading"),
    ]
    said = ", ".join(f"{amount} {word}" for amount, word in held if amount) or "nothing"
    seen = words.since(view.seen_at, at.store.clock(at.now))
    return [
        ("status", look(view).line),
        ("host", text(words.clean(view.hostname))),
        ("machine", text(f"{words.plural(view.cpus, 'CPU')}, {words.size(view.memory)}")),
        ("holds", text(said)),
        ("knobs", text(_knobs(knobs.settings(view)))),
        ("batch", text(words.clean(knobs.settings(view).batch))),
        ("stage", pipeline(knobs.stage(view))),
        ("version", text(_version(view, at) + (", docker" if view.containers else ", no docker"))),
        ("heard of", text(f"{seen} ago" if seen else "never")),
    ]


def _knobs(wanted: WorkerSettings) -> str:
    said = [
        f"{wanted.concurrency} at once",
        f"{wanted.prefetch} ahead",
    ]
    said += ["paused"] * wanted.paused + ["draining"] * wanted.draining
    return ", ".join(said)


def _version(view: WorkerView, at: Moment) -> str:
    server = at.store.server
    if server is None or server.version == view.version:
        return words.clean(view.version)
    return f"{words.clean(view.version)}, but the server has {words.clean(server.version)}"


def pipeline(stage: Stage) -> Line:
    """Wanted → acknowledged → effective: how far the settings have come."""
    reached = STAGES.index(stage)
    if reached == len(STAGES) - 1:
        return text(f"{'✓' * len(STAGES)} {stage}", "good")
    marks = "✓" * reached + "►" + "·" * (len(STAGES) - reached - 1)
    return text(f"{marks} {stage}", "accent")


def _load(load: Load) -> list[Fact]:
    items: list[Fact] = [
        ("cpu", (*gauge(load.cpu), Span(f", load {load.load:.1f}"))),
        ("iowait", gauge(load.iowait)),
        ("memory", gauge(load.memory)),
        ("swap", gauge(load.swap)),
        ("network", text(f"↓{words.size(load.received)}/s  ↑{words.size(load.sent)}/s")),
        ("disks", text(f"r {words.size(load.read)}/s  w {words.size(load.written)}/s")),
    ]
    items += [(words.clean(disk.path, 14), _disk(disk)) for disk in load.disks]
    return items


def gauge(share: float) -> Line:
    """A percentage, as a bar and a number."""
    return (*draw(Bar(((share / _FULL, "busy"),)), _GAUGE), Span(f" {share:.0f}%"))


def _disk(disk: Disk) -> Line:
    used = 1 - disk.free / disk.total if disk.total else 0.0
    low = is_low(disk)
    bar = draw(Bar(((used, "bad" if low else "wait"),)), _GAUGE)
    left = f" {words.tiny(disk.free)}/{words.tiny(disk.total)} free"
    return (*bar, Span(left + ("!" if low else ""), "bad" if low else "plain"))
