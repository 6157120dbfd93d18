"""What really happened, seen from above; and whether it is what was promised."""

from typing import Any, Final

import sqlalchemy as sa
from sim_machine import Machine, Process
from sim_timeline import Timeline

from pytq.schema.frames import Ref
from pytq.schema.states import TASK_ENDED, Cause, Outcome, TaskStatus
from pytq.schema.tasks import TaskSpec
from pytq.server.store.tables import executions, requirements, task_counts, tasks

STORY: Final = 5000  # lines remembered
WAKING_SECONDS: Final = 1.0  # after a whole machine stood still, until its keeper has looked

AnyRow = sa.Row[*tuple[Any, ...]]


class Truth:
    """Sees every command that starts or ends, wherever that is; and says what is wrong."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.wrong: list[str] = []
        self.story: list[str] = []
        self.began: dict[tuple[int, int, int], Process] = {}
        self.alive: dict[int, list[Process]] = {}  # by task
        self.outputs: dict[int, int] = {}  # the attempt whose output lies at a task's destination
        self.handed_on: set[int] = set()  # tasks that people forced out of a worker's hands
        self.cancelled: dict[int, int] = {}  # acknowledged: the attempt it was then
        self.ended: dict[Ref, AnyRow] = {}

    def tell(self, what: str) -> None:
        """Remember a line of the story."""
        self.story.append(f"{self.timeline.now:10.3f} {what}")
        if len(self.story) > STORY:
            del self.story[: STORY // 2]

    def complain(self, what: str) -> None:
        """Something is not as it must be."""
        self.tell(f"WRONG: {what}")
        self.wrong.append(what)

    # --- as it happens

    def started(self, process: Process) -> None:
        """A command starts: nothing else of its task may run anywhere."""
        task, attempt = process.task, process.attempt
        self.tell(f"{task}.{attempt}.{process.step} starts on {process.machine.name}")
        key = (task, attempt, process.step)
        if key in self.began:
            self.complain(f"{key} starts for the second time")
        self.began[key] = process
        for other in self.alive.get(task, ()):
            self._judge_pair(process, other)
        if attempt > self.cancelled.get(task, attempt):
            self.complain(f"{task}.{attempt} starts after its task was cancelled")
        self.alive.setdefault(task, []).append(process)

    def stopped(self, process: Process) -> None:
        """A command ended."""
        one = f"{process.task}.{process.attempt}.{process.step}"
        self.tell(f"{one} ends on {process.machine.name}: {process.status}")
        self.alive[process.task].remove(process)

    def published(self, ref: Ref, machine: Machine) -> None:
        """Outputs arrive where they belong: never of an execution that was handed on."""
        task, attempt = ref
        self.tell(f"{task}.{attempt} publishes from {machine.name}")
        before = self.outputs.get(task, 0)
        if attempt < before and not self._excused(task, machine):
            self.complain(f"{task}.{attempt} overwrites the output of {task}.{before}")
        self.outputs[task] = attempt

    def _judge_pair(self, new: Process, other: Process) -> None:
        older = min(new, other, key=lambda process: process.attempt)
        if not (new.runs and other.runs) or self._excused(new.task, older.machine):
            return
        self.complain(
            f"{new.task}.{new.attempt} starts on {new.machine.name} while"
            f" {other.task}.{other.attempt} runs on {other.machine.name}"
        )

    def _excused(self, task: int, machine: Machine) -> bool:
        """Whether nobody could have prevented it: who should count the lease could not."""
        keeper = machine.keeper
        just_woke = self.timeline.now - machine.woke < WAKING_SECONDS
        helpless = keeper is None or keeper.suspended
        return task in self.handed_on or just_woke or machine.asleep or helpless

    # --- in the books

    def audit(self, conn: sa.Connection) -> None:
        """What was ended stays so; the books agree with themselves."""
        rows = conn.execute(sa.select(executions)).all()
        for row in rows:
            if row.ended_at is not None:
                before = self.ended.setdefault((row.task, row.attempt), row)
                if tuple(before) != tuple(row):
                    self.complain(f"ended execution changed: {before} -> {row}")
        found = conn.execute(sa.select(tasks.c.id, tasks.c.status, tasks.c.attempt)).all()
        active = {row.id: row.attempt for row in found if row.status == TaskStatus.ACTIVE}
        if active != {row.task: row.attempt for row in rows if row.ended_at is None}:
            self.complain("active tasks and open executions differ")
        real = _counts(conn, sa.select(tasks.c.status, sa.func.count()).group_by(tasks.c.status))
        kept = sa.select(task_counts.c.status, sa.func.sum(task_counts.c.n))
        if real != _counts(conn, kept.group_by(task_counts.c.status)):
            self.complain("the counts are not those of reality")

    def settle(self, conn: sa.Connection, acknowledged: set[int]) -> None:
        """At the end: every task has its one outcome, and each outcome is true."""
        self.audit(conn)
        found = {row.id: row for row in conn.execute(sa.select(tasks)).all()}
        if set(found) != acknowledged:
            self.complain(f"lost or invented: {sorted(set(found) ^ acknowledged)}")
        for task, status in unfinished(conn).items():
            self.complain(f"task {task} is {status} in the end")
        rows = conn.execute(sa.select(executions).order_by(executions.c.attempt)).all()
        for row in rows:
            self._check_execution(row, TaskSpec.model_validate_json(found[row.task].spec))
        for task in found.values():
            self._check_task(task, [row for row in rows if row.task == task.id])

    def _check_execution(self, row: AnyRow, spec: TaskSpec) -> None:
        ref = f"{row.task}.{row.attempt}"
        steps = [self.began.get((row.task, row.attempt, n)) for n in range(len(spec.steps))]
        if row.outcome == Outcome.SUCCEEDED:
            for step, process in zip(spec.steps, steps, strict=True):
                if process is None or not process.over:
                    self.complain(f"{ref} succeeded, but not all of it has run")
                elif process.status[0] != 0 and not step.ignore_error:
                    self.complain(f"{ref} succeeded, but ended with {process.status}")
        elif row.cause == Cause.EXIT:
            codes = {process.status[0] for process in steps if process is not None}
            if row.exit_code not in codes:
                self.complain(f"{ref} is said to have ended with {row.exit_code}, not {codes}")
        elif row.outcome == Outcome.REFUSED and steps[0] is not None:
            self.complain(f"{ref} was handed back after it had started")

    def _check_task(self, task: AnyRow, rows: list[AnyRow]) -> None:
        good = [row.attempt for row in rows if row.outcome == Outcome.SUCCEEDED]
        if task.status == TaskStatus.SUCCEEDED and task.attempt not in good:
            self.complain(f"task {task.id} succeeded without a success")
        spec = TaskSpec.model_validate_json(task.spec)
        if task.status == TaskStatus.SUCCEEDED and spec.outputs:
            there = self.outputs.get(task.id)
            if there != task.attempt and task.id not in self.handed_on:
                self.complain(f"task {task.id}: the output is of attempt {there}, not the last")


def unfinished(conn: sa.Connection) -> dict[int, str]:
    """Tasks that have not ended, by status.

    Who has a task run again though what it requires has failed sees it wait, until that is run
    again too; so do those that wait for it. They are not counted.
    """
    status = {row.id: row.status for row in conn.execute(sa.select(tasks.c.id, tasks.c.status))}
    left = {task: is_now for task, is_now in status.items() if is_now not in TASK_ENDED}
    edge = requirements.c
    unmet = conn.execute(sa.select(edge.task, edge.required).where(sa.not_(edge.met))).all()
    held: set[int] = set()
    for task, required in sorted((row.task, row.required) for row in unmet):
        if task in left and (required in held or required not in left):
            held.add(task)  # who requires is always younger than what it requires
    return {task: is_now for task, is_now in left.items() if task not in held}


def _counts(conn: sa.Connection, query: Any) -> dict[str, int]:
    return {status: int(n) for status, n in conn.execute(query).all() if n}
