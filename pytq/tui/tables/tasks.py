"""The table of tasks: of each only what a row shows, so that a thousand pages stay small."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pytq.schema import limits
from pytq.schema.queries import Sort
from pytq.schema.states import TaskStatus
from pytq.schema.stream import Watched
from pytq.schema.views import ExecutionView, TaskView
from pytq.tui import looks, timeline, words
from pytq.tui.cells import Cell, Line, Row, Span, line, text
from pytq.tui.columns import Column
from pytq.tui.paging import Order

COLUMNS: Final = (
    Column("id", "TASK", 7, right=True),
    Column("status", "STATUS", 13),
    Column("what", "NAME AND COMMAND", 24, flex=5),
    Column("reason", "WHY", 22, rank=4, flex=3),
    Column("time", "RAN", 7, rank=1, right=True),
    Column("batch", "BATCH", 9, rank=2, flex=1, most=18),
    Column("worker", "WORKER", 10, rank=3, flex=1, most=20),
    Column("tries", "TRIES", 5, rank=6, right=True),
    Column("priority", "PRIO", 5, rank=7, right=True),
    Column("changed", "CHANGED", 8, rank=5, right=True),
)
_COMMAND_CHARS: Final = 300
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ID_STEP: Final = 10**16  # larger than any id, so that two numbers become one


@dataclass(frozen=True, slots=True)
class TaskRow:
    """What a row shows of a task."""

    id: int
    name: str
    batch: str
    status: TaskStatus
    priority: int
    retries: int
    failures: int
    attempt: int
    command: str
    reason: str
    changed_at: datetime

    @classmethod
    def of(cls, task: TaskView) -> "TaskRow":
        """The part of a task that a row shows."""
        return cls(
            id=task.id,
            name=words.clean(task.name or ""),
            batch=words.clean(task.batch),
            status=task.status,
            priority=task.priority,
            retries=task.retries,
            failures=task.failures,
            attempt=task.attempt,
            command=words.clean(words.command(task.spec), _COMMAND_CHARS),
            reason=words.reason(task.reason),
            changed_at=task.changed_at,
        )


def newer(row: TaskRow, watched: Watched | None) -> TaskRow:
    """A row as it stands now, where the stream has told more since its page was fetched."""
    if watched is None or watched.task is None or watched.task.changed_at <= row.changed_at:
        return row
    return TaskRow.of(watched.task)


def row(task: TaskRow, watched: Watched | None, now: datetime) -> Row:
    """A task as a row."""
    task = newer(task, watched)
    execution = None if watched is None else watched.execution
    if execution is not None and execution.attempt != task.attempt:
        execution = None
    cells: tuple[Cell, ...] = (
        text(task.id, "dim"),
        _status(task, execution),
        _what(task),
        text(_why(task, execution), "bad" if task.status is TaskStatus.FAILED else "dim"),
        _time(execution, now),
        text(task.batch),
        text("" if execution is None else words.clean(execution.worker), "dim"),
        text(_tries(task), "dim" if task.attempt <= 1 else "plain"),
        text(task.priority or "", "dim"),
        text(words.since(task.changed_at, now), "dim"),
    )
    return Row(task.id, cells)


def _status(task: TaskRow, execution: ExecutionView | None) -> Line:
    if task.status is TaskStatus.ACTIVE and execution is not None and execution.outcome is None:
        return looks.of_execution(execution).line
    return looks.TASK[task.status].line


def _what(task: TaskRow) -> Line:
    if not task.name:
        return text(task.command)
    return line(Span(task.name, "bold"), Span("  " + task.command, "dim"))


def _why(task: TaskRow, execution: ExecutionView | None) -> str:
    if execution is not None and execution.staging is not None and execution.outcome is None:
        staging = execution.staging
        share = f"{words.percent(staging.done / staging.total)} of " if staging.total else ""
        return f"{share}{words.size(staging.total or staging.done)}, {words.size(staging.rate)}/s"
    return task.reason


def _time(execution: ExecutionView | None, now: datetime) -> Line:
    seconds = None if execution is None else timeline.ran(execution, now)
    if seconds is None or execution is None:
        return text("")
    return text(words.duration(seconds), "plain" if execution.outcome is None else "dim")


def _tries(task: TaskRow) -> str:
    return str(task.attempt) if task.attempt else ""


# --- orders: a cursor of each row, as the server makes them


def _micros(at: datetime) -> int:
    return (at - _BEGINNING) // timedelta(microseconds=1)


def _by_id(row: TaskRow) -> int:
    return row.id


def _by_change(row: TaskRow) -> int:
    return _micros(row.changed_at) * _ID_STEP + row.id


def _by_priority(row: TaskRow) -> int:
    return (limits.PRIORITY - row.priority) * _ID_STEP + row.id


def _one(number: int) -> str:
    return str(number)


def _two(number: int) -> str:
    return f"{number // _ID_STEP}.{number % _ID_STEP}"


# A number for each row, its cursor, and whether the number falls along the list.
_SORTS: Final[dict[Sort, tuple[Callable[[TaskRow], int], Callable[[int], str], bool]]] = {
    "id": (_by_id, _one, True),
    "changed": (_by_change, _two, True),
    "priority": (_by_priority, _two, False),
}


def order(sort: Sort, *, oldest_first: bool) -> Order[TaskRow]:
    """The order of a list of tasks."""
    number, cursor, falls = _SORTS[sort]
    sign = -1 if falls != oldest_first else 1
    return Order(
        cursor=lambda row: cursor(number(row)),
        number=lambda row: sign * number(row),
        guess=lambda value: cursor(max(0, sign * value)),
        key=lambda row: row.id,
        last=-1 if sort == "id" and not oldest_first else None,
    )
