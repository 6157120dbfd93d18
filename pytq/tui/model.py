"""What is on the screen, as far as the server's event stream tells: pure.

A `Store` takes snapshots and changes, with the moment they came, and answers questions. It reads no
clock: `now` is this machine's monotonic time in seconds, given by whoever asks. Times in views are
the server's; `Store.clock` says what the server's clock shows at a moment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeVar

from pytq.schema import limits
from pytq.schema.recruit import JOB_ENDED, JobView
from pytq.schema.states import WorkerStatus
from pytq.schema.stream import Changes, Point, Snapshot, Watched
from pytq.schema.views import BatchView, Counts, EventView, ServerInfo, WorkerView
from pytq.tui.rates import Pace

K = TypeVar("K")
V = TypeVar("V")
Kind = Literal[
    "server", "batches", "workers", "jobs", "events", "history", "watched", "link", "time"
]

EVERYTHING: Final[frozenset[Kind]] = frozenset(Kind.__args__)  # type: ignore[attr-defined]
EVENTS_SHOWN: Final = 2_000
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
HERE: Final = frozenset({WorkerStatus.ONLINE, WorkerStatus.PAUSED, WorkerStatus.DRAINING})


@dataclass(slots=True)
class Link:
    """How the connection to the server stands."""

    state: Literal["connecting", "live", "away"] = "connecting"
    since: float = 0.0  # monotonic
    why: str = ""


@dataclass
class Store:
    """The last known state of a server."""

    server: ServerInfo | None = None
    batches: dict[str, BatchView] = field(default_factory=dict)
    workers: dict[str, WorkerView] = field(default_factory=dict)
    jobs: dict[int, JobView] = field(default_factory=dict)
    events: list[EventView] = field(default_factory=list)  # oldest first
    history: dict[int, Point] = field(default_factory=dict)
    watched: dict[int, Watched] = field(default_factory=dict, compare=False)
    link: Link = field(default_factory=Link, compare=False)
    pace: Pace = field(default_factory=Pace, compare=False)
    heard: float = field(default=0.0, compare=False)  # when the last frame came
    unapplied: dict[str, float] = field(default_factory=dict, compare=False)

    def take(self, frame: Snapshot | Changes, now: float) -> frozenset[Kind]:
        """Take in a frame; tells which kinds of things it touched."""
        self.heard = now
        self.link = Link("live", self.link.since if self.link.state == "live" else now)
        if isinstance(frame, Snapshot):
            touched = self._take_all(frame)
        else:
            touched = self._take_changes(frame)
        self.pace.note(now, self.batches)
        self._note_unapplied(now)
        return touched

    def lost(self, why: str, now: float) -> None:
        """The connection ended; what was shown stays."""
        since = self.link.since if self.link.state == "away" else now
        self.link = Link("away", since, why)

    def _take_all(self, frame: Snapshot) -> frozenset[Kind]:
        self.server = frame.server
        self.batches = {batch.name: batch for batch in frame.batches}
        self.workers = {worker.name: worker for worker in frame.workers}
        self.jobs = {job.id: job for job in frame.jobs}
        self.history = {point.at: point for point in frame.history}
        self.events = frame.events[-EVENTS_SHOWN:]
        self.watched.clear()
        self._forget_old_points()
        return EVERYTHING

    def _take_changes(self, frame: Changes) -> frozenset[Kind]:
        touched: set[Kind] = {"server"}
        self.server = frame.server
        _merge(self.batches, ((b.name, b) for b in frame.batches), frame.gone_batches)
        _merge(self.workers, ((w.name, w) for w in frame.workers), frame.gone_workers)
        _merge(self.jobs, ((j.id, j) for j in frame.jobs), frame.gone_jobs)
        _merge(self.history, ((p.at, p) for p in frame.history), ())
        _merge(self.watched, ((w.id, w) for w in frame.watched), ())
        self._take_events(frame.events)
        self._forget_old_points()
        parts: tuple[tuple[Kind, bool], ...] = (
            ("batches", bool(frame.batches or frame.gone_batches)),
            ("workers", bool(frame.workers or frame.gone_workers)),
            ("jobs", bool(frame.jobs or frame.gone_jobs)),
            ("events", bool(frame.events)),
            ("history", bool(frame.history)),
            ("watched", bool(frame.watched or frame.missed)),
        )
        touched.update(kind for kind, there in parts if there)
        return frozenset(touched)

    def _take_events(self, news: list[EventView]) -> None:
        last = self.events[-1].id if self.events else 0
        self.events += [event for event in news if event.id > last]
        if len(self.events) > EVENTS_SHOWN:
            del self.events[:-EVENTS_SHOWN]

    def _forget_old_points(self) -> None:
        if not self.history:
            return
        oldest = max(self.history) - limits.HISTORY_SECONDS
        for at in [at for at in self.history if at <= oldest]:
            del self.history[at]

    def _note_unapplied(self, now: float) -> None:
        """Remember since when each worker has not put its settings into effect."""
        late = {
            name
            for name, worker in self.workers.items()
            if worker.applied < worker.settings.version and worker.status in HERE
        }
        for name in self.unapplied.keys() - late:
            del self.unapplied[name]
        for name in late:
            self.unapplied.setdefault(name, now)

    def watch_only(self, tasks: Iterable[int]) -> None:
        """Forget what was said of tasks that nobody looks at any more."""
        kept = frozenset(tasks)
        for task in [task for task in self.watched if task not in kept]:
            del self.watched[task]

    # --- questions

    def clock(self, now: float) -> datetime:
        """What the server's clock shows at `now`."""
        if self.server is None:
            return _BEGINNING
        return self.server.now + timedelta(seconds=max(0.0, now - self.heard))

    def silent(self, now: float) -> float:
        """For how long, in seconds, the server has been away; 0 while it is there."""
        return now - self.link.since if self.link.state == "away" else 0.0

    @property
    def counts(self) -> Counts:
        """How many tasks there are of each status."""
        return Counts() if self.server is None else self.server.counts

    def points(self) -> list[Point]:
        """The history, oldest first, without the step that is not over yet."""
        return [self.history[at] for at in sorted(self.history)][:-1]

    def jobs_open(self) -> list[JobView]:
        """The jobs that are not over, newest first."""
        open_ = [job for job in self.jobs.values() if job.status not in JOB_ENDED]
        return sorted(open_, key=lambda job: -job.id)

    def crew(self, batch: str) -> list[WorkerView]:
        """The workers of a batch."""
        return [worker for worker in self.workers.values() if worker.settings.batch == batch]

    def fleet(self) -> "Fleet":
        """The workers in a few numbers."""
        return Fleet.of(list(self.workers.values()))


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers in a few numbers."""

    online: int
    away: int  # offline: silent
    held: int  # paused or draining: here, but they take nothing new
    slots: int  # tasks that could run at once
    running: int
    hungry: tuple[str, ...]  # have work, and room for more
    idle: tuple[str, ...]  # have nothing to do

    @classmethod
    def of(cls, workers: Sequence[WorkerView]) -> "Fleet":
        """Count the workers."""
        there = [worker for worker in workers if worker.status in HERE]
        able = [worker for worker in there if worker.status is WorkerStatus.ONLINE]
        away = [worker for worker in workers if worker.status is WorkerStatus.OFFLINE]
        return cls(
            online=len(there),
            away=len(away),
            held=len(there) - len(able),
            slots=sum(worker.settings.concurrency for worker in able),
            running=sum(worker.running for worker in there),
            hungry=tuple(w.name for w in able if 0 < w.open < w.settings.concurrency),
            idle=tuple(w.name for w in able if w.open == 0 and w.settings.concurrency),
        )


def _merge(there: dict[K, V], news: Iterable[tuple[K, V]], gone: Iterable[K]) -> None:
    there.update(news)
    for key in gone:
        there.pop(key, None)
