"""The store: what is on the screen follows from the frames, however they were put together."""

from datetime import timedelta
from typing import Any

import world as worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from pytq.schema.recruit import JobKind, JobStatus, JobView
from pytq.schema.states import WorkerStatus
from pytq.schema.stream import Changes, Point, Snapshot
from pytq.schema.views import Counts, EventView, ServerInfo, WorkerSettings
from pytq.tui.model import EVERYTHING, Store


def server(tick: int, counts: Counts | None = None) -> ServerInfo:
    return worlds.World().server.model_copy(
        update={"now": worlds.NOW + timedelta(seconds=tick), "counts": counts or Counts()}
    )


class Reality:
    """What the server knows, and the changes that lead from one state to the next."""

    def __init__(self) -> None:
        self.batches: dict[str, Any] = {}
        self.workers: dict[str, Any] = {}
        self.jobs: dict[int, Any] = {}
        self.events: list[Any] = []
        self.history: dict[int, Point] = {}
        self.tick = 0

    def step(self, what: str, number: int) -> dict[str, Any]:
        """Something happens; what of it a change would name."""
        self.tick += 1
        name = f"n{number % 5}"
        if what == "batch":
            self.batches[name] = worlds.batch(name, pending=self.tick)
        elif what == "no batch":
            self.batches.pop(name, None)
        elif what == "worker":
            self.workers[name] = worlds.worker(number, name, running=self.tick)
        elif what == "no worker":
            self.workers.pop(name, None)
        elif what == "job":
            self.jobs[number % 5] = job(number % 5, self.tick)
        elif what == "no job":
            self.jobs.pop(number % 5, None)
        elif what == "event":
            self.events.append(event(self.tick))
        else:
            at = self.tick // 3 * 5
            self.history[at] = Point(at=at, succeeded=self.tick)
            return {"what": what, "name": at}
        return {"what": what.removeprefix("no "), "name": number % 5 if "job" in what else name}

    def snapshot(self) -> Snapshot:
        return Snapshot(
            server=server(self.tick),
            batches=list(self.batches.values()),
            workers=list(self.workers.values()),
            jobs=list(self.jobs.values()),
            events=self.events,
            history=[self.history[at] for at in sorted(self.history)],
        )

    def changes(self, steps: list[dict[str, Any]], seen: int) -> Changes:
        """One frame for several steps, as the server coalesces them."""
        named = {
            kind: {s["name"] for s in steps if s["what"] == kind}
            for kind in ("batch", "worker", "job", "history")
        }

        def there(kind: str, all_: dict[Any, Any]) -> list[Any]:
            return [all_[name] for name in sorted(named[kind]) if name in all_]

        def gone(kind: str, all_: dict[Any, Any]) -> list[Any]:
            return [name for name in sorted(named[kind]) if name not in all_]

        return Changes(
            server=server(self.tick),
            batches=there("batch", self.batches),
            gone_batches=gone("batch", self.batches),
            workers=there("worker", self.workers),
            gone_workers=gone("worker", self.workers),
            jobs=there("job", self.jobs),
            gone_jobs=gone("job", self.jobs),
            events=[one for one in self.events if one.id > seen],
            history=there("history", self.history),
        )


def job(number: int, tick: int) -> JobView:
    return JobView(
        id=number,
        kind=JobKind.RECRUIT,
        status=JobStatus.RUNNING,
        title="recruit",
        progress=0.5,
        detail=str(tick),
        batch=None,
        workers=[],
        created_at=worlds.NOW,
        started_at=None,
        ended_at=None,
    )


def event(number: int) -> EventView:
    return EventView(
        id=number,
        at=worlds.NOW,
        kind="task.failed",
        actor="ada",
        task=1,
        attempt=1,
        batch=None,
        worker=None,
        detail=None,
    )


kinds = st.sampled_from(
    ["batch", "no batch", "worker", "no worker", "job", "no job", "event", "history"]
)
stories = st.lists(st.tuples(kinds, st.integers(1, 9), st.booleans()), max_size=40)


