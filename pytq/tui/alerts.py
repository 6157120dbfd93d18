"""What a person should look at now: pure rules over the store."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pytq.schema.recruit import JobStatus
from pytq.schema.states import WorkerStatus
from pytq.schema.views import BatchView, Disk, Load, ServerInfo, WorkerView
from pytq.tui import rates, words
from pytq.tui.model import Store

_DISK_SHARE: Final = 0.05
_DISK_BYTES: Final = 20 * 1024**3  # a large disk with this much left is no alarm
HIGH_SWAP: Final = 20.0
HIGH_IOWAIT: Final = 30.0
HIGH_MEMORY: Final = 95.0
_UNAPPLIED_SECONDS: Final = 20.0
_FAILING_SHARE: Final = 0.5
_FAILING_LEAST: Final = 10
_JOB_SECONDS: Final = 3_600  # a failed job is news for so long

Level = Literal["bad", "warn"]
GLYPHS: Final[dict[Level, str]] = {"bad": "✗", "warn": "▲"}


@dataclass(frozen=True, slots=True)
class Alert:
    """Something to look at; `kind` and `name` say where."""

    level: Level
    kind: Literal["worker", "batch", "job", "tasks"]
    name: str
    text: str


def alerts(store: Store, now: float) -> list[Alert]:
    """Everything to look at, the worst first."""
    if store.server is None:
        return []
    found = [*_of_tasks(store)]
    for batch in store.batches.values():
        found += _of_batch(store, batch)
    for worker in store.workers.values():
        found += _of_worker(store, store.server, worker, now)
    found += _of_jobs(store, now)
    return sorted(found, key=lambda alert: alert.level != "bad")


def _of_tasks(store: Store) -> Iterator[Alert]:
    last = rates.recent(store.points())
    done = last.succeeded + last.failed
    if last.failed >= _FAILING_LEAST and last.failed >= done * _FAILING_SHARE:
        share = words.percent(last.failed / done)
        yield Alert("bad", "tasks", "status:failed", f"{share} of the last minute's tasks failed")
    if last.lost:
        yield Alert(
            "warn",
            "tasks",
            "",
            f"{words.plural(last.lost, 'execution')} lost in the last minute; they run again",
        )


def _of_batch(store: Store, batch: BatchView) -> Iterator[Alert]:
    waiting = batch.counts.pending
    if batch.paused and rates.left(batch.counts):
        yield Alert("warn", "batch", batch.name, f"batch {batch.name} is paused")
    elif waiting and not batch.workers:
        yield Alert(
            "bad",
            "batch",
            batch.name,
            f"no worker in batch {batch.name}: {words.plural(waiting, 'task')} wait; r recruits",
        )
    elif waiting and not any(
        worker.status is WorkerStatus.ONLINE and worker.settings.concurrency
        for worker in store.crew(batch.name)
    ):
        text = (
            f"batch {batch.name}: its workers take no tasks; {words.plural(waiting, 'task')} wait"
        )
        yield Alert("warn", "batch", batch.name, text)


def _of_worker(store: Store, server: ServerInfo, worker: WorkerView, now: float) -> Iterator[Alert]:
    def alert(level: Level, text: str) -> Alert:
        return Alert(level, "worker", worker.name, f"{worker.name} {text}")

    if worker.status is WorkerStatus.OFFLINE:
        away = words.since(worker.seen_at, store.clock(now))
        held = f", holds {words.plural(worker.open, 'task')}" if worker.open else ""
        yield alert("bad" if worker.open else "warn", f"offline for {away}{held}")
        return
    if worker.version != server.version:
        yield alert("warn", f"runs version {worker.version}, the server {server.version}")
    since = store.unapplied.get(worker.name)
    if since is not None and now - since > _UNAPPLIED_SECONDS:
        yield alert("warn", f"has not applied its settings for {words.duration(now - since)}")
    if worker.load is not None:
        for level, text in _of_load(worker.load):
            yield alert(level, text)


def _of_load(load: Load) -> Iterator[tuple[Level, str]]:
    for disk in load.disks:
        if is_low(disk):
            left = f"{words.size(disk.free)} of {words.size(disk.total)} free"
            yield "bad", f"disk {words.clean(disk.path)} nearly full: {left}"
    if load.swap >= HIGH_SWAP:
        yield "warn", f"swaps: {load.swap:.0f}% of its swap in use"
    if load.iowait >= HIGH_IOWAIT:
        yield "warn", f"waits for its disks: iowait {load.iowait:.0f}%"
    if load.memory >= HIGH_MEMORY:
        yield "warn", f"memory {load.memory:.0f}% full"


def is_low(disk: Disk) -> bool:
    """Whether a disk is nearly full."""
    return disk.total > 0 and disk.free < min(disk.total * _DISK_SHARE, _DISK_BYTES)


def _of_jobs(store: Store, now: float) -> Iterator[Alert]:
    clock = store.clock(now)
    for job in store.jobs.values():
        if job.status is not JobStatus.FAILED or job.ended_at is None:
            continue
        if (clock - job.ended_at).total_seconds() < _JOB_SECONDS:
            why = words.clean(job.detail) or "see its log"
            yield Alert("warn", "job", str(job.id), f"job {job.id} failed: {why}")
