"""What a worker keeps of its resources on disk. Everything here is slow and runs in threads.

    resources/KEY.NUMBER/content         the file or folder itself, read-only
    resources/KEY.NUMBER/manifest.json   what it is, and what each file of it looked like
    resources/making/KEY.NUMBER/         on its way; removed by the next agent
    resources/trash/                     on its way out
    resources/pins.json                  what is never evicted

A folder gets its name by one rename when all of it is there and safe, so that no reader ever finds
half a resource. A manifest's own time is when its resource was used last.
"""

import contextlib
import ctypes
import errno
import itertools
import json
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pytq.worker.rooms import remove_tree

log = logging.getLogger(__name__)

CONTENT: Final = "content"
MANIFEST: Final = "manifest.json"
SYNCED_ONE_BY_ONE: Final = 100  # files; beyond that the whole file system at once is faster
NOT_LINKED: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


class Kind(NamedTuple):
    """What a resource is: the same kind is the same content."""

    uri: str  # actions included, where it goes not
    folder: bool  # what is fetched
    size: int | None
    checksum: str | None


class File(NamedTuple):
    """One file of a resource: its path, and what it looked like when it was whole."""

    path: str  # below the content; empty when the content is the file
    size: int
    changed: int  # nanoseconds
    inode: int
    mode: int


@dataclass(slots=True, eq=False)
class Entry:
    """One resource that is kept."""

    place: Path
    kind: Kind
    bytes: int
    used: float  # seconds since 1970
    files: list[File]
    folders: list[str]
    links: list[tuple[str, str]]

    @property
    def key(self) -> str:
        """The part of its name that says what it is."""
        return self.place.name.partition(".")[0]


class Shelf:
    """The resources of a worker, as folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.making = folder / "making"
        self.trash = folder / "trash"
        self._pins = folder / "pins.json"
        self._numbers: Iterator[int] = itertools.count(time.time_ns())

    def open(self) -> list[Entry]:
        """Everything that is kept; what the agent before left half-made goes."""
        for leftover in (self.making, self.trash):
            remove_tree(str(leftover))
            leftover.mkdir(parents=True)
        found: dict[str, Entry] = {}
        for place in sorted(self.folder.iterdir()):
            if place in (self.making, self.trash) or not place.is_dir():
                continue
            entry = _read(place)
            if entry is None or entry.key in found:
                log.warning("a resource that cannot be used is removed: %s", place)
                self.throw_away(place)
            else:
                found[entry.key] = entry
        return list(found.values())

    def pins(self) -> set[str]:
        """The URIs that are pinned."""
        try:
            return set(json.loads(self._pins.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return set()

    def pin(self, uris: set[str]) -> None:
        """Remember what is pinned."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self._pins.with_suffix(".part")
        part.write_text(json.dumps(sorted(uris)), encoding="utf-8")
        part.replace(self._pins)

    def begin(self, key: str) -> Path:
        """A new folder to make a resource in."""
        place = self.making / f"{key}.{next(self._numbers)}"
        place.mkdir(parents=True)
        return place

    def keep(self, making: Path, kind: Kind) -> Entry:
        """Keep what was made: read-only, on disk for sure, and under its name at once."""
        entry = _look(making, kind)
        _synchronise(making, entry)
        with (making / MANIFEST).open("x", encoding="utf-8") as file:
            known = {name: getattr(entry, name) for name in ("kind", "bytes", "files")}
            json.dump(known | {"folders": entry.folders, "links": entry.links}, file)
            file.flush()
            os.fsync(file.fileno())
        place = self.folder / making.name
        making.rename(place)
        _synchronise_folder(self.folder)
        entry.place = place
        return entry

    def undo(self, making: Path) -> None:
        """Remove what is not wanted any more, whether or not it was kept already."""
        self.throw_away(making)
        self.throw_away(self.folder / making.name)

    def throw_away(self, place: Path) -> None:
        """Remove something: its name at once, its content after."""
        target = self.trash / f"{place.name}.{next(self._numbers)}"
        with contextlib.suppress(FileNotFoundError):
            place.rename(target)
            remove_tree(str(target))

    def use(self, entry: Entry, now: float) -> None:
        """Note that it was used."""
        entry.used = now
        with contextlib.suppress(OSError):
            os.utime(entry.place / MANIFEST, (now, now))


