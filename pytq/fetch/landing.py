"""Where a download lands: a part file beside its place, which remembers across tries what it has.

Bytes are written in any order. What is safely in the part is noted in a journal beside it, with
the version of the source that they came from, so that a later try, even of another process, goes
on where this one was cut off: if the source is still the same, and this machine has not restarted
(after a power cut a file may be long enough and yet full of holes).
"""

import fcntl
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Final

from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.parts import SUFFIX, beside

JOURNAL: Final = ".from"
MARK_BYTES: Final = 16 * 1024 * 1024  # noted at least this often
WORTH_NOTING: Final = 4 * 1024 * 1024  # a smaller file is fetched again rather than resumed
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")

Stretch = tuple[int, int]  # from, up to


class Landing:
    """One part file. Its methods are quick or slow disk work: all of them are for a thread."""

    def __init__(self, uri: object, place: Path) -> None:
        self._uri = uri
        self._place = place
        self._journal: int | None = None
        self.path = beside(place)
        self._notes = beside(place, SUFFIX + JOURNAL)
        self._alone = True
        self._fd = -1
        self.version: str | None = None
        self.size: int | None = None
        self.stretches: list[Stretch] = []

    def open(self, *, resume: bool = True) -> None:
        """Open the part, and recall what is in it."""
        self._fd = self._open()
        if self._alone and resume:
            self._recall()
        elif os.fstat(self._fd).st_size:
            self.reset()

    @classmethod
    def whole(cls, uri: object, place: Path, content: bytes) -> None:
        """Land a small file at once: a folder may have a million of these, so each call counts."""
        landing = cls(uri, place)
        try:
            fresh = landing.create()
            if not fresh:
                landing.open(resume=False)
            landing.write(0, content)
            if fresh:
                landing.path.rename(place)
                landing.close()
            else:
                landing.settle()
        finally:
            landing.discard()

    def create(self) -> bool:
        """Open the part, if nobody has been here; then it is empty, ours, and has no journal."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self.path, flags, 0o666)
        except (FileExistsError, FileNotFoundError):
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process opened it between our calls
            os.close(fd)
            return False
        self._fd = fd
        return True

    def begin(self, version: str | None, size: int | None) -> None:
        """Say what the source is; what came from another version is forgotten."""
        if version is None or (version, size) != (self.version, self.size):
            self.reset()
        fresh = self.version is None
        self.version, self.size = version, size
        self._check_room()
        worth = size is None or size >= WORTH_NOTING
        if fresh and version is not None and worth and self._alone:
            self._note(json.dumps(self._identity()))

    def restart(self) -> None:
        """Begin the same source again, from nothing."""
        version, size = self.version, self.size
        self.reset()
        self.begin(version, size)

    def reset(self) -> None:
        """Forget everything that has come."""
        self.stretches, self.version, self.size = [], None, None
        self._forget_journal()
        os.ftruncate(self._fd, 0)

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes in their place."""
        left = memoryview(data)
        while left:
            written = os.pwrite(self._fd, left, offset)
            offset, left = offset + written, left[written:]

    def mark(self, start: int, end: int) -> None:
        """Note that a stretch is there."""
        if end <= start:
            return
        self.stretches = merged([*self.stretches, (start, end)])
        if self._journal is not None:
            self._note(json.dumps([start, end]))

    @property
    def frontier(self) -> int:
        """Up to where everything is there, from the beginning."""
        return self.stretches[0][1] if self.stretches and self.stretches[0][0] == 0 else 0

    @property
    def amount(self) -> int:
        """How many bytes are there."""
        return sum(end - start for start, end in self.stretches)

    def missing(self) -> list[Stretch]:
        """What is not there yet, of a file whose size is known."""
        gaps, position = [], 0
        for start, end in [*self.stretches, (self.size or 0, self.size or 0)]:
            if position < start:
                gaps.append((position, start))
            position = max(position, end)
        return gaps

    def missing_beside(self, start: int, end: int) -> list[Stretch]:
        """What is not there yet and not in this stretch, which is about to come."""
        stretches = self.stretches
        self.stretches = merged([*stretches, (start, end)])
        try:
            return self.missing()
        finally:
            self.stretches = stretches

    def settle(self) -> None:
        """Give the file its final name. Whoever calls has checked that it is whole."""
        if not self._is_ours():
            reason = f"somebody else has replaced {self.path} meanwhile"
            raise FetchError(self._uri, reason, FetchFailure.LOCAL)
        self._forget_journal()  # at first: it must not outlive the part
        self.path.replace(self._place)
        self.close()

    def discard(self) -> None:
        """Remove the part: nothing of it is of use to a later try."""
        if self._fd >= 0:
            self._forget_journal()
            if self._is_ours():
                self.path.unlink(missing_ok=True)
        self.close()

    def leave(self) -> None:
        """End this try: what can be resumed stays, the rest goes."""
        if self._journal is None:
            self.discard()
        else:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        for fd in (self._fd, -1 if self._journal is None else self._journal):
            if fd >= 0:
                os.close(fd)
        self._fd, self._journal = -1, None

    def _open(self) -> int:
        """Open and lock the part; when another process is at it, take one of our own."""
        while True:
            fd = opened(self.path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                self._alone = False
                self.path = beside(self._place, f".{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}")
                continue
            self._fd = fd
            if self._is_ours():
                return fd
            os.close(fd)  # it got its final name between our opening and our locking it

    def _is_ours(self) -> bool:
        """Whether the part's name still leads to the file that we hold."""
        try:
            found, held = self.path.lstat(), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        same = (found.st_ino, found.st_dev) == (held.st_ino, held.st_dev)
        return same and stat.S_ISREG(held.st_mode)

    def _identity(self) -> dict[str, object]:
        boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        # Not the URI itself: it may be signed.
        origin = hashlib.sha256(str(self._uri).encode(errors="surrogateescape")).hexdigest()
        return {
            "origin": origin,
            "version": self.version,
            "size": self.size,
            "boot": boot,
            "inode": os.fstat(self._fd).st_ino,
        }

    def _recall(self) -> None:
        """Read what an earlier try has noted; anything odd about it, and it never was."""
        try:
            first, *rest = self._notes.read_text().splitlines()
            known = json.loads(first)
            self.version, self.size = known["version"], known["size"]
            stretches = [_stretch(line) for line in rest if line.endswith("]")]
            length = os.fstat(self._fd).st_size
            trusted = known == self._identity() and all(end <= length for _, end in stretches)
        except (OSError, ValueError, TypeError, KeyError):
            trusted = False
        if not trusted:
            self.reset()
            return
        self.stretches = merged(stretches)
        self._journal = os.open(self._notes, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _note(self, line: str) -> None:
        if self._journal is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            self._journal = os.open(self._notes, flags | os.O_NOFOLLOW, 0o666)
        os.write(self._journal, f"{line}\n".encode())

    def _forget_journal(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None
        if self._alone:
            self._notes.unlink(missing_ok=True)

    def _check_room(self) -> None:
        """Say at once that a file cannot fit, rather than after hours."""
        if self.size is None:
            return
        disk = os.fstatvfs(self._fd)
        free = disk.f_bavail * disk.f_frsize
        held = os.fstat(self._fd).st_blocks * 512
        if disk.f_blocks and self.size - held > free:
            folder = self._place.parent
            reason = (
                f"No space left on device ({folder}): it needs {self.size - held} bytes and there"
                f" are {free}; free some space there"
            )
            raise FetchError(self._uri, reason, FetchFailure.DISK)


def opened(path: Path) -> int:
    """Open a part file, making its folder where there is none yet."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o666)


def merged(stretches: list[Stretch]) -> list[Stretch]:
    """The same bytes in the fewest stretches, in order."""
    found: list[Stretch] = []
    for start, end in sorted(stretches):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _stretch(line: str) -> Stretch:
    start, end = json.loads(line)
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end):
        raise ValueError(line)
    return start, end
