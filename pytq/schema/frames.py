"""What a worker and the server say to each other over the link.

One WebSocket per worker; each text message is one frame, and a frame carries whatever had
gathered while the last one was under way. Every frame may arrive twice without harm: it names
executions by (task, attempt), and numbers are totals, never differences. Times are "seconds ago":
the clocks of two machines are never compared.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter

from pytq.schema import limits
from pytq.schema.states import Cause, Outcome, Phase, Signal, Stream
from pytq.schema.tasks import TaskSpec
from pytq.schema.text import Attempt, Count, Label, Model, Name, Sentence, TaskId
from pytq.schema.views import Cleaning, Load, Pin, ResourceView, Staging, WorkerSettings

PROTOCOL: Final = 1

# An execution by name: its task, and the attempt that is its fence.
Ref = tuple[TaskId, Attempt]
Ago = Annotated[float, Field(ge=0, le=limits.AGO_SECONDS)]
Text64 = Annotated[str, Field(max_length=limits.CHUNK_BYTES * 2)]
ExitCode = Annotated[int, Field(ge=-(2**31), lt=2**32)]
_Many: Any = Field(default_factory=list, max_length=limits.REFS_PER_FRAME)


class Held(Model):
    """An execution that a worker holds when it says hello."""

    task: TaskId
    attempt: Attempt
    phase: Phase


class Hello(Model):
    """A worker's first words."""

    type: Literal["hello"] = "hello"
    protocol: Count
    version: Label
    name: Name
    identity: Name  # lives as long as the worker's journal; its root as long as its folder
    incarnation: Name  # lives as long as the agent's process
    boot: Label
    hostname: Label
    batch: Name
    concurrency: Annotated[int, Field(ge=0, le=limits.CONCURRENCY)]
    prefetch: Annotated[int, Field(ge=0, le=limits.PREFETCH)]
    cpus: Count
    memory: Count
    disk: Count
    gpus: Count = 0
    containers: bool = False
    held: list[Held] = _Many


class Progress(Model):
    """An execution entered a phase, or was paused or resumed."""

    task: TaskId
    attempt: Attempt
    phase: Phase
    ago: Ago = 0.0
    paused: bool = False


class Chunk(Model):
    """Bytes of an output stream, base64."""

    task: TaskId
    attempt: Attempt
    stream: Stream
    offset: Count
    data: Text64


class Ended(Model):
    """An execution's outcome and history; said again until the server has settled it."""

    task: TaskId
    attempt: Attempt
    outcome: Outcome
    cause: Cause | None = None
    detail: Sentence = ""
    exit_code: ExitCode | None = None
    downloading: Ago | None = None  # each phase: entered so many seconds ago
    ready: Ago | None = None
    running: Ago | None = None
    uploading: Ago | None = None
    ended: Ago = 0.0
    cpu_seconds: Annotated[float, Field(ge=0, le=limits.ID_MAX)] | None = None
    memory: Count | None = None
    stdout_bytes: Count = 0
    stderr_bytes: Count = 0


class Staged(Model):
    """How far an execution's inputs or outputs have come."""

    task: TaskId
    attempt: Attempt
    staging: Staging


class Report(Model):
    """Everything new on a worker. An empty one is a sign of life."""

    type: Literal["report"] = "report"
    seq: Count
    capacity: Count  # how many open executions it is willing to hold, those it has included
    applied: Count  # the version of the settings in effect
    progress: list[Progress] = _Many
    chunks: list[Chunk] = _Many
    ended: list[Ended] = _Many
    load: Load | None = None
    staging: list[Staged] | None = None  # all that is under way; None: as before
    resources: Annotated[list[ResourceView], Field(max_length=limits.RESOURCES)] | None = None


class Lease(Model):
    """A task handed to a worker, to be run once, as this attempt."""

    task: TaskId
    attempt: Attempt
    name: str | None = None
    spec: TaskSpec


class Order(Model):
    """A signal for an execution."""

    task: TaskId
    attempt: Attempt
    signal: Signal


class Welcome(Model):
    """The server's answer to a hello."""

    type: Literal["welcome"] = "welcome"
    protocol: Count
    worker: Count
    settings: WorkerSettings
    lease_seconds: float
    keep: list[Ref] = Field(default_factory=list)
    fenced: list[Ref] = Field(default_factory=list)  # not yours any more: stop and forget


class Orders(Model):
    """Everything new for a worker."""

    type: Literal["orders"] = "orders"
    answers: Count | None = None  # the last report that was taken in
    leases: list[Lease] = Field(default_factory=list)
    settings: WorkerSettings | None = None
    signals: list[Order] = Field(default_factory=list)
    settled: list[Ref] = Field(default_factory=list)  # their outcome is stored: forget them
    fenced: list[Ref] = Field(default_factory=list)
    take_back: Count = 0  # hand back so many that have not started
    clean: Cleaning | None = None
    pins: list[Pin] = Field(default_factory=list)


class Turned(Model):
    """The server will not have this worker; the text says why and what to do."""

    type: Literal["turned"] = "turned"
    message: str
    final: bool = True  # connecting again would not help


FromWorker = Annotated[Hello | Report, Field(discriminator="type")]
FromServer = Annotated[Welcome | Orders | Turned, Field(discriminator="type")]


def root_of(identity: str) -> str:
    """What stays of a worker's identity when its journal is lost."""
    return identity.partition(".")[0]


from_worker: TypeAdapter[Hello | Report] = TypeAdapter(FromWorker)
from_server: TypeAdapter[Welcome | Orders | Turned] = TypeAdapter(FromServer)
