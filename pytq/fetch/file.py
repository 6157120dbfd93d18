"""Files of this machine: file://.

A copy is made under a temporary name beside its place, checked, and renamed: nobody ever sees
half a file. Symlinks are not followed, and what is no regular file is left out.
"""

import contextlib
import errno
import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from pytq.fetch.engine import Item, Wanted
from pytq.fetch.errors import FetchError, FetchFailure, local_error
from pytq.fetch.folders import regular_files
from pytq.fetch.parts import SUFFIX, beside
from pytq.fetch.threads import Stopped, Threads
from pytq.fetch.transfer import Entry, Meter
from pytq.fetch.verify import check_size, check_sum, sum_of
from pytq.schema.uris import Uri

NEVER: Final = (Path("/proc"), Path("/sys"), Path("/dev"))
PIECE: Final = 16 * 1024 * 1024
READ: Final = 1024 * 1024
NO_COPY_RANGE: Final = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, errno.EPERM}
)
LISTED_AT_ONCE: Final = 1_000
EXACT: Final = "exact"  # an option: the path is meant as it stands, with its % signs
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_BARRED: Final = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP})


class FileEngine:
    """Copies within this machine, below allowed roots."""

    def __init__(self, roots: tuple[Path, ...], threads: Threads) -> None:
        self._roots = roots
        self._threads = threads

    async def get(self, uri: Uri, place: Path, wanted: Wanted, meter: Meter) -> None:
        """Copy a file of this machine to `place`."""

        def work(stop: threading.Event) -> None:
            with _told(uri):
                source = self._allowed(uri)
                place.parent.mkdir(parents=True, exist_ok=True)
                copy = _Copy(uri, source, place, meter, stop)
                copy.make(wanted, SUFFIX, sync=False)

        await self._threads.run_long(uri, work, meter)

    async def put(self, place: Path, uri: Uri, tag: str, meter: Meter) -> None:
        """Copy `place` to a file of this machine, and make it safe."""

        def work(stop: threading.Event) -> None:
            with _told(uri):
                target = self._allowed(uri)
                target.parent.mkdir(parents=True, exist_ok=True)
                copy = _Copy(uri, place, target, meter, stop)
                copy.make(Wanted(), f".pytq-{tag}.part", sync=True)
                _sync_folder(target.parent)

        await self._threads.run_long(uri, work, meter)

    async def walk(self, uri: Uri) -> AsyncIterator[Item]:
        """Every regular file below a folder; for a file, itself."""
        with _told(uri):
            root = await self._threads.run(lambda: self._allowed(uri))
            found = _found(uri, root)
            while batch := await self._threads.run(lambda: _take(found)):
                for item in batch:
                    yield item

    async def remove(self, uri: Uri) -> None:
        """Remove a file."""

        def work() -> None:
            with _told(uri):
                self._allowed(uri).unlink()

        await self._threads.run(work)

    @asynccontextmanager
    async def folder(self, uri: Uri, tag: str) -> AsyncIterator[Uri]:
        """A hidden folder beside the files' places, from which all of them are renamed at once."""
        part = await self._threads.run(lambda: self._begin(uri, tag))
        try:
            yield replace(uri, path=f"{part}/", options=(EXACT,))
            await self._threads.run(lambda: _publish(uri, part))
        finally:
            await self._threads.run(lambda: shutil.rmtree(part, ignore_errors=True))

    async def close(self) -> None:
        """Nothing is held between copies."""

    def _begin(self, uri: Uri, tag: str) -> Path:
        with _told(uri):
            target = self._allowed(uri)
            target.mkdir(parents=True, exist_ok=True)
            part = target / f".pytq-{tag}.part"
            shutil.rmtree(part, ignore_errors=True)  # of a try of ours that was cut off
            part.mkdir()
            return part

    def _allowed(self, uri: Uri) -> Path:
        place = Path(uri.path)
        if "%" in uri.path and EXACT not in uri.options and not place.exists():
            place = Path(unquote(uri.path))
        real = Path(os.path.realpath(place))
        if any(real.is_relative_to(never) for never in NEVER):
            raise FetchError(uri, "is no place for files of tasks", FetchFailure.DENIED)
        if not any(real.is_relative_to(os.path.realpath(root)) for root in self._roots):
            reason = "is outside the folders that this worker may use"
            raise FetchError(uri, reason, FetchFailure.DENIED)
        return real


