"""Telling tasks that the kernel ended for want of memory from those that somebody killed."""

# pathlib would double what this process costs to start and to keep.
# ruff: noqa: PTH123

import contextlib
import signal

from pytq.worker.keeper.tasks import Message, now

LOOK_SECONDS = 5.0
SHELLS_WORD = 128 + signal.SIGKILL  # what a shell makes of a killed child


def kills() -> int:
    """How many processes of this machine the kernel has ended for want of memory."""
    with contextlib.suppress(OSError, ValueError), open("/proc/vmstat", "rb") as counters:
        for line in counters:
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0


class OomKiller:
    """The kernel's, watched by its one counter: it tells how often it struck, not whom."""

    def __init__(self) -> None:
        self.seen = kills()
        self.looked = now()

    def look(self) -> None:
        """What it did long ago is no explanation for a kill of today."""
        if now() - self.looked >= LOOK_SECONDS:
            self.seen, self.looked = kills(), now()

    def explain(self, verdict: Message) -> None:
        """A task that was killed, not by us, just when it struck: that was it."""
        killed = verdict["signal"] == signal.SIGKILL or verdict["code"] == SHELLS_WORD
        if killed and not verdict["cause"]:
            count = kills()
            if count > self.seen:
                self.seen, verdict["cause"] = count, "oom"
