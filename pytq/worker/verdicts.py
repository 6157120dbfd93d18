"""What the end of a step means: outcome, cause, and a sentence for people."""

import signal
from dataclasses import dataclass
from typing import Final

from pytq.schema.states import Cause, Outcome, Phase
from pytq.schema.tasks import Timeouts
from pytq.worker.moves import StepExited


@dataclass(frozen=True, slots=True)
class Finding:
    """How something ended."""

    outcome: Outcome
    cause: Cause | None = None
    detail: str = ""


SUCCEEDED: Final = Finding(Outcome.SUCCEEDED)
RETURNED: Final = Finding(Outcome.REFUSED, Cause.RETURNED, "handed back before it started")
CANCELLED: Final = Finding(Outcome.CANCELLED, Cause.CANCELLED)
STOPPED: Final = Finding(Outcome.LOST, Cause.LOST, "worker stopped")
REBOOTED: Final = Finding(Outcome.LOST, Cause.LOST, "the machine was restarted under it")
KEEPER_LOST: Final = Finding(
    Outcome.LOST, Cause.LOST, "the process that held the tasks died, and they with it"
)

# Why the keeper ended a task, and what that makes of it.
ENDED_FOR: Final = {
    "cancelled": CANCELLED,
    "timeout": Finding(Outcome.FAILED, Cause.TIMEOUT, "ran longer than its time limit"),
    "lease": Finding(
        Outcome.LOST, Cause.LOST, "stopped, as the server had not been heard for too long"
    ),
    "fenced": Finding(Outcome.LOST, Cause.LOST, "belongs to another worker by now"),
    "stopped": STOPPED,
    "vanished": KEEPER_LOST,
    "rebooted": REBOOTED,
    "dockerd away": Finding(Outcome.LOST, Cause.LOST, "dockerd could not be reached for too long"),
    "dockerd restarted": Finding(Outcome.LOST, Cause.LOST, "dockerd was restarted under it"),
    "removed": Finding(Outcome.LOST, Cause.LOST, "its container was removed by somebody else"),
    "unfed": Finding(
        Outcome.LOST, Cause.LOST, "the connection broke that brought the command its stdin"
    ),
}

# What else can end a container, to be told with a detail of its own.
FAILED_BY: Final = {
    "oom": (Cause.OOM, "ran out of memory"),
    "output": (Cause.OUTPUT, "was ended"),
}

# What `ignore_error` looks away from: the command's own doing.
IGNORABLE: Final = frozenset({Cause.EXIT, Cause.SIGNAL})

# What a command may have explained itself, in the last lines of its stderr.
EXPLAINED: Final = frozenset({Cause.EXIT, Cause.SIGNAL, Cause.OOM, Cause.TIMEOUT})

# Outputs are carried away after these; of the others nobody waits for any.
WITH_OUTPUTS: Final = frozenset({Outcome.SUCCEEDED, Outcome.FAILED})


def of_exit(event: StepExited, why: str, steps: int) -> Finding:
    """What a step's end makes of its execution; `why` is what it was told to end for, if it was."""
    what = "the command" if steps == 1 else f"step {event.step + 1}"
    by_order = ENDED_FOR.get(event.cause)
    if by_order is not None:
        return by_order
    last = event.step + 1 == steps
    if why and not (event.code == 0 and last):  # it ended just before the order reached it
        return ENDED_FOR[why]
    if event.full and (event.code or event.signal):
        return Finding(
            Outcome.LOST, Cause.DISK, f"{what} failed while there was no room: {event.full}"
        )
    return _of_own_end(event, what)


def _of_own_end(event: StepExited, what: str) -> Finding:
    """What it makes of an execution that its command ended without being told to."""
    if event.cause in FAILED_BY:
        cause, sentence = FAILED_BY[event.cause]
        return Finding(Outcome.FAILED, cause, f"{what} {sentence}: {event.detail}")
    if event.signal is not None:
        code = f" (exit code {event.code})" if event.code else ""
        detail = f"{what} was ended by {_name(event.signal)}{code}"
        return Finding(Outcome.FAILED, Cause.SIGNAL, detail)
    if event.code:
        return Finding(Outcome.FAILED, Cause.EXIT, f"{what} ended with exit code {event.code}")
    return SUCCEEDED


def of_lost_output(due: Finding | None, detail: str) -> Finding:
    """What it makes of an execution that its output is not safe."""
    if due is None or due.outcome is Outcome.SUCCEEDED:
        return Finding(Outcome.FAILED, Cause.OUTPUT, detail)
    return Finding(due.outcome, due.cause, f"{due.detail}; and its output is not safe: {detail}")


def timeout(timeouts: Timeouts, phase: Phase) -> float | None:
    """How long a phase may take."""
    match phase:
        case Phase.DOWNLOADING:
            return timeouts.download
        case Phase.RUNNING:
            return timeouts.run
        case Phase.UPLOADING:
            return timeouts.upload
        case _:
            return None


def of_timeout(phase: Phase, timeouts: Timeouts) -> Finding:
    """What it makes of an execution that its inputs or outputs took too long."""
    what = "inputs" if phase is Phase.DOWNLOADING else "outputs"
    seconds = timeout(timeouts, phase)
    return Finding(Outcome.FAILED, Cause.TIMEOUT, f"its {what} took longer than {seconds:g} s")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