@settings(max_examples=150)
@given(stories, st.integers(0, 5))
def test_any_coalescing_gives_the_same_picture(
    story: list[tuple[str, int, bool]], beginning: int
) -> None:
    """Changes put together in any way lead to what a fresh snapshot shows."""
    reality = Reality()
    for what, number, _ in story[:beginning]:
        reality.step(what, number)
    store = Store()
    store.take(reality.snapshot(), 0.0)
    steps: list[dict[str, Any]] = []
    seen = reality.events[-1].id if reality.events else 0
    for what, number, send in story[beginning:]:
        steps.append(reality.step(what, number))
        if send:
            store.take(reality.changes(steps, seen), float(reality.tick))
            steps, seen = [], reality.events[-1].id if reality.events else 0
    store.take(reality.changes(steps, seen), float(reality.tick))

    fresh = Store()
    fresh.take(reality.snapshot(), float(reality.tick))
    assert store == fresh


@given(stories)
def test_a_frame_twice_is_a_frame_once(story: list[tuple[str, int, bool]]) -> None:
    """A change that comes again changes nothing."""
    reality, store = Reality(), Store()
    store.take(reality.snapshot(), 0.0)
    steps = [reality.step(what, number) for what, number, _ in story]
    frame = reality.changes(steps, 0)
    store.take(frame, 1.0)
    once = Store(
        **{name: getattr(store, name) for name in ("server", "batches", "workers", "jobs")}
    )
    events, history = list(store.events), dict(store.history)
    store.take(frame, 2.0)
    assert (store.batches, store.workers, store.jobs) == (once.batches, once.workers, once.jobs)
    assert (store.events, store.history) == (events, history)


def test_a_frame_tells_what_it_touched() -> None:
    """Screens are told which kinds of things changed, so that they can leave the rest alone."""
    store = Store()
    assert store.take(Reality().snapshot(), 0.0) == EVERYTHING
    frame = Changes(server=server(1), workers=[worlds.worker(1, "w")], events=[event(1)])
    assert store.take(frame, 1.0) == {"server", "workers", "events"}
    assert store.take(Changes(server=server(2), missed=True), 2.0) == {"server", "watched"}


def test_the_servers_clock_goes_on_between_frames() -> None:
    """Ages are counted by the server's clock, never by comparing two machines' clocks."""
    store = Store()
    store.take(Reality().snapshot(), 100.0)
    assert store.clock(107.5) == worlds.NOW + timedelta(seconds=7.5)


def test_a_lost_connection_keeps_what_was_shown() -> None:
    """The store says for how long the server has been away, and forgets nothing."""
    store = Store()
    store.take(worlds.make().snapshot(), 10.0)
    store.lost("connection refused", 20.0)
    store.lost("connection refused", 25.0)
    assert store.silent(32.0) == 12.0
    assert len(store.workers) == 24
    store.take(worlds.make().snapshot(), 40.0)
    assert store.silent(41.0) == 0.0


def test_the_history_is_bounded() -> None:
    """Points that are older than the history is long are forgotten."""
    store = Store()
    store.take(Reality().snapshot(), 0.0)
    points = [Point(at=at) for at in range(0, 36_000, 5)]
    store.take(Changes(server=server(1), history=points), 1.0)
    assert len(store.history) == 720
    assert min(store.history) == 36_000 - 3_600


def test_only_watched_tasks_are_kept() -> None:
    """What was told of tasks that nobody looks at any more is forgotten."""
    world = worlds.make()
    store = Store()
    store.take(world.snapshot(), 0.0)
    watched = [
        {"id": number, "task": world.tasks[number], "execution": None} for number in (1, 2, 3)
    ]
    store.take(world.changes(watched=watched), 1.0)
    store.watch_only([2, 9])
    assert set(store.watched) == {2}


def test_remembers_since_when_settings_are_not_applied() -> None:
    """A worker that does not obey is noticed, and so is that it obeys again."""
    store = Store()
    late = worlds.worker(1, "w", settings=WorkerSettings(version=5), applied=4)
    gone = worlds.worker(2, "v", status=WorkerStatus.OFFLINE, applied=1)
    store.take(
        Snapshot(
            server=server(0), batches=[], workers=[late, gone], jobs=[], events=[], history=[]
        ),
        3.0,
    )
    store.take(Changes(server=server(1)), 9.0)
    assert store.unapplied == {"w": 3.0}
    obeys = late.model_copy(update={"applied": 5})
    store.take(Changes(server=server(2), workers=[obeys]), 10.0)
    assert store.unapplied == {}
