"""A small world that never changes by itself: batches, workers, tasks, jobs, events, a history."""

from dataclasses import dataclass, field

import scenery
from things import (
    EXIT,
    GIB,
    MIB,
    NOW,
    OOM,
    STDERR,
    STDOUT,
    VERSION,
    ago,
    batch,
    execution,
    task,
    worker,
)

from pytq.schema import limits
from pytq.schema.recruit import JobView, ProviderView
from pytq.schema.states import Cause, Outcome, Phase, TaskStatus, WorkerStatus
from pytq.schema.stream import Changes, Point, Snapshot
from pytq.schema.views import (
    BatchView,
    Counts,
    Disk,
    EventView,
    ExecutionView,
    FailureView,
    Reason,
    ResourceView,
    ServerInfo,
    Staging,
    TaskView,
    Transfer,
    WorkerSettings,
    WorkerView,
)


@dataclass
class World:
    """What a server would know."""

    batches: dict[str, BatchView] = field(default_factory=dict)
    workers: dict[str, WorkerView] = field(default_factory=dict)
    tasks: dict[int, TaskView] = field(default_factory=dict)
    executions: dict[tuple[int, int], ExecutionView] = field(default_factory=dict)
    outputs: dict[tuple[int, int, str], bytes] = field(default_factory=dict)
    jobs: dict[int, JobView] = field(default_factory=dict)
    logs: dict[int, str] = field(default_factory=dict)
    events: list[EventView] = field(default_factory=list)
    history: list[Point] = field(default_factory=list)
    failures: dict[str, list[FailureView]] = field(default_factory=dict)
    resources: dict[str, list[ResourceView]] = field(default_factory=dict)
    providers: list[ProviderView] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        sums = Counts().model_dump()
        for view in self.batches.values():
            for status, amount in view.counts.model_dump().items():
                sums[status] += amount
        return Counts(**sums)

    @property
    def server(self) -> ServerInfo:
        return ServerInfo(
            version=VERSION,
            api="v1",
            protocol=1,
            database="postgresql",
            started_at=ago(days=3),
            now=NOW,
            workers_connected=sum(
                w.status is not WorkerStatus.OFFLINE for w in self.workers.values()
            ),
            counts=self.counts,
        )

    def snapshot(self) -> Snapshot:
        return Snapshot(
            server=self.server,
            batches=list(self.batches.values()),
            workers=list(self.workers.values()),
            jobs=list(self.jobs.values()),
            events=self.events[-limits.STREAM_EVENTS :],
            history=self.history,
        )

    def changes(self, **parts: object) -> Changes:
        return Changes.model_validate({"server": self.server, **parts}, strict=False)


def _tasks(world: World) -> None:
    for number in range(1, 401):
        if number % 29 == 11:
            reason = OOM if number % 2 else EXIT
            _failed(world, number, reason)
        elif number <= 260:
            view = task(number, TaskStatus.SUCCEEDED, attempt=1)
            _ended(world, number, Outcome.SUCCEEDED, exit_code=0)
        elif number <= 320:
            view = _active(world, number)
        elif number <= 390:
            view = task(number, TaskStatus.PENDING, changed_at=ago(hours=1))
        else:
            view = task(
                number, TaskStatus.WAITING, requirements=[number - 100], name=f"merge {number}"
            )
        if number % 29 != 11:
            world.tasks[number] = view


def _active(world: World, number: int) -> TaskView:
    more: dict[str, object] = {}
    if number % 9 == 0:
        staging = Staging(
            direction="in",
            done=1_610 * MIB,
            total=3_400 * MIB,
            rate=31.5 * MIB,
            eta=57.0,
            transfers=[
                Transfer(
                    uri=f"ftp://ftp.sra.example.org/SRR{890900 + number}_1.fastq.gz",
                    done=1_400 * MIB,
                    total=1_700 * MIB,
                ),
                Transfer(
                    uri=f"ftp://ftp.sra.example.org/SRR{890900 + number}_2.fastq.gz",
                    done=210 * MIB,
                    total=1_700 * MIB,
                ),
            ],
            waiting=1,
        )
        more = {
            "phase": Phase.DOWNLOADING,
            "ready_at": None,
            "running_at": None,
            "staging": staging,
        }
    elif number % 9 == 1:
        more = {"phase": Phase.UPLOADING, "uploading_at": ago(seconds=30)}
    said = b"" if more.get("phase") is Phase.DOWNLOADING else STDOUT
    world.executions[number, 1] = execution(number, stdout_bytes=len(said), stderr_bytes=0, **more)
    world.outputs[number, 1, "stdout"] = said
    return task(number, TaskStatus.ACTIVE, attempt=1, changed_at=ago(minutes=12))


def _ended(world: World, number: int, outcome: Outcome, attempt: int = 1, **more: object) -> None:
    start = 40 + 35 * (3 - attempt)
    world.executions[number, attempt] = execution(
        number,
        attempt,
        phase=Phase.ENDED,
        outcome=outcome,
        assigned_at=ago(minutes=start),
        downloading_at=ago(minutes=start - 0.1),
        ready_at=ago(minutes=start - 4),
        running_at=ago(minutes=start - 4.5),
        uploading_at=ago(minutes=start - 25) if outcome is Outcome.SUCCEEDED else None,
        ended_at=ago(minutes=start - 27),
        cpu_seconds=4_312.0,
        memory=13 * GIB,
        **more,
    )


