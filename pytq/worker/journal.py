"""What a worker must not forget: who it is, what it has accepted, what came of it.

Writes gather and go down in one transaction: before an accepted lease is acted upon, and before
an outcome is told. What was started is the keeper's to remember, in its own log. A power loss
ends the tasks too, so `synchronous=NORMAL` is enough.
"""

import contextlib
import logging
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytq.schema.frames import Ref, root_of

TABLES: Final = """
CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT, boot TEXT);
CREATE TABLE IF NOT EXISTS executions (
    task INTEGER, attempt INTEGER, lease TEXT NOT NULL, room TEXT, outcome TEXT,
    PRIMARY KEY (task, attempt)
) WITHOUT ROWID;
"""
FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})
BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
ROOT: Final = re.compile("[0-9a-f]{32}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One execution as the agent before left it."""

    ref: Ref
    lease: str
    room: str | None  # staged in there, when nothing was started yet
    outcome: str | None


class Journal:
    """The worker's memory on disk."""

    def __init__(self, path: Path, relief: Callable[[], bool] = lambda: False) -> None:
        """`relief` frees some of a full disk, and tells whether there was something to free."""
        self._relief = relief
        self._root = path.with_suffix(".identity")
        self._db = _opened(path)
        self._accepted: list[tuple[int, int, str]] = []
        self._staged: list[tuple[str, int, int]] = []
        self._ended: list[tuple[str, str | None, int, int]] = []
        self._dropped: list[Ref] = []

    def identify(self, boot: str) -> tuple[str, bool]:
        """Who this worker is, and whether the machine is still up since it last wrote here."""
        row = self._db.execute("SELECT id, boot FROM identity").fetchone()
        if row is None:
            row = (f"{self._root_on_disk() or uuid.uuid4().hex}.{uuid.uuid4().hex[:8]}", boot)
            self._db.execute("INSERT INTO identity VALUES (1, ?, ?)", row)
        elif row[1] != boot:
            self._db.execute("UPDATE identity SET boot = ?", (boot,))
        if self._root_on_disk() != root_of(row[0]):
            self._write_root(root_of(row[0]))
        return row[0], row[1] == boot

    def _write_root(self, root: str) -> None:
        """Whole or not at all: half a file would make somebody else of this worker."""
        part = self._root.with_name(f"{self._root.name}.part")
        with contextlib.suppress(OSError):  # a full disk: the journal has it too
            part.write_text(f"{root}\n", encoding="ascii")
            part.replace(self._root)

    def _root_on_disk(self) -> str:
        """Who this worker was, should its journal be gone: then what it held is lost, at once."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            root = self._root.read_text(encoding="ascii").strip()
            return root if ROOT.fullmatch(root) else ""
        return ""

    def read(self) -> list[Entry]:
        """Every execution that is not settled, oldest first."""
        rows = self._db.execute(
            "SELECT task, attempt, lease, room, outcome FROM executions ORDER BY task, attempt"
        )
        return [Entry((task, attempt), *rest) for task, attempt, *rest in rows]

    def accept(self, leases: Iterable[tuple[Ref, str]]) -> None:
        """Note leases."""
        self._accepted += [(*ref, lease) for ref, lease in leases]

    def retract(self) -> None:
        """Leases that could not be written down are not accepted."""
        self._accepted.clear()

    def stage(self, ref: Ref, room: str) -> None:
        """Note that the inputs are in place, so that they are not fetched twice."""
        self._staged.append((room, *ref))

    def end(self, ref: Ref, outcome: str, room: str | None) -> None:
        """Note an outcome; with a room, output is still in there."""
        self._ended.append((outcome, room, *ref))

    def drop(self, ref: Ref) -> None:
        """Note that an execution is settled."""
        self._dropped.append(ref)

    def commit(self) -> bool:
        """Write down what has gathered; False when that was nothing."""
        try:
            return self._commit()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) not in FULL or not self._relief():
                raise
        return self._commit()

    def _commit(self) -> bool:
        work: list[tuple[str, list[Any]]] = [
            (
                "INSERT OR IGNORE INTO executions (task, attempt, lease) VALUES (?, ?, ?)",
                self._accepted,
            ),
            ("UPDATE executions SET room = ? WHERE task = ? AND attempt = ?", self._staged),
            (
                "UPDATE executions SET outcome = ?, room = ? WHERE task = ? AND attempt = ?",
                self._ended,
            ),
            ("DELETE FROM executions WHERE task = ? AND attempt = ?", self._dropped),
        ]
        if not any(rows for _, rows in work):
            return False
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for statement, rows in work:
                if rows:
                    self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise
        for _, rows in work:
            rows.clear()
        return True

    def close(self) -> None:
        """Write down what is left, and close."""
        self.commit()
        self._db.close()


def _opened(path: Path) -> sqlite3.Connection:
    """The journal's database; one that cannot be read is put aside for people to look at."""
    try:
        return _checked(path)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in BROKEN:
            raise
        aside = path.with_name(f"{path.name}.broken")
        log.error("%s: what it held is lost; it is kept as %s", error, aside)  # noqa: TRY400 - a broken file needs no traceback
        path.replace(aside)
        for rest in ("-wal", "-shm"):
            path.with_name(f"{path.name}{rest}").unlink(missing_ok=True)
        return _checked(path)


def _checked(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(TABLES)
        [(said,)] = db.execute("PRAGMA quick_check(1)").fetchall()
        if said != "ok":
            _raise_broken(path, said)
    except BaseException:
        db.close()
        raise
    return db


def _raise_broken(path: Path, said: str) -> None:
    error = sqlite3.DatabaseError(f"{path} is broken: {said}")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    raise error
