"""What the machine makes of the ends that only containers have."""

import pytest

from pytq.schema.states import Cause, Outcome
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import WorkerSettings
from pytq.worker import moves
from pytq.worker.machine import Machine
from pytq.worker.moves import Event, Verdict

REF = (1, 1)


def verdict_of(*ends: Event, steps: int = 1) -> Verdict:
    """How an execution in containers ends that is leased, staged and then sees these events."""
    step = {"command": ["x"], "container": "alpine"}
    machine = Machine(WorkerSettings(concurrency=1))
    machine.on(moves.SettingsChanged(WorkerSettings(concurrency=1)), 0.0)
    machine.on(moves.Leased(REF, TaskSpec.model_validate({"steps": [step] * steps})), 0.0)
    actions = machine.on(moves.StagedIn(REF), 1.0)
    for event in ends:
        actions = machine.on(event, 2.0)
        machine.validate()
    (told,) = [action for action in actions if isinstance(action, moves.TellEnded)]
    return told.verdict


@pytest.mark.parametrize(
    ("end", "outcome", "cause", "said"),
    [
        (
            moves.StepExited(REF, 0, 137, cause="oom", detail="its limit is 5 MiB"),
            *(Outcome.FAILED, Cause.OOM, "the command ran out of memory: its limit is 5 MiB"),
        ),
        (
            moves.StepExited(REF, 0, 143, 15),
            *(Outcome.FAILED, Cause.SIGNAL, "the command was ended by SIGTERM (exit code 143)"),
        ),
        (
            moves.StepExited(REF, 0, 0, cause="dockerd restarted"),
            *(Outcome.LOST, Cause.LOST, "dockerd was restarted under it"),
        ),
        (
            moves.StepExited(REF, 0, signal=9, full="/ is full"),
            *(Outcome.LOST, Cause.DISK, "the command failed while there was no room: / is full"),
        ),
        (
            moves.StepExited(REF, 0, signal=9, cause="output", detail="/x: Permission denied"),
            *(Outcome.FAILED, Cause.OUTPUT, "the command was ended: /x: Permission denied"),
        ),
        (
            moves.StepFailedToStart(REF, 0, "no dockerd", Cause.REFUSED, transient=True),
            *(Outcome.REFUSED, Cause.REFUSED, "no dockerd"),
        ),
        (
            moves.StepFailedToStart(REF, 0, "docker: no such program"),
            *(Outcome.FAILED, Cause.COMMAND, "docker: no such program"),
        ),
    ],
)
def test_ends_of_containers(end: Event, outcome: Outcome, cause: Cause, said: str) -> None:
    """What Docker did is never the task's fault, and what the task did is told in its words."""
    verdict = verdict_of(end)

    assert (verdict.outcome, verdict.cause, verdict.detail) == (outcome, cause, said)


def test_what_nobody_measured_is_not_said_to_be_nothing() -> None:
    """A container that ended before anybody looked has no CPU time, rather than none used."""
    unknown = verdict_of(moves.StepExited(REF, 0, 0))
    known = verdict_of(
        moves.StepExited(REF, 0, 0, cpu=1.5, memory=10),
        moves.StepExited(REF, 1, 0),
        moves.StepExited(REF, 2, 0, cpu=2.0, memory=7),
        steps=3,
    )

    assert (unknown.cpu, unknown.memory) == (None, None)
    assert (known.cpu, known.memory) == (3.5, 10)
