"""What the keeper knows of each task, in memory and in its log.

`keeper.log` remembers what was started and how it ended, for the keeper that comes after this
one: a start is written down before it happens, an exit before it is told.
"""

# pathlib would double what this process costs to start and to keep.
# ruff: noqa: PTH105, PTH123

import contextlib
import json
import os
import resource
import time
from typing import Any

LOG_BYTES = 1024 * 1024  # the log is written anew when it is larger
LOGGING = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC

Message = dict[str, Any]


def now() -> float:
    """Seconds since boot, sleep included: a lease runs out in a closed laptop too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Task:
    """One step that was started: running, being buried, or ended with a record."""

    __slots__ = (
        "cause",
        "id",
        "kill_at",
        "killed",
        "late",
        "marker",
        "note",
        "pid",
        "record",
        "since",
        "verdict",
    )

    def __init__(self, order: Message) -> None:
        self.id: str = order["id"]
        self.note: str = order.get("note", "")
        self.marker = b".".join(self.id.encode().split(b".")[:2])
        self.pid = 0
        self.since = now()
        self.cause = ""
        self.kill_at = 0.0
        self.killed = False
        self.late: list[Message] = []  # orders that came while it was being started
        self.verdict: Message | None = None  # its own process has ended, strays may still live
        self.record: Message | None = None  # all of it has ended

    def state(self) -> Message:
        """What an agent that has just connected must know."""
        if self.record is None:
            ago = now() - self.since
            return {
                "type": "started",
                "id": self.id,
                "note": self.note,
                "pid": self.pid,
                "ago": ago,
            }
        return {**self.record, "note": self.note, "ago": now() - self.since}

    def verdict_of(self, status: int, usage: resource.struct_rusage) -> Message:
        """What its own process came to."""
        return {
            "type": "exited",
            "id": self.id,
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "cpu": round(usage.ru_utime + usage.ru_stime, 6),
            "rss": usage.ru_maxrss * 1024,
            "cause": self.cause,
        }


class Log:
    """What a later keeper must know; one write per batch, appended."""

    def __init__(self, path: str, boot: str) -> None:
        self.path, self.boot = path, boot
        self.fd = os.open(path, LOGGING, 0o600)
        self.size = os.fstat(self.fd).st_size

    def read(self) -> dict[str, Message]:
        """Records of the keeper before: started without an end means that it vanished."""
        records: dict[str, Message] = {}
        for line in os.pread(self.fd, self.size, 0).splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                if entry["type"] == "boot" and entry["boot"] != self.boot:
                    return {}
                if entry["type"] == "start":
                    records[entry["id"]] = {**entry, "type": "vanished"}
                elif entry["type"] in ("exited", "failed", "vanished", "guard"):
                    records[entry["id"]] = {**records.get(entry["id"], {}), **entry}
        return records

    def write(self, lines: list[str]) -> None:
        """Append; OSError where the disk is full."""
        self.size += os.write(self.fd, "\n".join([*lines, ""]).encode())

    def rewrite(self, entries: list[Message]) -> None:
        """Start anew with what is still held."""
        with contextlib.suppress(OSError):  # then the old one stays
            with open("keeper.log.new", "w") as fresh:
                lines = ({"type": "boot", "boot": self.boot}, *entries)
                fresh.writelines(json.dumps(line) + "\n" for line in lines)
            os.replace("keeper.log.new", self.path)
            os.close(self.fd)
            self.fd = os.open(self.path, LOGGING, 0o600)
            self.size = os.fstat(self.fd).st_size
