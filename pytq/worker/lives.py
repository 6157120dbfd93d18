"""The life of one execution: which event may come in which phase, and what follows. Pure."""

# Every move has the same shape, whether or not it needs all it is given.
# ruff: noqa: ARG001

from collections.abc import Callable
from typing import Any, Final

from pytq.schema.states import Cause, Outcome, Phase, Signal
from pytq.worker import verdicts
from pytq.worker.holdings import Execution, Holdings
from pytq.worker.moves import (
    DeadlinePassed,
    ExecutionEvent,
    Fenced,
    Settled,
    Signalled,
    StagedIn,
    StagedOut,
    StageInFailed,
    StageOutFailed,
    StartStep,
    StepExited,
    StepFailedToStart,
    StepStarted,
    StopStaging,
    TellPhase,
    Withdrawn,
)

Move = Callable[[Holdings, Execution, Any, float], None]


def _staged_in(holdings: Holdings, execution: Execution, event: StagedIn, now: float) -> None:
    holdings.enter(execution, Phase.READY, now)


def _stage_in_failed(
    holdings: Holdings, execution: Execution, event: StageInFailed, now: float
) -> None:
    elsewhere = event.transient or event.cause is Cause.DISK
    outcome = Outcome.REFUSED if elsewhere else Outcome.FAILED
    holdings.end(execution, now, verdicts.Finding(outcome, event.cause, event.detail))


def _step_failed(
    holdings: Holdings, execution: Execution, event: StepFailedToStart, now: float
) -> None:
    if event.step != execution.step:
        return
    elsewhere = event.transient or event.cause is Cause.DISK
    outcome = Outcome.REFUSED if elsewhere else Outcome.FAILED
    finding = execution.why and verdicts.ENDED_FOR[execution.why]
    finding = finding or verdicts.Finding(outcome, event.cause, event.detail)
    if event.step:
        holdings.carry_away(execution, now, finding)
    else:
        holdings.end(execution, now, finding)


def _step_exited(holdings: Holdings, execution: Execution, event: StepExited, now: float) -> None:
    if event.step != execution.step:
        return  # told twice
    execution.exit_code = event.code
    if event.step == 0 and event.ran:
        execution.entered[Phase.RUNNING] = now - event.ran
    if event.memory:  # a container that ended at once has told nothing of either
        execution.cpu = (execution.cpu or 0.0) + event.cpu
        execution.memory = max(execution.memory or 0, event.memory)
    steps = execution.spec.steps
    last = event.step + 1 == len(steps)
    finding = verdicts.of_exit(event, execution.why, len(steps))
    if steps[event.step].ignore_error and finding.cause in verdicts.IGNORABLE:
        finding = verdicts.SUCCEEDED
    if finding.outcome is Outcome.SUCCEEDED and not last and holdings.passed:
        finding = verdicts.ENDED_FOR["lease"]
    if finding.outcome is not Outcome.SUCCEEDED or last:
        holdings.carry_away(execution, now, finding)
    else:
        execution.step += 1
        holdings.actions.append(StartStep(execution.ref, execution.step))


def _staged_out(holdings: Holdings, execution: Execution, event: StagedOut, now: float) -> None:
    holdings.end(execution, now, execution.due or verdicts.SUCCEEDED)


def _stage_out_failed(
    holdings: Holdings, execution: Execution, event: StageOutFailed, now: float
) -> None:
    holdings.end(execution, now, verdicts.of_lost_output(execution.due, event.detail))


def _late(holdings: Holdings, execution: Execution, event: DeadlinePassed, now: float) -> None:
    if event.phase is not execution.phase or execution.why:
        return
    if event.phase is Phase.RUNNING:
        execution.why = "timeout"
        holdings.signal(execution, Signal.TERM)
    else:
        finding = verdicts.of_timeout(event.phase, execution.spec.timeouts)
        holdings.leave(execution, now, finding)


def _signalled(holdings: Holdings, execution: Execution, event: Signalled, now: float) -> None:
    """A person's wish, for an execution whose processes run."""
    ending = event.signal in (Signal.TERM, Signal.KILL)
    if ending:
        execution.why = execution.why or "cancelled"
    else:
        execution.paused = event.signal is Signal.PAUSE
        at = execution.entered.get(execution.phase, now)
        told = TellPhase(execution.ref, execution.phase, at, execution.paused)
        holdings.actions.append(told)
    holdings.signal(execution, event.signal)


