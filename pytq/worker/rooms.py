"""One folder per execution, without paying for it each time.

A room that a task left untouched is used again as it is. Whether it was, the kernel tells: its
folders and streams are watched. A room that cannot be watched counts as touched.
"""

import contextlib
import errno
import logging
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Final

from pytq.schema import tasks
from pytq.worker import mounts
from pytq.worker.lookout import Lookout

log = logging.getLogger(__name__)

FAILED_KEPT: Final = 100
FAILED_SECONDS: Final = 24 * 3600.0
FOLDERS: Final = ("", "/work", "/input", "/output", "/resource", "/tmp")  # noqa: S108 - below a room
STREAMS: Final = ("/stdout", "/stderr")
NOTHING: Final = (0, 0)


class Room:
    """The folder of one execution at a time."""

    __slots__ = ("_lookout", "path", "places", "stderr", "stdout", "touched", "work", "written")

    def __init__(self, path: str) -> None:
        self.path = path
        self.work = f"{path}/work"
        self.stdout = f"{path}/stdout"
        self.stderr = f"{path}/stderr"
        self.places = {virtual: path + virtual for virtual in tasks.ROOMS}
        self.touched = True  # somebody may have put something into it, or taken something out
        self.written = True  # or written to stdout or stderr
        self._lookout: Lookout | None = None

    def furnish(self, lookout: Lookout) -> None:
        """Make what a task expects to find, and watch it."""
        for folder in FOLDERS:
            Path(self.path + folder).mkdir(mode=0o755, parents=True, exist_ok=True)
        for stream in STREAMS:
            Path(self.path + stream).touch(mode=0o644)
        folders = [self.path + folder for folder in FOLDERS]
        lookout.listen()  # to what is left to hear of the time before
        self.touched = self.written = False
        if lookout.watch(self, folders, (self.stdout, self.stderr)):
            self._lookout = lookout
        else:
            self.touched = True

    def give_to(self, uid: int | None, gid: int | None) -> None:
        """Let another user live here; the room is built anew afterwards."""
        self.touched = True
        for place in (*FOLDERS[1:], *STREAMS):
            os.chown(
                self.path + place,
                -1 if uid is None else uid,
                -1 if gid is None else gid,
                follow_symlinks=False,
            )

    def sizes(self) -> tuple[int, int]:
        """How many bytes of stdout and stderr there are."""
        if self._lookout is not None:
            self._lookout.listen()
            if not (self.written or self.touched):
                return NOTHING
        return size_of(self.stdout), size_of(self.stderr)

    def is_as_new(self) -> bool:
        """Make it so, if only its streams were written to; False when more has happened."""
        if self._lookout is None:
            return False
        self._lookout.listen()
        if self.written and not self.touched:
            for stream in (self.stdout, self.stderr):
                os.truncate(stream, 0)
            self._lookout.listen()  # to ourselves
            self.written = False
        return not self.touched


class Rooms:
    """All rooms of a worker: in use, free, and those of failed executions."""

    def __init__(self, home: Path) -> None:
        home = home.resolve()  # so that links below a room can be told from those above it
        self.folder = home / "rooms"
        self.failed = home / "failed"
        for folder in (self.folder, self.failed):
            folder.mkdir(parents=True, exist_ok=True)
        self.lookout = Lookout()
        self.free: list[Room] = []
        self.kept = 0  # since the last tidying
        self._number = max(
            (int(f.name) for f in self.folder.iterdir() if f.name.isdigit()), default=0
        )

    def take(self) -> Room:
        """A room for one execution."""
        if self.free:
            return self.free.pop()
        self._number += 1
        room = Room(f"{self.folder}/{self._number}")
        room.furnish(self.lookout)
        return room

    def give_back(self, room: Room) -> bool:
        """Take an untouched room back at once; False when it must be scrubbed first."""
        if not room.is_as_new():
            return False
        self.free.append(room)
        return True

    def scrub(self, room: Room) -> Room:
        """Empty a room, whatever was left in it; OSError when something stays. Slow."""
        remove_tree(room.path)
        if os.path.lexists(room.path):  # a container's root has files in there that we cannot touch
            raise OSError(errno.ENOTEMPTY, "not all of it can be removed", room.path)
        room.furnish(self.lookout)
        return room

    def keep(self, room: Room, name: str) -> None:
        """Keep the room of a failed execution for people to look into; not what it shared."""
        place = self.failed / name
        remove_tree(str(place))
        mounts.detach(room.path)
        remove_tree(room.places[tasks.RESOURCE])
        with contextlib.suppress(OSError):
            os.utime(room.path)  # so that age is counted from now
            Path(room.path).rename(place)
            self.kept += 1

    def tidy(self) -> None:
        """Drop the rooms of failures that are old or many. Slow: for a thread."""
        self.kept = 0
        old = time.time() - FAILED_SECONDS
        for number, (changed, place) in enumerate(reversed(self._failures())):
            if number >= FAILED_KEPT or changed < old:
                remove_tree(str(place))

    def evict(self, wanted: int | None = None) -> int:
        """Drop the oldest rooms of failures until so many bytes are free; None: all. Slow.

        Returns how many bytes there were.
        """
        freed = 0
        for _, place in self._failures():
            if wanted is not None and freed >= wanted:
                break
            freed += _bytes_in(place)
            remove_tree(str(place))
        return freed

    def _failures(self) -> list[tuple[float, Path]]:
        """The rooms of failures, the oldest first, each with its time."""
        found = []
        for place in self.failed.iterdir():
            with contextlib.suppress(OSError):  # it may just be going
                found.append((place.lstat().st_mtime, place))
        return sorted(found)

    def others(self, known: set[str]) -> list[str]:
        """Rooms of the agent before that no execution lives in any more."""
        return [str(place) for place in self.folder.iterdir() if str(place) not in known]


def size_of(path: str) -> int:
    """A file's size; 0 where there is none."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def remove_tree(path: str) -> None:
    """Remove a folder, locked ones in it included; never follows a symlink, nor enters a mount.

    It stays where something is mounted in it for good: what lies behind is somebody else's.
    """
    left = mounts.detach(path)
    if left:
        log.warning("%s is left alone: something is mounted at %s", path, ", ".join(left))
        return
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError:
        _unlock(path)
        shutil.rmtree(path, ignore_errors=True)


def remove_trees(paths: list[str]) -> None:
    """Remove several folders."""
    for path in paths:
        remove_tree(path)


def _bytes_in(folder: Path) -> int:
    """What a folder takes of its disk, and nothing else holds."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(where, name))  # noqa: PTH118 - there may be many
                total += found.st_blocks * 512 if found.st_nlink == 1 else 0
    return total


def _unlock(path: str) -> None:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        return
    with contextlib.suppress(OSError):
        Path(path).chmod(0o700)
    for folder, names, _ in os.walk(path):  # top down: unlocked before it is entered
        for name in names:
            place = Path(folder, name)
            if not place.is_symlink():
                with contextlib.suppress(OSError):
                    place.chmod(0o700)
