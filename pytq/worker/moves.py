"""What happens to a worker (events, in the past tense) and what it does (actions, imperative).

Events go into the machine, actions come out of it; both are plain facts without behaviour, and
nobody changes one. (They are not `frozen`: that makes them four times as slow to create.)
"""

from dataclasses import dataclass, field

from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Outcome, Phase, Signal
from pytq.schema.tasks import TaskSpec
from pytq.schema.views import WorkerSettings

# --- events


@dataclass(slots=True)
class Leased:
    """The server handed over an execution, and the journal has it."""

    ref: Ref
    spec: TaskSpec


@dataclass(slots=True)
class Restored:
    """An execution of the agent before this one was found again."""

    ref: Ref
    spec: TaskSpec
    phase: Phase
    step: int = 0
    since: float = 0.0  # when it entered the phase
    cpu: float = 0.0  # of the steps before this one
    memory: int = 0


@dataclass(slots=True)
class StagedIn:
    """All inputs are in place."""

    ref: Ref


@dataclass(slots=True)
class StageInFailed:
    """An input or an image cannot be had; the detail names it."""

    ref: Ref
    detail: str
    cause: Cause = Cause.INPUT
    transient: bool = False  # another time, or on another worker, it may well be had


@dataclass(slots=True)
class StepStarted:
    """The keeper had started what it was asked to give back."""

    ref: Ref


@dataclass(slots=True)
class Withdrawn:
    """The keeper gave a start back; nothing of it ran."""

    ref: Ref


@dataclass(slots=True)
class StepFailedToStart:
    """A step could not be started; nothing of it ran."""

    ref: Ref
    step: int
    detail: str
    cause: Cause = Cause.COMMAND
    transient: bool = False  # on another worker, it may well start


@dataclass(slots=True)
class StepExited:
    """A step has ended, and its whole process tree with it."""

    ref: Ref
    step: int
    code: int | None = None
    signal: int | None = None
    cpu: float = 0.0
    memory: int = 0
    cause: str = ""  # why it was ended, in a word; empty when it ended by itself
    ran: float = 0.0  # seconds
    full: str = ""  # the disk that was full when it failed, in words
    detail: str = ""  # more about the cause


@dataclass(slots=True)
class StagedOut:
    """All outputs are safe."""

    ref: Ref


@dataclass(slots=True)
class StageOutFailed:
    """An output could not be made safe; the detail names it."""

    ref: Ref
    detail: str


@dataclass(slots=True)
class DeadlinePassed:
    """A phase took longer than its task allows."""

    ref: Ref
    phase: Phase


@dataclass(slots=True)
class Signalled:
    """A person wants an execution paused, resumed or ended."""

    ref: Ref
    signal: Signal


@dataclass(slots=True)
class Settled:
    """The server has stored the outcome."""

    ref: Ref


@dataclass(slots=True)
class Fenced:
    """The execution is not ours any more."""

    ref: Ref


@dataclass(slots=True)
class SettingsChanged:
    """An operator turned a knob."""

    settings: WorkerSettings


@dataclass(slots=True)
class TookBack:
    """The server wants so many executions that have not started."""

    count: int


@dataclass(slots=True)
class DiskLookedAt:
    """Whether this machine's disk takes more was looked at; `full` says why not, if it does not."""

    full: str


@dataclass(slots=True)
class LeaseLookedAt:
    """Whether the server has been heard lately was looked at; `passed`: not for a whole lease."""

    passed: bool


@dataclass(slots=True)
class QueueLost:
    """The keeper knows nothing of the starts it had queued."""


@dataclass(slots=True)
class WorkerStopped:
    """This worker is to end, with all that runs on it."""


@dataclass(slots=True)
class Ticked:
    """A little time has passed."""


ExecutionEvent = (
    StagedIn
    | StageInFailed
    | StepStarted
    | StepFailedToStart
    | Withdrawn
    | StepExited
    | StagedOut
    | StageOutFailed
    | DeadlinePassed
    | Signalled
    | Settled
    | Fenced
)
Circumstance = DiskLookedAt | LeaseLookedAt | QueueLost | WorkerStopped | Ticked
Event = ExecutionEvent | Leased | Restored | SettingsChanged | TookBack | Circumstance

# --- actions


@dataclass(slots=True)
class StageIn:
    """Bring the inputs."""

    ref: Ref


@dataclass(slots=True)
class StartStep:
    """Have the keeper start a step: now, or when a slot is free."""

    ref: Ref
    step: int
    ahead: bool = False


@dataclass(slots=True)
class Withdraw:
    """Have the keeper give a queued start back, if it can."""

    ref: Ref


@dataclass(slots=True)
class SetSlots:
    """Tell the keeper how many of those it has queued may run at once."""

    count: int


@dataclass(slots=True)
class StageOut:
    """Carry the outputs away."""

    ref: Ref


@dataclass(slots=True)
class StopStaging:
    """Nobody wants these inputs or outputs any more."""

    ref: Ref


@dataclass(slots=True)
class SendSignal:
    """Have the keeper signal the process tree of a step."""

    ref: Ref
    step: int
    signal: Signal
    cause: str


@dataclass(slots=True)
class SetDeadline:
    """Feed `DeadlinePassed` in so many seconds, should the phase last."""

    ref: Ref
    phase: Phase
    seconds: float


@dataclass(slots=True)
class TellPhase:
    """Tell the server that a phase was entered, or that it is paused."""

    ref: Ref
    phase: Phase
    at: float
    paused: bool = False


@dataclass(slots=True)
class Verdict:
    """How an execution ended, with its history. Times are this machine's, since boot."""

    outcome: Outcome
    ended: float
    cause: Cause | None = None
    detail: str = ""
    exit_code: int | None = None
    entered: dict[Phase, float] = field(default_factory=dict)
    cpu: float | None = None
    memory: int | None = None


@dataclass(slots=True)
class TellEnded:
    """Write the verdict down, then tell it until it is settled."""

    ref: Ref
    verdict: Verdict
    steps: int  # so many the keeper may forget


@dataclass(slots=True)
class Drop:
    """Forget the execution altogether: it is settled, or another's."""

    ref: Ref
    steps: int = 0


Action = (
    StageIn
    | StartStep
    | Withdraw
    | SetSlots
    | StageOut
    | StopStaging
    | SendSignal
    | SetDeadline
    | TellPhase
    | TellEnded
    | Drop
)
