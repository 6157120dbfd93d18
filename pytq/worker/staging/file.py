"""Inputs from and outputs to folders of this machine: file://.

A copy is made under a temporary name beside its place, checked, and renamed: nobody ever sees
half a file. Symlinks are not followed, and what is no regular file is left out.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from pytq.schema.frames import Ref
from pytq.schema.tasks import Mount, Output

NEVER: Final = (Path("/proc"), Path("/sys"), Path("/dev"))
PIECE: Final = 16 * 1024 * 1024
NO_COPY_RANGE: Final = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, errno.EPERM}
)


class Stopped(Exception):  # noqa: N818 - a wish, not an error
    """Nobody waits for this any more."""


@dataclass(frozen=True, slots=True)
class Files:
    """The folders of this machine that tasks may name."""

    roots: tuple[Path, ...]

    def bring(self, path: str, place: Path, mount: Mount, stop: threading.Event) -> None:
        """Copy a file or folder of this machine to where a task expects it."""
        source = self._allowed(path)
        if not mount.directory:
            _copy(source, place, stop, size=mount.size, checksum=mount.checksum)
            return
        if not source.is_dir():
            raise ValueError("is not a folder")
        for found, relative in _regular(source):
            _copy(found, _ready(place / relative), stop)
        place.mkdir(parents=True, exist_ok=True)

    def carry(
        self, source: Path, path: str, output: Output, ref: Ref, stop: threading.Event
    ) -> None:
        """Copy a task's file, or all below its folder, to its destination, and make it safe."""
        target = self._allowed(path)
        if not output.directory:
            if path.endswith("/"):
                target /= source.name
            _copy(source, _ready(target), stop, suffix=f".pytq-{ref[0]}.{ref[1]}.part", sync=True)
            return
        target.mkdir(parents=True, exist_ok=True)
        part = target / f".pytq-{ref[0]}.{ref[1]}.part"
        shutil.rmtree(part, ignore_errors=True)  # of a try of ours that was cut off
        try:
            names = []
            for found, relative in _regular(source):
                _copy(found, _ready(part / relative), stop, sync=True)
                names.append(relative)
            for name in names:  # only when all of them are there
                (part / name).replace(_ready(target / name))
            for folder in {(target / name).parent for name in names}:
                _sync_folder(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _allowed(self, path: str) -> Path:
        place = Path(unquote(path)) if "%" in path and not Path(path).exists() else Path(path)
        real = Path(os.path.realpath(place))
        if any(real.is_relative_to(never) for never in NEVER):
            raise ValueError("is no place for files of tasks")
        if not any(real.is_relative_to(os.path.realpath(root)) for root in self.roots):
            raise ValueError("is outside the folders that this worker may use")
        return real


def _regular(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every regular file below a folder, with its path from there."""
    for where, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            found = Path(where, name)
            if stat.S_ISREG(found.lstat().st_mode):
                yield found, found.relative_to(folder)


def _raise(error: OSError) -> None:
    raise error


def _ready(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _copy(
    source: Path,
    place: Path,
    stop: threading.Event,
    *,
    size: int | None = None,
    checksum: str | None = None,
    suffix: str = ".part",
    sync: bool = False,
) -> None:
    part = place.with_name(place.name + suffix)
    try:
        with _open_regular(source) as origin, part.open("wb") as copy:
            before = os.fstat(origin).st_size
            _transfer(origin, copy.fileno(), stop)
            _check_size(os.fstat(copy.fileno()).st_size, before if size is None else size)
            os.fchmod(copy.fileno(), stat.S_IMODE(os.fstat(origin).st_mode) & 0o777 | 0o200)
            if sync:
                os.fsync(copy.fileno())
        if checksum is not None:
            _check_sum(part, checksum)
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _open_regular(source: Path) -> Iterator[int]:
    # Not blocking: what looked like a file may have become a pipe that nobody writes to.
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("is not a regular file")
        yield fd
    finally:
        os.close(fd)


def _transfer(origin: int, copy: int, stop: threading.Event) -> None:
    """Copy inside the kernel where it can, sharing blocks where the file system can."""
    in_kernel = True
    while not stop.is_set():
        if in_kernel:
            try:
                moved = os.copy_file_range(origin, copy, PIECE)
            except OSError as error:
                if error.errno not in NO_COPY_RANGE:
                    raise
                in_kernel = False
                continue
            if moved == 0 and os.lseek(origin, 0, os.SEEK_CUR) < os.fstat(origin).st_size:
                in_kernel = False  # some file systems answer 0 for what they cannot do
                continue
        else:
            moved = os.write(copy, os.read(origin, 1024 * 1024))
        if moved == 0:
            return
    raise Stopped


def _check_size(found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"has {found} bytes, not the {wanted} it should have")


def _check_sum(path: Path, wanted: str) -> None:
    kind, _, value = wanted.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != value:
        raise ValueError(f"its {kind} is {found}, not the {value} it should have")


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
