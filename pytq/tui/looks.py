"""What each state looks like: a glyph, a word and a tone. Never a colour alone."""

from typing import Final, NamedTuple

from pytq.schema.recruit import JobStatus
from pytq.schema.states import Outcome, Phase, Signal, TaskStatus, WorkerStatus
from pytq.schema.views import ExecutionView
from pytq.tui.cells import Line, Span, Tone


class Look(NamedTuple):
    """How a state shows."""

    glyph: str
    word: str
    tone: Tone

    @property
    def line(self) -> Line:
        """Glyph and word."""
        return (Span(f"{self.glyph} {self.word}", self.tone),)


TASK: Final[dict[TaskStatus, Look]] = {
    TaskStatus.WAITING: Look("◌", "waiting", "dim"),
    TaskStatus.PENDING: Look("○", "pending", "wait"),
    TaskStatus.ACTIVE: Look("◐", "active", "busy"),
    TaskStatus.SUCCEEDED: Look("✓", "succeeded", "good"),
    TaskStatus.FAILED: Look("✗", "failed", "bad"),
    TaskStatus.CANCELLED: Look("⊘", "cancelled", "odd"),
}
WORKER: Final[dict[WorkerStatus, Look]] = {
    WorkerStatus.ONLINE: Look("●", "online", "good"),
    WorkerStatus.OFFLINE: Look("✗", "offline", "bad"),
    WorkerStatus.PAUSED: Look("‖", "paused", "warn"),
    WorkerStatus.DRAINING: Look("▽", "draining", "odd"),
    WorkerStatus.GONE: Look("⊘", "gone", "dim"),
}
PHASE: Final[dict[Phase, Look]] = {
    Phase.ASSIGNED: Look("·", "assigned", "dim"),
    Phase.DOWNLOADING: Look("↓", "downloading", "wait"),
    Phase.READY: Look("◔", "ready", "wait"),
    Phase.RUNNING: Look("►", "running", "busy"),
    Phase.UPLOADING: Look("↑", "uploading", "odd"),
    Phase.ENDED: Look("■", "ended", "dim"),
}
OUTCOME: Final[dict[Outcome, Look]] = {
    Outcome.SUCCEEDED: TASK[TaskStatus.SUCCEEDED],
    Outcome.FAILED: TASK[TaskStatus.FAILED],
    Outcome.CANCELLED: TASK[TaskStatus.CANCELLED],
    Outcome.LOST: Look("?", "lost", "warn"),
    Outcome.REFUSED: Look("↩", "refused", "dim"),
}
JOB: Final[dict[JobStatus, Look]] = {
    JobStatus.PENDING: Look("○", "pending", "wait"),
    JobStatus.RUNNING: Look("►", "running", "busy"),
    JobStatus.SUCCEEDED: Look("✓", "succeeded", "good"),
    JobStatus.FAILED: Look("✗", "failed", "bad"),
    JobStatus.CANCELLED: Look("⊘", "cancelled", "odd"),
}
GOING: Final = Look("►", "going", "good")
PAUSED: Final = Look("‖", "paused", "warn")
ENDING: Final = Look("▽", "ending", "odd")


def of_execution(execution: ExecutionView) -> Look:
    """How an execution shows: its outcome once it has one, until then its phase or how it ends."""
    if execution.outcome is not None:
        return OUTCOME[execution.outcome]
    if execution.stop_wanted in (Signal.TERM, Signal.KILL):
        return ENDING
    if execution.paused and execution.phase is Phase.RUNNING:
        return PAUSED
    return PHASE[execution.phase]
