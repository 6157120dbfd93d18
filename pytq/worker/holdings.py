"""What a worker holds: executions by phase, slots, and the ways in and out. Pure."""

import math
from dataclasses import dataclass, field
from typing import Final

from pytq.schema import limits
from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Outcome, Phase, Signal
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import WorkerSettings
from pytq.worker import verdicts
from pytq.worker.moves import (
    Action,
    Drop,
    Event,
    SendSignal,
    SetDeadline,
    StageOut,
    StopStaging,
    TellEnded,
    TellPhase,
    Verdict,
    Withdraw,
)

AHEAD_SECONDS: Final = 0.02  # so much work is queued at the keeper
SHORT_SECONDS: Final = 0.25  # a task that takes longer needs no pipeline
PIPELINE_SECONDS: Final = 0.15  # gathering a report, and its answer, generously
WEIGHT: Final = 0.2  # of the latest execution in the mean


@dataclass(slots=True, eq=False)
class Execution:
    """One execution that this worker holds."""

    ref: Ref
    spec: TaskSpec
    phase: Phase = Phase.ASSIGNED
    step: int = 0
    leased: float = 0.0
    paused: bool = False
    fenced: bool = False
    why: str = ""  # why it was told to end: a cause that the keeper repeats
    due: verdicts.Finding | None = None  # its outcome, should the outputs be safe
    exit_code: int | None = None
    cpu: float | None = None
    memory: int | None = None
    entered: dict[Phase, float] = field(default_factory=dict)
    story: list[Event] = field(default_factory=list)

    @property
    def simple(self) -> bool:
        """Whether its slot is free the moment its process has ended."""
        spec = self.spec
        plain = len(spec.steps) == 1 and spec.steps[0].container is None
        return plain and not (spec.mounts or spec.outputs)

    @property
    def staged(self) -> bool:
        """Whether something must be in place before it can run: inputs, or an image."""
        return bool(self.spec.mounts) or self.spec.needs_container


