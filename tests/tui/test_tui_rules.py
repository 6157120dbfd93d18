"""The pure rules: what is alarming, how fast things go, what a filter means, where columns go."""

from datetime import timedelta

import pytest
import world as worlds
from hypothesis import given
from hypothesis import strategies as st

from pytq.schema.states import Outcome, Phase, TaskStatus, WorkerStatus
from pytq.schema.stream import Changes, Point
from pytq.schema.views import Counts, WorkerSettings
from pytq.tui import bars, looks, rates, timeline
from pytq.tui.alerts import alerts
from pytq.tui.columns import Column, fit, gap
from pytq.tui.filters import SORTS, FilterError, TaskQuery, matches, parse_tasks, write_tasks
from pytq.tui.knobs import GATHER_SECONDS, Knobs
from pytq.tui.model import Store
from pytq.tui.panels import overview
from pytq.tui.suggesting import completed
from pytq.tui.tables import batches, tasks, workers
from pytq.tui.tables.listing import Moment


@pytest.fixture
def store() -> Store:
    store = Store()
    store.take(worlds.make().snapshot(), 0.0)
    return store


# --- alerts


def test_alerts_of_the_world(store: Store) -> None:
    """Each trouble is said once, the bad ones first, with what helps."""
    said = [(alert.level, alert.text) for alert in alerts(store, 0.0)]
    assert said == [
        ("bad", "no worker in batch qc-2026: 96 tasks wait; r recruits"),
        ("bad", "vm-03 disk /scratch nearly full: 3.1 GiB of 400 GiB free"),
        ("bad", "vm-07 offline for 3m 12s, holds 17 tasks"),
        ("warn", "batch thumbnails is paused"),
        ("warn", "vm-11 swaps: 64% of its swap in use"),
        ("warn", "vm-11 waits for its disks: iowait 41%"),
        ("warn", "vm-11 memory 98% full"),
        ("warn", "vm-12 runs version 0.2.4, the server 0.3.0"),
        ("warn", "job 3 failed: quota: 512 of 512 cores of GRA11 are in use"),
    ]


def test_a_worker_that_does_not_obey_is_an_alert_in_time(store: Store) -> None:
    """Settings that are not applied at once are no alarm; after a while they are."""
    assert not any("applied" in alert.text for alert in alerts(store, 15.0))
    assert any("vm-18 has not applied" in alert.text for alert in alerts(store, 25.0))


def test_failing_tasks_are_an_alert(store: Store) -> None:
    """When most of what ends fails, that is said first."""
    at = max(store.history)
    points = [Point(at=at - 5 * n, succeeded=1, failed=4) for n in range(1, 14)]
    store.take(Changes(server=worlds.make().server, history=points), 1.0)
    assert "80% of the last minute's tasks failed" in {alert.text for alert in alerts(store, 1.0)}


def test_nothing_is_wrong_with_an_empty_server() -> None:
    """A first day has no alarms."""
    store = Store()
    store.take(worlds.empty().snapshot(), 0.0)
    assert alerts(store, 0.0) == []
    assert alerts(Store(), 0.0) == []


# --- rates


def test_time_left_by_share_then_by_watching(store: Store) -> None:
    """At first a batch gets its share of the throughput; once watched, its own pace counts."""
    batch = store.batches["assembly"]
    assert batches.time_left(batch, Moment(store, 0.0)) is not None
    faster = batch.model_copy(update={"counts": Counts(pending=400, active=64, succeeded=1_890)})
    store.take(worlds.make().changes(batches=[faster]), 60.0)
    assert store.pace.of(faster, 60.0) == pytest.approx(594 / 60)
    assert batches.time_left(faster, Moment(store, 60.0)) == pytest.approx(464 / (594 / 60))


def test_no_time_is_promised_without_reason(store: Store) -> None:
    """A paused batch, a finished one and one that gets nowhere have no time left to tell."""
    at = Moment(store, 0.0)
    for name in ("thumbnails", "housekeeping", "default", "qc-2026"):
        assert batches.time_left(store.batches[name], at) is None