def _signalled_idle(holdings: Holdings, execution: Execution, event: Signalled, now: float) -> None:
    """A person's wish, for an execution without processes."""
    if event.signal in (Signal.TERM, Signal.KILL):
        holdings.leave(execution, now, verdicts.CANCELLED)
    elif execution.phase is not Phase.UPLOADING:
        execution.paused = event.signal is Signal.PAUSE


def _fenced(holdings: Holdings, execution: Execution, event: Fenced, now: float) -> None:
    if execution.ref in holdings.queue:
        execution.fenced = True
        holdings.leave(execution, now, verdicts.RETURNED)
        return
    if execution.phase is Phase.RUNNING:
        execution.fenced, execution.why = True, "fenced"
        holdings.signal(execution, Signal.KILL)
        return
    if execution.phase in (Phase.DOWNLOADING, Phase.UPLOADING):
        holdings.actions.append(StopStaging(execution.ref))
    holdings.drop(execution)


def _started(holdings: Holdings, execution: Execution, event: StepStarted, now: float) -> None:
    if execution.ref in holdings.queue:
        holdings.promote(execution, now)


def _withdrawn(holdings: Holdings, execution: Execution, event: Withdrawn, now: float) -> None:
    holdings.queue.pop(execution.ref, None)
    finding = verdicts.CANCELLED if execution.why == "cancelled" else execution.due
    holdings.end(execution, now, finding or verdicts.RETURNED)


def _settled(holdings: Holdings, execution: Execution, event: Settled, now: float) -> None:
    holdings.drop(execution)


def _ignore(holdings: Holdings, execution: Execution, event: ExecutionEvent, now: float) -> None:
    """Nothing more to be done: it is over, or was told twice."""


# Every legal pair of phase and event. A pair that is missing is a bug, and says so.
_ON_TIME: Final[dict[tuple[Phase, type], Move]] = {
    (Phase.ASSIGNED, StepStarted): _started,
    (Phase.ASSIGNED, Withdrawn): _withdrawn,
    (Phase.ASSIGNED, Signalled): _signalled_idle,
    (Phase.ASSIGNED, Fenced): _fenced,
    (Phase.DOWNLOADING, StagedIn): _staged_in,
    (Phase.DOWNLOADING, StageInFailed): _stage_in_failed,
    (Phase.DOWNLOADING, DeadlinePassed): _late,
    (Phase.DOWNLOADING, Signalled): _signalled_idle,
    (Phase.DOWNLOADING, Fenced): _fenced,
    (Phase.READY, DeadlinePassed): _ignore,
    (Phase.READY, Signalled): _signalled_idle,
    (Phase.READY, Fenced): _fenced,
    (Phase.RUNNING, StepStarted): _ignore,
    (Phase.RUNNING, Withdrawn): _withdrawn,
    (Phase.RUNNING, StepFailedToStart): _step_failed,
    (Phase.RUNNING, StepExited): _step_exited,
    (Phase.RUNNING, DeadlinePassed): _late,
    (Phase.RUNNING, Signalled): _signalled,
    (Phase.RUNNING, Fenced): _fenced,
    (Phase.UPLOADING, StagedOut): _staged_out,
    (Phase.UPLOADING, StageOutFailed): _stage_out_failed,
    (Phase.UPLOADING, StepExited): _ignore,
    (Phase.UPLOADING, DeadlinePassed): _late,
    (Phase.UPLOADING, Signalled): _signalled_idle,
    (Phase.UPLOADING, Fenced): _fenced,
    (Phase.ENDED, Settled): _settled,
    (Phase.ENDED, Fenced): _fenced,
}
# An execution may have ended while these were on their way.
_TOO_LATE: Final[dict[tuple[Phase, type], Move]] = {
    (Phase.ENDED, late): _ignore
    for late in (
        StagedIn,
        StageInFailed,
        StepFailedToStart,
        StepStarted,
        Withdrawn,
        StepExited,
        StagedOut,
        StageOutFailed,
        DeadlinePassed,
        Signalled,
    )
}
MOVES: Final = _ON_TIME | _TOO_LATE
