"""What a worker must not forget: who it is, what it has accepted, what came of it.

Writes gather and go down in one transaction: before an accepted lease is acted upon, and before
an outcome is told. What was started is the keeper's to remember, in its own log. A power loss
ends the tasks too, so `synchronous=NORMAL` is enough.
"""

import sqlite3
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytq.schema.frames import Ref

TABLES: Final = """
CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT, boot TEXT);
CREATE TABLE IF NOT EXISTS executions (
    task INTEGER, attempt INTEGER, lease TEXT NOT NULL, room TEXT, outcome TEXT,
    PRIMARY KEY (task, attempt)
) WITHOUT ROWID;
"""
FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})


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
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(TABLES)
        self._accepted: list[tuple[int, int, str]] = []
        self._staged: list[tuple[str, int, int]] = []
        self._ended: list[tuple[str, str | None, int, int]] = []
        self._dropped: list[Ref] = []

    def identify(self, boot: str) -> tuple[str, bool]:
        """Who this worker is, and whether the machine is still up since it last wrote here."""
        row = self._db.execute("SELECT id, boot FROM identity").fetchone()
        if row is None:
            row = (uuid.uuid4().hex, boot)
            self._db.execute("INSERT INTO identity VALUES (1, ?, ?)", row)
        elif row[1] != boot:
            self._db.execute("UPDATE identity SET boot = ?", (boot,))
        return row[0], row[1] == boot

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