def test_buckets_keep_every_task() -> None:
    """Putting steps together loses nothing within the time that is shown."""
    points = [Point(at=5 * n, succeeded=n) for n in range(100)]
    shown = rates.buckets(points, 500, 25, 20)
    assert sum(point.succeeded for point in shown) == sum(point.succeeded for point in points)
    assert [point.at for point in shown[:2]] == [0, 25]


@pytest.mark.parametrize(("width", "height"), [(76, 5), (130, 16), (20, 3), (5, 2), (200, 40)])
def test_the_plot_keeps_to_its_room(store: Store, width: int, height: int) -> None:
    """However small the pane, the plot fits into it."""
    lines = overview.throughput(store.points(), width, height)
    assert len(lines) <= height
    assert all(bars.length(line) <= width for line in lines)


def test_a_single_task_makes_a_bar(store: Store) -> None:
    """What is little beside the largest still shows."""
    points = [Point(at=5 * n, succeeded=1_000 if n == 500 else 0) for n in range(720)]
    points[100] = Point(at=500, succeeded=1)
    lines = overview.throughput(points, 100, 10)
    assert "▁" in "".join(span.text for span in lines[-3])


# --- filters


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", TaskQuery()),
        ("gzip align", TaskQuery(text="gzip align")),
        ("status:failed", TaskQuery(statuses=(TaskStatus.FAILED,))),
        (
            "status:act,pend batch:run7 worker:vm-1 x",
            TaskQuery(
                statuses=(TaskStatus.ACTIVE, TaskStatus.PENDING),
                batch="run7",
                worker="vm-1",
                text="x",
            ),
        ),
        ('name:"sample 12"', TaskQuery(name="sample 12")),
        ("http://x/y", TaskQuery(text="http://x/y")),
        ('half "open', TaskQuery(text="half open")),
    ],
)
def test_parse(text: str, query: TaskQuery) -> None:
    """People type words and key:value pairs; a URL is a word."""
    assert parse_tasks(text) == query


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("status:banana", "none of waiting, pending"),
        ("batch:", "write it right after the colon"),
        ("batch:no/slash", "batch"),
        ("status:", "status"),
    ],
)
def test_a_filter_that_means_nothing(text: str, said: str) -> None:
    """It is said what is wrong, and what to write."""
    with pytest.raises(FilterError, match="(?i)" + said):
        parse_tasks(text)


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,9}", fullmatch=True)
labels = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=12)


@given(
    st.lists(st.sampled_from(TaskStatus), unique=True, max_size=3),
    st.none() | names,
    st.none() | names,
    st.none() | labels,
    st.sampled_from(SORTS),
)
def test_what_is_written_is_read_back(
    statuses: list[TaskStatus], batch: str | None, worker: str | None, name: str | None, sort: str
) -> None:
    """A query in words means that query."""
    query = TaskQuery(tuple(statuses), batch, worker, name, sort=sort)  # type: ignore[arg-type]
    assert parse_tasks(write_tasks(query), query) == query


def test_matches() -> None:
    """Every word has to be somewhere; case does not matter."""
    assert matches("VM on", ("vm-01", "online"))
    assert not matches("vm off", ("vm-01", "online"))
    assert matches("", ())


def test_completions(store: Store) -> None:
    """The last word is completed: keys, statuses, batches, workers."""
    assert completed("sta", store) == "status:"
    assert completed("x status:fa", store) == "x status:failed"
    assert completed("batch:ru", store) == "batch:run7"
    assert completed("worker:vm-2", store) == "worker:vm-20"
    assert completed("nothing", store) is None
    assert completed("", store) is None


# --- orders and cursors


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("turned", [False, True])
def test_numbers_grow_along_the_list(sort: str, turned: bool) -> None:
    """Where a row lies between the ends can be told by its number, in every order."""
    rows = [tasks.TaskRow.of(view) for view in worlds.make().tasks.values()]
    order = tasks.order(sort, oldest_first=turned)  # type: ignore[arg-type]
    rows.sort(key=order.number)
    numbers = [order.number(row) for row in rows]
    assert numbers == sorted(set(numbers))
    assert [order.guess(number) for number in numbers] == [order.cursor(row) for row in rows]


