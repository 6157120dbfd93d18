"""What a transfer is to those who watch it, and what a listing says of one file."""

import threading
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Progress:
    """How far one transfer, of a file or a folder, has come, in bytes.

    `total` is None until the source has told it; a folder's grows while it is being listed.
    `done` may go back, when something has to be fetched again.
    """

    done: int = 0
    total: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def advance(self, amount: int) -> None:
        """Add to what is done. From any thread."""
        with self._lock:
            self.done += amount

    def shift(self, done: int, total: int) -> None:
        """Add to both: to take back what has to be done again."""
        self.advance(done)
        self.grow(total)

    def grow(self, amount: int) -> None:
        """Add to the total: from now on it is known. From any thread."""
        with self._lock:
            self.total = (self.total or 0) + amount


class Meter:
    """Counts one file of a transfer. Saying the same thing again, at a second try, adds nothing."""

    __slots__ = ("_progress", "done", "moves", "total")

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.done = 0
        self.total = 0
        self.moves = 0  # grows with every sign of life, with bytes or without

    def add(self, amount: int) -> None:
        """Count bytes that have come."""
        self.done += amount
        self.moves += 1
        self._progress.advance(amount)

    def back_to(self, done: int) -> None:
        """Begin at so many bytes: 0, or what an earlier try has left."""
        self.add(done - self.done)

    def expect(self, total: int) -> None:
        """Tell how large the file is."""
        self.moves += 1
        self._progress.grow(total - self.total)
        self.total = total

    def touch(self) -> None:
        """Show life where no bytes come: a checksum, an answer."""
        self.moves += 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file at a URI."""

    uri: str
    size: int | None
    modified: datetime | None = None
    checksum: str | None = None  # md5:… or sha256:…, where the source tells it
    name: str = ""  # its path below the folder that was listed; its own name for a single file
    version: str | None = None  # changes when the content does: an ETag, a modification time
