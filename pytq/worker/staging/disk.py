"""The disk that a worker works on: how much room there is, what to call it, what to keep back."""

import errno
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")

# Below so much of a disk, or so many bytes, nothing new is begun on it.
FLOOR_PARTS: Final = 50
FLOOR_BYTES: Final = 2**30
# With so little left, a command that failed there did so because of it.
EMPTY_PARTS: Final = 200
EMPTY_BYTES: Final = 16 * 2**20
BALLAST_PARTS: Final = 64
BALLAST_BYTES: Final = 8 * 2**20

_MOUNTS: Final = "/proc/self/mountinfo"
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, as it was when it was looked at. Sizes are bytes."""

    path: str  # where it is mounted
    kind: str
    total: int
    free: int  # for us: what is kept for root is not counted
    files: bool  # whether it can hold more files, however small

    @property
    def floor(self) -> int:
        """So much stays free: the journal, the keeper's log and running tasks live there too."""
        return min(self.total // FLOOR_PARTS, FLOOR_BYTES)

    @property
    def used(self) -> float:
        """The part of it that is taken, from 0 to 1."""
        return 1 - self.free / self.total if self.total else 1.0

    @property
    def empty(self) -> bool:
        """Whether there is so little room that writing fails."""
        return self.free <= min(self.total // EMPTY_PARTS, EMPTY_BYTES) or not self.files

    @property
    def low(self) -> bool:
        """Whether nothing new should be begun on it."""
        return self.free < self.floor or not self.files

    @property
    def full(self) -> str:
        """That it is full, in words that name it."""
        what = "" if self.files else ": it can hold no more files"
        return f"disk full: {self}{what}"

    def short_of(self, needed: int) -> str:
        """That something does not fit, in words."""
        return f"{self.full}: {size(needed)} needed, {size(max(0, self.free))} free"

    def __str__(self) -> str:
        return f"{self.path} ({self.kind}, {size(self.total)})"


def look(place: str | Path) -> Disk:
    """The disk that a place is on; a place that is not there yet is where its parent is."""
    real = os.path.realpath(place)
    while not os.path.lexists(real):
        real = os.path.dirname(real)  # noqa: PTH120 - it may be asked for often
    facts = os.statvfs(real)
    path, kind = _mount(real, os.stat(real).st_dev)  # noqa: PTH116 - as above
    free = facts.f_bavail * facts.f_frsize
    files = not facts.f_files or facts.f_favail > 0
    return Disk(path, kind, facts.f_blocks * facts.f_frsize, free, files)


def emptied(place: str | Path) -> str:
    """That the disk of a place has no room left, in words; empty while it has."""
    facts = os.statvfs(place)
    least = min(facts.f_blocks * facts.f_frsize // EMPTY_PARTS, EMPTY_BYTES)
    files = not facts.f_files or facts.f_favail > 0
    return "" if files and facts.f_bavail * facts.f_frsize > least else look(place).full


def size(amount: float) -> str:
    """Bytes as people read them."""
    power = min(len(UNITS) - 1, max(0, int(amount).bit_length() - 1) // 10)
    return f"{amount / 1024**power:.4g} {UNITS[power]}"


@lru_cache(maxsize=64)
def _mount(real: str, _device: int) -> tuple[str, str]:
    """Where the file system of a path is mounted, and its kind."""
    best = ("/", "disk")
    try:
        lines = Path(_MOUNTS).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return best
    for line in lines:
        words, _, rest = line.partition(" - ")
        path = _OCTAL.sub(lambda found: chr(int(found[1], 8)), words.split()[4])
        if f"{real}/".startswith(f"{path.rstrip('/')}/") and len(path) >= len(best[0]):
            best = (path, rest.split()[0])  # of those on the same place, the last one is on top
    return best


class Ballast:
    """Room kept back: let go when the disk is full, so that the journal can still be written."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / "ballast"

    @property
    def there(self) -> bool:
        """Whether it is in place."""
        return self._file.exists()

    def take(self) -> None:
        """Take the room, if there is plenty; without it, things are as they are without ballast."""
        if self.there:
            return
        disk = look(self._home)
        amount = min(disk.total // BALLAST_PARTS, BALLAST_BYTES)
        if disk.free < disk.floor + amount:
            return
        fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, amount)
        except OSError:
            self.drop()
        finally:
            os.close(fd)

    def drop(self) -> bool:
        """Let the room go; False when it had gone already."""
        try:
            self._file.unlink()
        except OSError:
            return False
        return True