class Holdings:
    """All executions of a worker."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.greeted = False  # the server may have fenced what is held: start nothing before
        self.passed = False  # the lease has: what is held may be somebody else's by now
        self.stopping = False
        self.full = ""  # why the disk takes no more; empty when it does
        self.executions: dict[Ref, Execution] = {}
        self.phases: dict[Phase, dict[Ref, Execution]] = {phase: {} for phase in Phase}
        self.queue: dict[Ref, Execution] = {}  # of those assigned, the keeper's to start
        self.complex: set[Ref] = set()  # of those that run, not simple
        self.ceiling = settings.concurrency  # busy slots that are legal since the last change
        self.mean = math.inf  # seconds that recent executions kept a slot
        self.pipeline = 0  # leases to hold ahead, untouched
        self.ahead = 0  # of these, to have queued at the keeper, so that it never waits for us
        self.actions: list[Action] = []

    # --- what others may ask

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return len(self.phases[Phase.RUNNING]) + len(self.phases[Phase.UPLOADING])

    @property
    def room(self) -> int:
        """How many executions may be anything but untouched."""
        return self.settings.concurrency + self.settings.prefetch

    @property
    def closed(self) -> bool:
        """Whether nothing new may start."""
        return self.stopping or self.settings.paused or self.settings.draining

    def pace(self, mean: float) -> None:
        """Executions have kept a slot for so many seconds of late: see how far to look ahead."""
        self.mean = mean
        self.pipeline = self.ahead = 0
        slots = self.settings.concurrency
        if slots and mean < SHORT_SECONDS:
            rate = slots / max(mean, 1e-3)
            self.pipeline = min(limits.PIPELINE, math.ceil(rate * PIPELINE_SECONDS))
            self.ahead = max(slots, math.ceil(min(rate * AHEAD_SECONDS, self.pipeline)))

    @property
    def capacity(self) -> int:
        """How many open executions this worker is willing to hold."""
        return 0 if self.closed or self.full else self.room + self.pipeline

    @property
    def hungry(self) -> bool:
        """Whether the next free slot would stay empty, or nothing is fetched ahead for it."""
        if self.phases[Phase.ASSIGNED]:
            return False
        return self.settings.prefetch > 0 or not (
            self.phases[Phase.READY] or self.phases[Phase.DOWNLOADING]
        )

    def add(self, execution: Execution, event: Event) -> None:
        """Take an execution in."""
        execution.story.append(event)
        self.executions[execution.ref] = execution
        self.phases[execution.phase][execution.ref] = execution

    def enter(self, execution: Execution, phase: Phase, now: float) -> None:
        """Go on to a phase; tell it, and watch its time limit."""
        del self.phases[execution.phase][execution.ref]
        execution.phase = phase
        execution.entered[phase] = now
        self.phases[phase][execution.ref] = execution
        if phase is Phase.RUNNING and not execution.simple:
            self.complex.add(execution.ref)
        if phase is not Phase.ENDED:
            self.actions.append(TellPhase(execution.ref, phase, now))
            seconds = verdicts.timeout(execution.spec.timeouts, phase)
            if seconds is not None:
                self.actions.append(SetDeadline(execution.ref, phase, seconds))

    def promote(self, execution: Execution, now: float) -> None:
        """The keeper has started what was queued."""
        del self.queue[execution.ref]
        due, execution.due = execution.due, None
        self.enter(execution, Phase.RUNNING, now)
        self.ceiling = max(self.ceiling, self.busy)
        if execution.fenced:
            execution.why = "fenced"
            self.signal(execution, Signal.KILL)
        elif due is verdicts.CANCELLED:
            execution.why = "cancelled"
            self.signal(execution, Signal.TERM)
        elif execution.paused:
            self.signal(execution, Signal.PAUSE)

    def carry_away(self, execution: Execution, now: float, finding: verdicts.Finding) -> None:
        """Stage the outputs out, of a failure too; of what nobody waits for, not."""
        if execution.spec.outputs and finding.outcome in verdicts.WITH_OUTPUTS:
            execution.due = finding
            self.enter(execution, Phase.UPLOADING, now)
            if not self.passed:
                self.actions.append(StageOut(execution.ref))
        else:
            self.end(execution, now, finding)

    def signal(self, execution: Execution, signal: Signal) -> None:
        """Have the processes of an execution signalled."""
        order = SendSignal(execution.ref, execution.step, signal, execution.why)
        self.actions.append(order)

    def leave(self, execution: Execution, now: float, finding: verdicts.Finding) -> None:
        """End an execution that has no processes, whatever it was doing."""
        if execution.ref in self.queue:
            if execution.due is None:
                self.actions.append(Withdraw(execution.ref))
            if execution.due is not verdicts.CANCELLED:
                execution.due = finding
            return
        if execution.phase in (Phase.DOWNLOADING, Phase.UPLOADING):
            self.actions.append(StopStaging(execution.ref))
        self.end(execution, now, finding)

    def end(self, execution: Execution, now: float, finding: verdicts.Finding) -> None:
        """Give an execution its outcome."""
        if finding.cause is Cause.DISK:
            self.full = finding.detail  # what comes next would fare no better
        started = execution.entered.get(Phase.RUNNING)
        if started is not None and finding.outcome is not Outcome.LOST:
            spent = now - started
            known = math.isfinite(self.mean)
            self.pace(self.mean + WEIGHT * (spent - self.mean) if known else spent)
        if execution.fenced:
            self.drop(execution)
            return
        self.complex.discard(execution.ref)
        self.enter(execution, Phase.ENDED, now)
        verdict = Verdict(
            finding.outcome,
            execution.entered.pop(Phase.ENDED),
            finding.cause,
            finding.detail,
            execution.exit_code,
            execution.entered,
            execution.cpu,
            execution.memory,
        )
        steps = 0 if started is None else execution.step + 1
        self.actions.append(TellEnded(execution.ref, verdict, steps))

    def drop(self, execution: Execution) -> None:
        """Let an execution go, and all that is kept of it."""
        self.complex.discard(execution.ref)
        self.queue.pop(execution.ref, None)
        del self.executions[execution.ref]
        del self.phases[execution.phase][execution.ref]
        started = Phase.RUNNING in execution.entered
        self.actions.append(Drop(execution.ref, execution.step + 1 if started else 0))
