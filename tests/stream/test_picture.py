"""The picture and the history: pure, and without a server."""

import json
from typing import Any

import pytest

from pytq.schema import limits
from pytq.schema.states import TaskStatus
from pytq.schema.stream import Point
from pytq.server.history import History
from pytq.server.news import News
from pytq.server.picture import Picture
from pytq.server.store.changes import Changes
from pytq.server.viewer import Shown, Viewer

STEP = limits.HISTORY_STEP
NOON = 1_700_000_000


def painted(**names: str) -> Picture:
    picture = Picture()
    version = picture.begin()
    for name, text in names.items():
        picture.batches.put(version, name, json.dumps(text))
    picture.finish('{"now":1}')
    return picture


def read(frame: str | None) -> Any:
    assert frame is not None
    return json.loads(frame)


def test_a_snapshot_names_every_list() -> None:
    """Who comes new is told everything, empty lists too."""
    shown = read(painted(a="A").snapshot())

    assert shown["batches"] == ["A"]
    assert shown["workers"] == shown["jobs"] == shown["events"] == shown["history"] == []
    assert shown["server"] == {"now": 1}


def test_changes_are_what_came_since() -> None:
    """One who has seen a version gets what is newer, however old that version is."""
    picture = painted(a="A", b="B")
    seen = picture.version
    version = picture.begin()
    picture.batches.put(version, "b", '"B2"')
    picture.finish("{}")
    version = picture.begin()
    picture.batches.put(version, "c", '"C"')
    picture.batches.drop(version, "a")
    picture.finish("{}")

    assert read(picture.changes(seen))["batches"] == ["B2", "C"]
    assert read(picture.changes(seen))["gone_batches"] == ["a"]
    assert read(picture.changes(seen + 1))["batches"] == ["C"]
    assert picture.changes(picture.version) is None
    assert read(picture.changes(picture.version, empty=True)) == {"type": "changes", "server": {}}


def test_what_comes_back_is_not_gone() -> None:
    """A thing that went and came again is shown, and not told as gone."""
    picture = painted(a="A")
    picture.batches.drop(picture.begin(), "a")
    picture.batches.put(picture.begin(), "a", '"new"')
    picture.finish("{}")

    frame = read(picture.changes(1))

    assert frame["batches"] == ["new"]
    assert "gone_batches" not in frame


def test_what_everybody_knows_is_forgotten() -> None:
    """Names of gone things are not kept for ever."""
    picture = painted(a="A")
    picture.batches.drop(picture.begin(), "a")
    picture.finish("{}")
    picture.forget(picture.version)

    assert picture.changes(1) is None


def test_events_and_points_are_bounded() -> None:
    """However long somebody was away: at most so many events, and so many points."""
    picture = Picture()
    for number in range(3 * limits.STREAM_EVENTS):
        picture.begin()
        picture.add_event(str(number))
        picture.put_points([Point(at=number * STEP)])
    picture.finish("{}")
    shown = read(picture.changes(0))

    assert shown["events"] == [*range(2 * limits.STREAM_EVENTS, 3 * limits.STREAM_EVENTS)]
    assert len(shown["history"]) <= limits.HISTORY_SECONDS // STEP


def test_a_point_is_told_again_only_when_it_has_changed() -> None:
    """The last point grows and is told whole; one that stands still is not told."""
    picture = painted()
    picture.begin()
    picture.put_points([Point(at=5), Point(at=10, submitted=1)])
    picture.finish("{}")
    seen = picture.version
    picture.begin()
    picture.put_points([Point(at=10, submitted=1)])
    picture.finish("{}")
    assert picture.changes(seen) is None

    picture.begin()
    picture.put_points([Point(at=10, submitted=2), Point(at=15)])
    picture.finish("{}")

    assert [p["at"] for p in read(picture.changes(seen))["history"]] == [10, 15]
    assert [p["submitted"] for p in read(picture.snapshot())["history"]] == [0, 2, 0]


def moved(**by: int) -> Changes:
    return Changes(moved={("b", status): number for status, number in by.items()})


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        (moved(pending=3), {"submitted": 3}),
        (moved(pending=-2, active=2), {"started": 2}),
        (moved(active=-2, succeeded=1, failed=1), {"succeeded": 1, "failed": 1}),
        (moved(failed=-4, pending=4), {}),
        (moved(succeeded=-4), {}),
        (Changes(moved={("a", "failed"): -1, ("b", "failed"): 1}), {}),
        (Changes(lost=2), {"lost": 2}),
        (Changes(), {}),
    ],
)
def test_what_a_commit_moved_is_counted(changes: Changes, counted: dict[str, int]) -> None:
    """Coming into the queue, into a worker's hands, and to an end; and nothing else."""
    history = History()
    history.add(NOON, changes)

    point = history.at(NOON).model_dump(exclude_defaults=True, exclude={"at"})
    assert counted == point


def test_history_has_no_gaps() -> None:
    """Steps in which nothing happened are points too, up to the length that is kept."""
    history = History()
    history.add(NOON, moved(pending=1))
    history.add(NOON + 4 * STEP, moved(pending=1))
    begun = [point.at for point in history.since(0)]

    assert begun == [NOON - NOON % STEP + step * STEP for step in range(5)]
    assert [point.submitted for point in history.since(0)] == [1, 0, 0, 0, 1]
    assert history.since(begun[3])[0].at == begun[3]
    history.at(NOON + 10 * limits.HISTORY_SECONDS)
    assert len(history.since(0)) == 1
    history.at(NOON)  # a clock that is set back
    assert len(history.since(0)) == 1


def test_news_are_names_and_only_while_somebody_listens() -> None:
    """What is heard is what was touched; taken once, or put back when it could not be used."""
    news, changes = News(), Changes()
    changes.move(1, "b", None, TaskStatus.PENDING)
    changes.note(0, "tuned", "me", worker="w", batch="c")
    news.hear(changes)
    assert news.take().batches == set()

    news.listen()
    news.hear(changes)
    named = news.take()
    news.hear_of_job(3)
    news.put_back(named)
    again = news.take()

    assert again.batches == {"b", "c"}
    assert again.workers == {"w"}
    assert again.jobs == {3}
    assert again.events
    assert not news.take().events


class NoHub:
    """Nobody watches through it."""


async def test_what_was_missed_is_said() -> None:
    """A viewer that skipped versions is told so, once; one that did not is not."""
    picture = painted(a="A")
    viewer = Viewer(NoHub())  # type: ignore[arg-type]
    viewer.seen = picture.version
    viewer.show(4, Shown("1", "null", (1, 5)))
    frame = read(viewer.frame(picture))
    assert frame["watched"] == [{"id": 4, "task": 1, "execution": None}]
    assert "missed" not in frame

    for _ in range(2):
        picture.begin()
        picture.finish("{}")
    viewer.show(4, Shown("1", "null", (1, 6)))
    frame = read(viewer.frame(picture))

    assert frame["missed"]
    assert frame["watched"][0]["output"]
    assert viewer.frame(picture) is None