def intact(entry: Entry) -> bool:
    """Whether everything is there and as it was when it was kept."""
    content = entry.place / CONTENT
    try:
        for file in entry.files:
            if _facts(content / file.path, file.path) != file:
                return False
        for path, target in entry.links:
            if os.readlink(content / path) != target:  # noqa: PTH115 - as it was written
                return False
        return all((content / path).is_dir() for path in entry.folders)
    except OSError:
        return False


def show(entry: Entry, place: Path) -> list[Path]:
    """Put a resource's files where a task expects them, without copying where links will do.

    Returns the folders it made or filled; they may be locked when everything is in them. Raises
    FileExistsError, naming the file, when there is something already. Leaves no half of it.
    """
    content = entry.place / CONTENT
    if not content.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        _link(content, place, entry.files[0].mode)
        return []
    shown: list[Path] = []
    folders = [place, *(place / path for path in entry.folders)]
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for file in entry.files:
            _link(content / file.path, place / file.path, file.mode)
            shown.append(place / file.path)
        for path, target in entry.links:
            (place / path).symlink_to(target)
            shown.append(place / path)
    except OSError:
        for one in shown:
            one.unlink(missing_ok=True)
        raise
    return folders


def _link(source: Path, place: Path, mode: int) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NOT_LINKED:
            raise
        with place.open("xb"):  # so that nothing is ever written over
            shutil.copyfile(source, place, follow_symlinks=False)
        place.chmod(stat.S_IMODE(mode))


def _look(making: Path, kind: Kind) -> Entry:
    """Make everything read-only, and note what it looks like then."""
    content = making / CONTENT
    entry = Entry(making, kind, 0, time.time(), [], [], [])
    if not content.is_dir():
        _take(entry, content, "")
        return entry
    for where, names, files in os.walk(content):
        here = Path(where)
        for name in sorted(names + files):
            place = here / name
            path = str(place.relative_to(content))
            if place.is_symlink():
                entry.links.append((path, os.readlink(place)))  # noqa: PTH115 - as it was written
            elif place.is_dir():
                entry.folders.append(path)
            else:
                _take(entry, place, path)
    return entry


def _take(entry: Entry, place: Path, path: str) -> None:
    executable = place.stat().st_mode & stat.S_IXUSR
    place.chmod(0o555 if executable else 0o444)
    facts = _facts(place, path)
    entry.files.append(facts)
    entry.bytes += facts.size


def _facts(place: Path, path: str) -> File:
    found = place.lstat()
    return File(path, found.st_size, found.st_mtime_ns, found.st_ino, found.st_mode)


def _read(place: Path) -> Entry | None:
    """A resource from its manifest; None when that cannot be read."""
    manifest = place / MANIFEST
    try:
        known = json.loads(manifest.read_text(encoding="utf-8"))
        return Entry(
            place,
            Kind(*known["kind"]),
            known["bytes"],
            manifest.stat().st_mtime,
            [File(*file) for file in known["files"]],
            known["folders"],
            [(path, target) for path, target in known["links"]],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _synchronise(making: Path, entry: Entry) -> None:
    """See to it that what a manifest tells of outlives a power cut."""
    if len(entry.files) > SYNCED_ONE_BY_ONE:
        fd = os.open(making, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            ctypes.CDLL(None).syncfs(fd)
        finally:
            os.close(fd)
        return
    for file in entry.files:
        fd = os.open(making / CONTENT / file.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _synchronise_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
