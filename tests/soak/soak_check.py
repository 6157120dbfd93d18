"""Whether everything is as it was promised, once all has been mended and the queue is empty.

After Jepsen's total queue: nothing lost, nothing invented, one outcome each, each outcome true,
nothing twice at once; and nothing left behind.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import psutil
import soak_fleet
from soak_fleet import Fleet
from soak_load import FULL, Known, Load

from pytq.client import Client
from pytq.schema import limits
from pytq.schema.queries import ExecutionFilter, TaskFilter
from pytq.schema.states import TASK_ENDED, Cause, Outcome, TaskStatus
from pytq.schema.views import ExecutionView, TaskView

EXCUSED_PART: Final = 0.01  # of all tasks may fail for what was done to them
SHOWN: Final = 10  # of one kind of wrong
OURS: Final = ("soak.py", "sleep infinity", "postgres", "unshare")


@dataclass
class Ledger:
    """What the commands themselves have told."""

    starts: Counter[tuple[int, int]] = field(default_factory=Counter)
    stops: Counter[tuple[int, int]] = field(default_factory=Counter)
    overlaps: Counter[tuple[int, int]] = field(default_factory=Counter)

    @classmethod
    def read(cls, file: Path) -> "Ledger":
        ledger = cls()
        kinds = {"start": ledger.starts, "stop": ledger.stops, "overlap": ledger.overlaps}
        for line in file.read_text().splitlines():
            kind, task, attempt = line.split()
            kinds[kind][int(task), int(attempt)] += 1
        return ledger


class Checker:
    """Collects what is wrong."""

    def __init__(self, fleet: Fleet, load: Load) -> None:
        self.fleet, self.load = fleet, load
        self.wrong: dict[str, list[str]] = defaultdict(list)
        self.excused: Counter[str] = Counter()
        self.tasks: dict[int, TaskView] = {}
        self.tries: dict[int, list[ExecutionView]] = defaultdict(list)
        self.ledger = Ledger()

    def complain(self, rule: str, what: object) -> None:
        """Something is not as it must be."""
        self.wrong[rule].append(str(what))

    def told(self) -> str:
        """All that is wrong, in lines."""
        lines = []
        for rule, cases in self.wrong.items():
            lines.append(f"{rule}: {len(cases)}")
            lines += [f"    {case}" for case in cases[:SHOWN]]
        return "\n".join(lines)

    async def look(self, client: Client) -> None:
        """Compare what the server says with what was promised, and with what really happened."""
        async for task in client.each_task(TaskFilter(limit=limits.PAGE_MAX)):
            self.tasks[task.id] = task
        async for one in client.each_execution(ExecutionFilter(limit=limits.PAGE_MAX)):
            self.tries[one.task].append(one)
        self.ledger = Ledger.read(self.load.shared / "ledger")
        self._nothing_lost_or_invented()
        for id_, known in self.load.known.items():
            if id_ in self.tasks:
                tries = sorted(self.tries[id_], key=lambda one: one.attempt)
                self._one_outcome(self.tasks[id_], tries, known)
                self._true_outcomes(self.tasks[id_], tries, known)
        self._nothing_twice()
        if sum(self.excused.values()) > EXCUSED_PART * len(self.tasks):
            self.complain("too many excuses", self.excused)

    def _nothing_lost_or_invented(self) -> None:
        for id_ in self.load.known.keys() - self.tasks.keys():
            self.complain("an acknowledged task is lost", id_)
        for id_ in self.tasks.keys() - self.load.known.keys():
            self.complain("nobody brought this task", f"{id_} {self.tasks[id_].name}")
        names = Counter(task.name for task in self.tasks.values())
        for name, count in names.items():
            if count > 1:
                self.complain("a task is there twice", name)

    def _one_outcome(self, task: TaskView, tries: list[ExecutionView], known: Known) -> None:
        if task.status not in TASK_ENDED:
            self.complain("a task has no end", f"{task.id} {known.kind.name} is {task.status}")
            return
        if [one.attempt for one in tries] != list(range(1, task.attempt + 1)):
            self.complain("attempts are missing", f"{task.id}: {[o.attempt for o in tries]}")
        for one in tries:
            if one.outcome is None or one.ended_at is None:
                self.complain("an execution is still open", one.id)
        for before, after in pairwise(tries):
            if before.ended_at is not None and after.assigned_at < before.ended_at:
                self.complain("handed on before its end", after.id)
            if before.outcome is Outcome.SUCCEEDED:
                self.complain("tried again after a success", after.id)
        if known.requires is not None and tries and known.requires in self.tasks:
            required = self.tasks[known.requires]
            if tries[0].assigned_at < required.changed_at:
                self.complain("did not wait for what it requires", task.id)

    def _true_outcomes(self, task: TaskView, tries: list[ExecutionView], known: Known) -> None:
        kind = known.kind
        for one in tries:
            ran = (
                self.ledger.starts[one.task, one.attempt],
                self.ledger.stops[one.task, one.attempt],
            )
            if one.outcome is Outcome.SUCCEEDED and ran != (1, 1):
                self.complain("a success that did not run once", f"{one.id} {kind.name} {ran}")
            if one.outcome is Outcome.REFUSED and ran != (0, 0):
                self.complain("handed back, though it had started", f"{one.id} {one.reason}")
        if task.status is TaskStatus.CANCELLED:
            if not known.cancelled:
                self.complain("cancelled by nobody", task.id)
        elif task.status is not kind.ends:
            self._excuse(task, tries, known)
        if kind.output and task.status is TaskStatus.SUCCEEDED:
            self._output(task)

    def _excuse(self, task: TaskView, tries: list[ExecutionView], known: Known) -> None:
        """A task may fail otherwise than by itself: what was done to it is told as the reason."""
        last = tries[-1] if tries else None
        cause = last.reason.cause if last is not None and last.reason is not None else None
        full = last is not None and last.exit_code == FULL
        if task.status is TaskStatus.FAILED and (
            full or cause in {Cause.SIGNAL, Cause.LOST, Cause.DISK, Cause.OUTPUT}
        ):
            self.excused[f"{cause}{' (no room)' if full else ''}"] += 1
            return
        seen = f"{task.id} {known.kind.name}: {task.status} {task.reason}"
        self.complain("an outcome that is not true", seen)

    def _output(self, task: TaskView) -> None:
        file = self.load.shared / "out" / str(task.name) / "out.txt"
        there = file.read_text() if file.exists() else "nothing"
        if there != f"{task.id} {task.attempt}\n":
            self.complain("not its output", f"{task.id}.{task.attempt}: {there!r}")

    def _nothing_twice(self) -> None:
        for (task, attempt), count in self.ledger.starts.items():
            if count > 1:
                self.complain("started twice", f"{task}.{attempt}: {count} times")
        for task, attempt in self.ledger.overlaps:
            self.complain("ran twice at once", f"{task}.{attempt}: {self._life_of(task)}")

    def _life_of(self, task: int) -> str:
        return "; ".join(
            f"{one.attempt} {one.worker} {one.assigned_at:%T.%f}-{one.ended_at:%T.%f} {one.outcome}"
            for one in sorted(self.tries[task], key=lambda one: one.attempt)
            if one.ended_at is not None
        )

    # --- afterwards

    def server(self, process: psutil.Process, before: int) -> None:
        """What the server holds, now that nothing goes on, against what it held at first."""
        if (now := process.num_fds()) > before + 20:
            self.complain("the server keeps files open", f"{now}, at first {before}")

    def logs(self, files: Iterable[Path]) -> None:
        """Nothing in the logs that nobody has foreseen."""
        for file in files:
            text = file.read_text(errors="replace")
            for part in text.split("Traceback (most recent call last)")[1:]:
                lines = [line for line in part.splitlines()[1:] if not line.startswith(" ")]
                self.complain("a traceback in a log", f"{file.name}: {(lines or [part])[0]}")

    def nothing_left(self) -> None:
        """No process, no journal entry, no file that belongs to nobody."""
        for one in soak_fleet.processes():
            try:
                line = " ".join(one.cmdline())
            except psutil.Error:
                continue
            if one.pid != 1 and line and not any(word in line for word in OURS):
                self.complain("a process is left", f"{one.pid} {line[:150]}")
        for worker in self.fleet.workers:
            with sqlite3.connect(worker.home / "journal.sqlite") as journal:
                [(open_now,)] = journal.execute("SELECT count(*) FROM executions")
            journal.close()
            if open_now:
                self.complain("a journal is not empty", f"{worker.name}: {open_now}")
            for file in (worker.home / "rooms").rglob("*"):
                if file.is_file() and file.stat().st_size:
                    self.complain("a file is left in a room", file)
        for file in (self.load.shared / "out").rglob("*"):
            if file.is_file() and file.name != "out.txt":
                self.complain("half a file is left", file)