def test_cursors_are_the_servers() -> None:
    """A cursor made here is what the server makes of the same row."""
    view = worlds.task(
        7, TaskStatus.PENDING, priority=5, changed_at=worlds.NOW + timedelta(microseconds=3)
    )
    row = tasks.TaskRow.of(view)
    micros = int(worlds.NOW.timestamp()) * 1_000_000 + 3
    assert tasks.order("id", oldest_first=False).cursor(row) == "7"
    assert tasks.order("changed", oldest_first=False).cursor(row) == f"{micros}.7"
    assert tasks.order("priority", oldest_first=False).cursor(row) == "999995.7"


# --- columns


columns = st.lists(
    st.builds(
        Column,
        key=st.just("k"),
        title=st.just("t"),
        width=st.integers(1, 20),
        rank=st.integers(0, 5),
        flex=st.integers(0, 3),
        most=st.integers(20, 60),
    ),
    min_size=1,
    max_size=12,
)


@given(columns, st.integers(0, 250))
def test_columns_fit(given_columns: list[Column], room: int) -> None:
    """What is shown fits, nothing narrower than it can be read, and the least matters least."""
    placed = fit(given_columns, room)
    shown = [given_columns[index] for index, _ in placed]
    width = sum(size for _, size in placed) + gap(room) * (len(placed) - 1)
    assert all(size >= given_columns[index].width for index, size in placed)
    if any(column.rank for column in shown):
        assert width <= room
    gone = [column for i, column in enumerate(given_columns) if i not in {p[0] for p in placed}]
    kept = [column.rank for column in shown if column.rank]
    assert all(column.rank for column in gone)
    assert not (gone and kept) or max(kept) <= min(column.rank for column in gone)


@pytest.mark.parametrize("listed", [batches.COLUMNS, workers.COLUMNS, tasks.COLUMNS])
def test_every_table_fits_into_80_cells(listed: tuple[Column, ...]) -> None:
    """At 80x24 the columns that matter most are there, whole."""
    placed = fit(listed, 78)
    assert sum(size for _, size in placed) + len(placed) - 1 <= 78
    assert {c.key for c in listed if not c.rank} <= {listed[i].key for i, _ in placed}


# --- knobs


def test_knobs_gather_and_come_back() -> None:
    """Keys in a row are one request for a value; it can be undone by the value before."""
    worker = worlds.worker(1, "w", settings=WorkerSettings(version=3, concurrency=4))
    knobs = Knobs()
    for number in range(3):
        knobs.step(worker, "concurrency", 1, number * 0.05)
    knobs.turn(worker, "paused", value=True, now=0.1)
    assert knobs.settings(worker).concurrency == 7
    assert knobs.due(0.1 + GATHER_SECONDS / 2) == {}
    [(change, before)] = knobs.due(0.1 + GATHER_SECONDS).values()
    assert change.model_dump(exclude_unset=True) == {"concurrency": 7, "paused": True}
    assert before.model_dump(exclude_unset=True) == {"concurrency": 4, "paused": False}
    assert knobs.due(9.0) == {}


def test_the_stages_of_a_knob() -> None:
    """Wanted here, acknowledged by the server, effective on the worker."""
    worker = worlds.worker(1, "w", settings=WorkerSettings(version=3, concurrency=4))
    knobs = Knobs()
    assert knobs.stage(worker) == "effective"
    knobs.step(worker, "prefetch", 1, 0.0)
    assert knobs.stage(worker) == "wanted"
    knobs.due(1.0)
    assert knobs.stage(worker) == "wanted"
    knobs.answered("w")
    stored = worker.model_copy(update={"settings": WorkerSettings(version=4, prefetch=1)})
    assert knobs.stage(stored) == "acknowledged"
    assert knobs.stage(stored.model_copy(update={"applied": 4})) == "effective"


