"""The table of workers, with what was asked of each and what it does."""

from typing import Final

from pytq.schema.states import WorkerStatus
from pytq.schema.views import Load, WorkerView
from pytq.tui import words
from pytq.tui.alerts import HIGH_IOWAIT, HIGH_MEMORY, HIGH_SWAP, is_low
from pytq.tui.cells import Cell, Line, Span, Tone, line, text
from pytq.tui.columns import Column
from pytq.tui.knobs import Knobs, Stage
from pytq.tui.looks import WORKER, Look
from pytq.tui.tables.listing import Listing, Moment

COLUMNS: Final = (
    Column("name", "WORKER", 12, flex=2, most=26),
    Column("status", "STATUS", 10),
    Column("batch", "BATCH", 9, rank=3, flex=1, most=20),
    Column("running", "RUN", 4, right=True),
    Column("concurrency", "CONC", 6, right=True),
    Column("prefetch", "PRE", 4, rank=4, right=True),
    Column("staging", "STAGING", 12, rank=7),
    Column("load", "LOAD", 5, rank=5, right=True),
    Column("cpu", "CPU", 4, right=True),
    Column("iowait", "IOWT", 4, rank=2, right=True),
    Column("memory", "MEM", 4, right=True),
    Column("swap", "SWAP", 4, rank=1, right=True),
    Column("disk", "DISK", 6, rank=1, right=True),
    Column("network", "NET IN/OUT", 11, rank=8, right=True),
    Column("disks", "DISK R/W", 11, rank=9, right=True),
    Column("machine", "MACHINE", 13, rank=10, right=True),
    Column("version", "VERSION", 8, rank=11, flex=1, most=14),
    Column("seen", "SEEN", 7, rank=6, right=True),
)
STAGE_MARKS: Final[dict[Stage, str]] = {"wanted": "…", "acknowledged": "→", "effective": ""}
_UNKNOWN: Final = text(words.NOTHING, "dim")


def look(worker: WorkerView) -> Look:
    """How a worker's status shows."""
    return WORKER[worker.status]


def _knob(value: int, stage: Stage) -> Line:
    tone: Tone = "plain" if stage == "effective" else "accent"
    return (Span(f"{value}{STAGE_MARKS[stage]}", tone),)


def _share(amount: float, high: float | None = None) -> Line:
    if high is not None and amount >= high:
        return text(f"{amount:.0f}!", "warn")
    return text(f"{amount:.0f}", "dim" if amount < 1 else "plain")


def _staging(worker: WorkerView) -> Line:
    spans: list[str | Span] = []
    amounts: tuple[tuple[int, str, Tone], ...] = (
        (worker.downloading, "↓", "wait"),
        (worker.ready, "◔", "wait"),
        (worker.uploading, "↑", "odd"),
    )
    for amount, glyph, tone in amounts:
        if amount:
            spans.append(Span(f"{glyph}{amount} ", tone))
    return line(*spans) or _UNKNOWN


def _disk(load: Load) -> Line:
    low = [disk for disk in load.disks if is_low(disk)]
    if low:
        return text(f"{words.tiny(min(disk.free for disk in low))}!", "bad")
    return text(words.tiny(load.disk_free))


def _flow(one: int, other: int) -> Line:
    return text(
        f"{words.tiny(one)} {words.tiny(other)}" if one or other else "0",
        "plain" if one or other else "dim",
    )


def _load_cells(load: Load | None) -> dict[str, Line]:
    if load is None:
        return {}
    return {
        "load": text(f"{load.load:.1f}"),
        "cpu": _share(load.cpu),
        "iowait": _share(load.iowait, HIGH_IOWAIT),
        "memory": _share(load.memory, HIGH_MEMORY),
        "swap": _share(load.swap, HIGH_SWAP),
        "disk": _disk(load),
        "network": _flow(load.received, load.sent),
        "disks": _flow(load.read, load.written),
    }


def cells(worker: WorkerView, at: Moment, knobs: Knobs) -> tuple[Cell, ...]:
    """A worker as a row."""
    server = at.store.server
    wanted, stage = knobs.settings(worker), knobs.stage(worker)
    aged = server is not None and worker.version != server.version
    known: dict[str, Line] = {
        "name": text(words.clean(worker.name), "bold"),
        "status": look(worker).line,
        "batch": text(words.clean(wanted.batch)),
        "running": text(str(worker.running), "busy" if worker.running else "dim"),
        "concurrency": _knob(wanted.concurrency, stage),
        "prefetch": _knob(wanted.prefetch, stage),
        "staging": _staging(worker),
        "machine": text(f"{worker.cpus} CPU {words.tiny(worker.memory)}"),
        "version": text(
            words.clean(worker.version) + ("!" if aged else ""), "warn" if aged else "dim"
        ),
        "seen": text(_seen(worker, at), "dim"),
        **_load_cells(worker.load if worker.status is not WorkerStatus.OFFLINE else None),
    }
    return tuple(known.get(column.key, _UNKNOWN) for column in COLUMNS)


def _seen(worker: WorkerView, at: Moment) -> str:
    return words.since(worker.seen_at, at.store.clock(at.now)) or words.NOTHING


_NO_LOAD: Final = Load()


def listing(knobs: Knobs) -> Listing[WorkerView]:
    """The table of workers, showing knobs as they were turned here."""
    return Listing(
        columns=COLUMNS,
        things=lambda store: store.workers.values(),
        key=lambda worker: worker.name,
        says=lambda w: (w.name, w.hostname, look(w).word, knobs.settings(w).batch),
        cells=lambda worker, at: cells(worker, at, knobs),
        by={
            "status": lambda worker, _: look(worker).word,
            "batch": lambda worker, _: worker.settings.batch,
            "running": lambda worker, _: -worker.running,
            "concurrency": lambda worker, _: -worker.settings.concurrency,
            "prefetch": lambda worker, _: -worker.settings.prefetch,
            "staging": lambda w, _: -(w.downloading + w.uploading),
            "load": lambda worker, _: -_load(worker).load,
            "cpu": lambda worker, _: -_load(worker).cpu,
            "iowait": lambda worker, _: -_load(worker).iowait,
            "memory": lambda worker, _: -_load(worker).memory,
            "swap": lambda worker, _: -_load(worker).swap,
            "disk": lambda worker, _: _load(worker).disk_free,
            "network": lambda worker, _: -(_load(worker).received + _load(worker).sent),
            "disks": lambda worker, _: -(_load(worker).read + _load(worker).written),
            "machine": lambda worker, _: -worker.cpus,
            "version": lambda worker, _: worker.version,
            "seen": lambda w, at: w.seen_at or at.store.clock(0.0),
        },
    )


def _load(worker: WorkerView) -> Load:
    return worker.load or _NO_LOAD