def _failed(world: World, number: int, reason: Reason) -> None:
    for attempt in (1, 2, 3):
        lost = attempt == 1
        _ended(
            world,
            number,
            Outcome.LOST if lost else Outcome.FAILED,
            attempt,
            exit_code=None if lost else 3,
            reason=Reason(cause=Cause.LOST, detail="its worker was lost") if lost else reason,
            worker=f"vm-{(number + attempt) % 24 + 1:02}",
            stdout_bytes=len(STDOUT),
            stderr_bytes=len(STDERR),
        )
        world.outputs[number, attempt, "stdout"] = STDOUT
        world.outputs[number, attempt, "stderr"] = STDERR
    world.tasks[number] = task(
        number, TaskStatus.FAILED, failures=2, losses=1, retries=1, attempt=3, reason=reason
    )


def _batches(world: World) -> None:
    counts: dict[str, int] = {}
    for view in world.tasks.values():
        counts[view.status] = counts.get(view.status, 0) + 1
    counts = {status: amount * 211 for status, amount in counts.items()}
    for view in (
        batch("run7", **{**counts, "active": 320}, workers=20),
        batch("assembly", pending=412, active=64, succeeded=1_290, failed=6, workers=3),
        batch("qc-2026", pending=96, succeeded=7),
        batch("thumbnails", pending=1_400, active=0, succeeded=21_033, paused=1, workers=1),
        batch("housekeeping", succeeded=512, cancelled=3),
        batch("default"),
    ):
        world.batches[view.name] = view
    world.failures["run7"] = [
        FailureView(cause=Cause.EXIT, exit_code=3, count=1_477, task=388, detail=EXIT.detail),
        FailureView(cause=Cause.OOM, exit_code=137, count=1_330, task=359, detail=OOM.detail),
        FailureView(
            cause=Cause.INPUT,
            exit_code=None,
            count=147,
            task=301,
            detail="run+fastq://SRR890941/: the archive knows no such run",
        ),
    ]


def _workers(world: World) -> None:
    for number in range(1, 25):
        batch_ = "run7" if number <= 20 else "assembly" if number <= 23 else "thumbnails"
        world.workers[f"vm-{number:02}"] = worker(number, f"vm-{number:02}", batch_)
    low = world.workers["vm-03"].load
    assert low is not None
    disks = [low.disks[0], Disk(path="/scratch", free=int(3.1 * GIB), total=400 * GIB)]
    _change(world, "vm-03", load=low.model_copy(update={"disks": disks, "iowait": 7.0}))
    swap = low.model_copy(update={"swap": 64.0, "memory": 98.0, "iowait": 41.0, "load": 88.1})
    _change(world, "vm-11", load=swap)
    _change(
        world, "vm-07", status=WorkerStatus.OFFLINE, seen_at=ago(minutes=3, seconds=12), load=None
    )
    _change(world, "vm-12", version="0.2.4")
    drains = WorkerSettings(version=4, batch="run7", concurrency=16, draining=True)
    _hold(world, "vm-15", WorkerStatus.DRAINING, drains, running=5)
    turned = WorkerSettings(version=5, batch="run7", concurrency=20, prefetch=2)
    _change(world, "vm-18", settings=turned, applied=4)
    _run_only(world, "vm-20", 9)
    _run_only(world, "vm-24", 0)
    rests = WorkerSettings(version=2, batch="assembly", concurrency=16, paused=True)
    _hold(world, "vm-23", WorkerStatus.PAUSED, rests, running=3)
    world.resources["vm-03"] = [
        ResourceView(
            kind="resource",
            uri="s3://database/kraken.tar.gz|untar",
            bytes=61 * GIB,
            users=16,
            pinned=True,
        ),
        ResourceView(
            kind="image", uri="registry.example.org/biomscope:0.8.1", bytes=4 * GIB, users=16
        ),
        ResourceView(
            kind="resource",
            uri="s3://database/silva-138.fasta.gz|gunzip",
            bytes=2 * GIB,
            used=5_400.0,
        ),
    ]


def _change(world: World, name: str, **fields: object) -> None:
    world.workers[name] = world.workers[name].model_copy(update=fields)


def _run_only(world: World, name: str, running: int) -> None:
    """So many tasks run there, and none is on its way."""
    _change(world, name, running=running, open=running, downloading=0)


def _hold(
    world: World, name: str, status: WorkerStatus, settings: WorkerSettings, *, running: int
) -> None:
    """A worker that takes nothing new, and knows it."""
    _change(world, name, status=status, settings=settings, applied=settings.version)
    _run_only(world, name, running)


def make() -> World:
    """The world that the pictures show."""
    world = World()
    for part in (
        _tasks,
        _batches,
        _workers,
        scenery.jobs,
        scenery.events,
        scenery.history,
        scenery.providers,
    ):
        part(world)
    return world


def empty() -> World:
    """A server on its first day."""
    world = World()
    scenery.providers(world)
    return world