class _Copy:
    """One copy of one file, in a thread."""

    def __init__(
        self, uri: Uri, source: Path, place: Path, meter: Meter, stop: threading.Event
    ) -> None:
        self._uri, self._source, self._place = uri, source, place
        self._meter, self._stop = meter, stop

    def make(self, wanted: Wanted, suffix: str, *, sync: bool) -> None:
        """Copy, check, rename; `sync` makes the content survive a power cut."""
        part = beside(self._place, suffix)
        try:
            with _open_regular(self._uri, self._source) as origin, part.open("wb") as copy:
                before = os.fstat(origin).st_size
                size = before if wanted.size is None else wanted.size
                check_size(self._uri, before, size)
                self._transfer(origin, copy.fileno())
                check_size(self._uri, os.fstat(copy.fileno()).st_size, size)
                os.fchmod(copy.fileno(), stat.S_IMODE(os.fstat(origin).st_mode) & 0o777 | 0o200)
                if sync:
                    os.fsync(copy.fileno())
            if wanted.checksum is not None:
                kind = wanted.checksum.partition(":")[0]
                found = sum_of(part, kind, self._stop, self._meter)
                check_sum(self._uri, found, wanted.checksum)
            part.replace(self._place)
        finally:
            part.unlink(missing_ok=True)

    def _transfer(self, origin: int, copy: int) -> None:
        """Copy what there is; holes stay holes, so that a sparse file takes no more than it did."""
        for start, end in _stretches(origin):
            self._move(origin, copy, start, end)
        os.ftruncate(copy, os.fstat(origin).st_size)

    def _move(self, origin: int, copy: int, at: int, end: int) -> None:
        """Copy a stretch inside the kernel where it can, sharing blocks where the disk can."""
        in_kernel = True
        while at < end:
            if self._stop.is_set():
                raise Stopped
            most = min(PIECE, end - at)
            if in_kernel:
                try:
                    moved = os.copy_file_range(origin, copy, most, at, at)
                except OSError as error:
                    if error.errno not in NO_COPY_RANGE:
                        raise
                    moved = 0
                in_kernel = moved > 0  # some file systems answer 0 for what they cannot do
            else:
                moved = os.pwrite(copy, os.pread(origin, min(most, READ), at), at)
                if not moved:
                    return  # it was cut short meanwhile, as its size will show
            at += moved
            self._meter.add(moved)


def _stretches(origin: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: begin and end of each stretch between its holes."""
    end = 0
    while True:
        try:
            start = os.lseek(origin, end, os.SEEK_DATA)
            end = os.lseek(origin, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left, or nothing
                return
            if error.errno != errno.EINVAL or end:
                raise
            start, end = 0, os.fstat(origin).st_size  # a file system that knows no holes
        yield start, end


@contextlib.contextmanager
def _told(uri: Uri) -> Iterator[None]:
    """Turn this machine's errors into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            raise FetchError(uri, os.strerror(error.errno), FetchFailure.MISSING) from error
        if error.errno in _BARRED:
            raise FetchError(uri, os.strerror(error.errno), FetchFailure.DENIED) from error
        raise local_error(uri, error) from error


def _found(uri: Uri, root: Path) -> Iterator[Item]:
    if root.is_dir():
        for found, name in regular_files(root):
            yield _item(uri, found, name)
    elif uri.path.endswith("/"):
        raise FetchError(uri, "is not a folder", FetchFailure.MISSING)
    elif stat.S_ISREG(root.lstat().st_mode):
        yield _item(uri, root, root.name)


def _item(uri: Uri, found: Path, name: str) -> Item:
    facts = found.lstat()
    one = _exactly(uri, str(found))
    modified = datetime.fromtimestamp(facts.st_mtime, UTC)
    return Item(one, Entry(str(one), facts.st_size, modified, None, name, str(facts.st_mtime_ns)))


def _exactly(uri: Uri, path: str) -> Uri:
    return replace(uri, path=path, actions=(), options=(EXACT,) if "%" in path else ())


def _take(found: Iterator[Item]) -> list[Item]:
    return list(islice(found, LISTED_AT_ONCE))


def _publish(uri: Uri, part: Path) -> None:
    """Rename everything to its place, now that all of it is there."""
    target = part.parent
    folders = {target}
    with _told(uri):
        for item in list(_found(uri, part)):
            place = target / item.entry.name
            place.parent.mkdir(parents=True, exist_ok=True)
            (part / item.entry.name).replace(place)
            folders.add(place.parent)
        for folder in folders:
            _sync_folder(folder)


@contextlib.contextmanager
def _open_regular(uri: Uri, source: Path) -> Iterator[int]:
    # Not blocking: what looked like a file may have become a pipe that nobody writes to.
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FetchError(uri, "is not a regular file", FetchFailure.UNSUPPORTED)
        yield fd
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