def test_a_key_pressed_while_the_answer_is_awaited_is_not_lost() -> None:
    """The newer wish goes out after the older one, and starts from where that one stood."""
    worker = worlds.worker(1, "w", settings=WorkerSettings(version=3, concurrency=4))
    knobs = Knobs()
    knobs.step(worker, "concurrency", 1, 0.0)
    knobs.due(1.0)
    assert knobs.step(worker, "concurrency", 1, 1.1) == 6
    knobs.answered("w")
    [(change, _)] = knobs.due(2.0).values()
    assert change.concurrency == 6


def test_knobs_have_ends() -> None:
    """A number cannot be turned below nothing or beyond what the server takes."""
    worker = worlds.worker(1, "w", settings=WorkerSettings(concurrency=0, prefetch=1_000))
    knobs = Knobs()
    assert knobs.step(worker, "concurrency", -1, 0.0) == 0
    assert knobs.step(worker, "prefetch", 1, 0.0) == 1_000


# --- time


def test_stretches_of_an_execution() -> None:
    """The phases follow each other without a gap, up to now."""
    one = worlds.execution(1)
    parts = timeline.stretches(one, worlds.NOW)
    assert [part.phase for part in parts] == [
        Phase.ASSIGNED,
        Phase.DOWNLOADING,
        Phase.READY,
        Phase.RUNNING,
    ]
    assert sum(part.seconds for part in parts) == timeline.took(one, worlds.NOW) == 720


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5), st.floats(0, 1e7), st.integers(5, 120))
def test_a_bar_of_time_keeps_its_width(seconds: list[float], longest: float, width: int) -> None:
    """However long the phases, the line is as wide as it should be."""
    phases = list(timeline.PATTERN)
    parts = [timeline.Stretch(p, s) for p, s in zip(phases, seconds, strict=False)]
    line = timeline.bar(parts, max(longest, sum(seconds)), width)
    assert sum(len(span.text) for span in line) == width


# --- the frame


@pytest.mark.parametrize("width", [80, 100, 132, 250])
def test_the_first_two_lines_fit(store: Store, width: int) -> None:
    """At any width the lines are whole, and what matters is in them."""
    for state in ("live", "away"):
        if state == "away":
            store.lost("connection refused", 0.0)
        top = bars.top(store, "tasks", "127.0.0.1:5000", 12.0, width)
        counts = bars.counts(store, width)
        for line in (top, counts):
            assert bars.length(line) <= width
        assert ("live" in str(top)) == (state == "live")
        assert "✗" in "".join(span.text for span in counts)


@given(st.integers(20, 250))
def test_keys_are_shown_whole(width: int) -> None:
    """No key is cut off; the way to all of them is always there."""
    known = [bars.Key(str(n), f"does {n}", "x") for n in range(20)]
    line = bars.keys(known, width)
    assert bars.length(line) <= width
    shown = "".join(span.text for span in line)
    assert "all keys" in shown
    assert all(f"does {n} " in shown for n in range(20) if f" {n} " in shown)


def test_fleet_numbers(store: Store) -> None:
    """Online, away, held, hungry and idle workers add up."""
    fleet = store.fleet()
    assert (fleet.online, fleet.away, fleet.held) == (23, 1, 2)
    assert fleet.hungry == ("vm-18", "vm-20")
    assert fleet.idle == ("vm-24",)
    assert WorkerStatus.OFFLINE in {worker.status for worker in store.workers.values()}


def test_what_was_cancelled_and_still_runs_is_said_to_end() -> None:
    """Until its worker has ended it, an execution that was cancelled shows so, not as running."""
    one = worlds.execution(1, stop_wanted="term")
    assert looks.of_execution(one).word == "ending"
    assert looks.of_execution(worlds.execution(1)).word == "running"
    assert looks.of_execution(one.model_copy(update={"outcome": Outcome.CANCELLED})).word == (
        "cancelled"
    )


def test_knobs_of_a_worker_that_is_away_wait_for_nothing() -> None:
    """What an offline worker applies is not known; no arrow says that it is slow to obey."""
    away = worlds.worker(1, "w", status=WorkerStatus.OFFLINE, applied=0)
    assert Knobs().stage(away) == "effective"
    assert Knobs().stage(away.model_copy(update={"status": WorkerStatus.ONLINE})) == "acknowledged"
