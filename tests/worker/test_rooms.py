"""Rooms: used again when untouched, cleaned when not, kept after a failure."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytq.worker import mounts
from pytq.worker.rooms import FAILED_KEPT, FAILED_SECONDS, Room, Rooms


def names(folder: str | Path) -> list[str]:
    return sorted(place.name for place in Path(folder).iterdir())


@pytest.fixture
def rooms(tmp_path: Path) -> Rooms:
    return Rooms(tmp_path)


def test_an_untouched_room_is_used_again(rooms: Rooms) -> None:
    """A room whose task wrote only to stdout is given to the next one, emptied."""
    room = rooms.take()
    Path(room.stdout).write_text("hello")

    assert rooms.give_back(room)
    assert rooms.take() is room
    assert room.sizes() == (0, 0)


@pytest.mark.parametrize(
    "deed",
    [
        lambda room: Path(room.work, "file").touch(),
        lambda room: Path(room.path, "input/folder").mkdir(),
        lambda room: Path(room.path, "stray").touch(),
        lambda room: Path(room.path, "tmp").chmod(0o700),
        lambda room: Path(room.stdout).unlink(),
        lambda room: (Path(room.work, "file").touch(), Path(room.work, "file").unlink()),
        lambda room: Path(room.path, "output").rmdir(),
        lambda room: (
            Path(room.work).rmdir(),
            Path(room.work).symlink_to("/tmp"),  # noqa: S108 - where a bad task might point
        ),
    ],
)
def test_a_touched_room_is_noticed_and_scrubbed(rooms: Rooms, deed: object) -> None:
    """Whatever a task did to its room, the next one finds it as new."""
    room = rooms.take()
    deed(room)  # type: ignore[operator]

    assert not rooms.give_back(room)
    rooms.scrub(room)
    assert room.is_as_new()
    assert names(room.path) == [
        "input",
        "output",
        "resource",
        "stderr",
        "stdout",
        "tmp",
        "work",
    ]
    assert not any(names(place) for place in room.places.values())


def test_scrubbing_copes_with_locked_folders_and_follows_no_link(
    rooms: Rooms, tmp_path: Path
) -> None:
    """Folders without permissions go; what a link points at stays."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    room = rooms.take()
    locked = Path(room.work, "locked/inner")
    locked.mkdir(parents=True)
    (locked / "link").symlink_to(precious)
    Path(room.work, "link").symlink_to(precious)
    locked.chmod(0)
    locked.parent.chmod(0)
    rooms.scrub(room)

    assert (precious / "file").exists()
    assert not names(room.work)


def test_a_room_that_cannot_be_watched_counts_as_touched(rooms: Rooms) -> None:
    """Where the kernel tells nothing (no inotify left), every room is scrubbed, and used again."""
    rooms.lookout.close()
    room = rooms.take()
    Path(room.stdout).write_text("hello")

    assert room.sizes() == (5, 0)
    assert not rooms.give_back(room)
    assert rooms.scrub(room).sizes() == (0, 0)


def test_more_than_the_kernel_can_tell_is_not_trusted(rooms: Rooms) -> None:
    """After more changes than the kernel remembers, every room counts as touched."""
    loud, quiet = rooms.take(), rooms.take()
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(most // 2 + 1):  # two events each
        place = Path(loud.work, str(number % 100))
        place.touch()
        place.unlink()

    assert not rooms.give_back(quiet)


def test_rooms_of_failures_are_kept_but_not_for_ever(rooms: Rooms, tmp_path: Path) -> None:
    """Failed executions can be looked into; the newest hundred, for a day."""
    for number in range(FAILED_KEPT + 5):
        room = rooms.take()
        Path(room.work, "clue").touch()
        rooms.keep(room, f"{number}.1")
    old = tmp_path / "failed" / f"{FAILED_KEPT + 4}.1"
    os.utime(old, (time.time() - FAILED_SECONDS - 1,) * 2)
    rooms.tidy()

    kept = names(tmp_path / "failed")
    assert FAILED_KEPT - 1 <= len(kept) <= FAILED_KEPT
    assert old.name not in kept
    assert (tmp_path / "failed" / f"{FAILED_KEPT + 3}.1" / "work" / "clue").exists()


def test_rooms_nobody_lives_in_are_dropped_at_start(rooms: Rooms, tmp_path: Path) -> None:
    """After a crash, rooms that no execution needs do not pile up."""
    lived_in, left = rooms.take(), rooms.take()
    again = Rooms(tmp_path)

    assert again.others({lived_in.path}) == [left.path]
    assert isinstance(again.take(), Room)


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """A folder that is nobody's room; what was mounted during the test is unmounted after it."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "data").write_text("ten years of work")
    yield folder
    mounts.detach(str(tmp_path))


def bind(folder: Path, point: Path) -> None:
    point.mkdir()
    done = subprocess.run(["mount", "--bind", folder, point], check=False, capture_output=True)
    if os.getuid() or done.returncode:
        pytest.skip("needs root, to mount something")


@pytest.mark.parametrize("deed", ["scrub", "keep"])
def test_what_a_task_has_mounted_is_unmounted_not_emptied(
    rooms: Rooms, precious: Path, deed: str
) -> None:
    """A mount that a task left in its room is taken away; what lies behind it stays as it is."""
    room = rooms.take()
    bind(precious, Path(room.work, "a mount"))
    if deed == "scrub":
        rooms.scrub(room)
        assert names(room.work) == []
    else:
        rooms.keep(room, "7.1")
        assert names(rooms.failed / "7.1/work/a mount") == []

    assert mounts.below(str(rooms.folder.parent)) == []
    assert (precious / "data").read_text() == "ten years of work"
