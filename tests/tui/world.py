"""A small world that never changes by itself: batches, workers, tasks, jobs, events, a history."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pytq.schema import limits
from pytq.schema.recruit import Flavor, JobKind, JobStatus, JobView, ProviderView
from pytq.schema.states import Cause, Outcome, Phase, RunWhen, Scope, TaskStatus, WorkerStatus
from pytq.schema.stream import Changes, Point, Snapshot
from pytq.schema.tasks import Mount, Output, Request, Step, TaskSpec, Timeouts
from pytq.schema.views import (
    BatchView,
    Counts,
    Disk,
    EventView,
    ExecutionView,
    FailureView,
    Load,
    Reason,
    ResourceView,
    ServerInfo,
    Staging,
    TaskView,
    Transfer,
    WorkerSettings,
    WorkerView,
)

NOW = datetime(2026, 11, 23, 14, 31, 9, tzinfo=UTC)
GIB = 1024**3
MIB = 1024**2
VERSION = "0.3.0"


def ago(**by: float) -> datetime:
    return NOW - timedelta(**by)


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
        for batch in self.batches.values():
            for status, amount in batch.counts.model_dump().items():
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


def batch(name: str, **counts: int) -> BatchView:
    paused = bool(counts.pop("paused", 0))
    workers = counts.pop("workers", 0)
    return BatchView(
        name=name, paused=paused, created_at=ago(days=2), counts=Counts(**counts), workers=workers
    )


def worker(number: int, name: str, batch_: str = "run7", **more: object) -> WorkerView:
    load = more.pop("load", None) or Load(
        load=15.2 + number % 5,
        cpu=92.0 - number % 7,
        iowait=float(number % 4),
        memory=61.0 + number % 9,
        swap=0.0,
        disk_free=(180 + number) * GIB,
        disks=[
            Disk(path="/", free=21 * GIB, total=40 * GIB),
            Disk(path="/scratch", free=(180 + number) * GIB, total=400 * GIB),
        ],
        received=(30 + number) * MIB,
        sent=3 * MIB,
        read=12 * MIB,
        written=55 * MIB,
    )
    settings = more.pop("settings", None) or WorkerSettings(
        version=3, batch=batch_, concurrency=16, prefetch=1
    )
    return WorkerView.model_validate(
        {
            "id": number,
            "name": name,
            "hostname": f"{name}.internal",
            "status": WorkerStatus.ONLINE,
            "settings": settings,
            "applied": settings.version,  # type: ignore[attr-defined]
            "version": VERSION,
            "cpus": 16,
            "memory": 64 * GIB,
            "containers": True,
            "open": 17,
            "downloading": 1,
            "ready": 0,
            "running": 16,
            "uploading": 0,
            "load": load,
            "created_at": ago(days=1),
            "seen_at": ago(seconds=2),
            **more,
        },
        strict=False,
    )


def task(number: int, status: TaskStatus, **more: object) -> TaskView:
    run = f"SRR{890900 + number}"
    spec = more.pop("spec", None) or TaskSpec(
        steps=[
            Step(
                command=["pipeline.sh", "-e", "-c", "/input", run],
                container="registry.example.org/biomscope:0.8.1",
            )
        ],
        mounts=[
            Mount(source=f"run+fastq://{run}/", path="/input", directory=True),
            Mount(
                source="s3://database/kraken.tar.gz|untar",
                path="/resource/kraken",
                directory=True,
                scope=Scope.WORKER,
            ),
        ],
        outputs=[Output(path="/output", destination=f"s3://results/run7/{run}/", directory=True)],
        request=Request(cpus=4, memory=16 * GIB),
        timeouts=Timeouts(run=14_400),
    )
    return TaskView.model_validate(
        {
            "id": number,
            "name": f"align {run}",
            "batch": "run7",
            "status": status,
            "priority": 0,
            "retries": 2,
            "failures": 0,
            "losses": 0,
            "attempt": 0,
            "run_when": RunWhen.SUCCEEDED,
            "requirements": [],
            "tags": {},
            "reason": None,
            "created_at": ago(hours=5),
            "changed_at": ago(minutes=number % 50 + 1),
            "spec": spec,
            **more,
        },
        strict=False,
    )


def execution(number: int, attempt: int = 1, **more: object) -> ExecutionView:
    return ExecutionView.model_validate(
        {
            "id": f"{number}.{attempt}",
            "task": number,
            "attempt": attempt,
            "worker": f"vm-{number % 24 + 1:02}",
            "phase": Phase.RUNNING,
            "outcome": None,
            "reason": None,
            "exit_code": None,
            "paused": False,
            "stop_wanted": None,
            "assigned_at": ago(minutes=12),
            "downloading_at": ago(minutes=12),
            "ready_at": ago(minutes=9.5),
            "running_at": ago(minutes=9, seconds=20 - number % 20),
            "uploading_at": None,
            "ended_at": None,
            "cpu_seconds": None,
            "memory": None,
            "stdout_bytes": 0,
            "stderr_bytes": 0,
            "staging": None,
            **more,
        },
        strict=False,
    )


OOM = Reason(cause=Cause.OOM, detail="the kernel ended it: more than 16.0 GiB of memory")
EXIT = Reason(cause=Cause.EXIT, detail="kraken2: database /resource/kraken/hash.k2d is truncated")
STDOUT = "".join(
    f"[{minute:02}:{second:02}] classified {minute * 60 + second:>4},000 reads of SRR890911\n"
    for minute in range(9)
    for second in range(0, 60, 20)
).encode()
STDERR = (
    b"Loading database information...\n"
    b"\x1b[33mwarning\x1b[0m: hash table smaller than its header says\n"
    b"kraken2: error reading in hash table\n"
    b"classify: unable to mmap /resource/kraken/hash.k2d: Invalid argument\n"
    b"pipeline.sh: line 88: [[: kraken2 failed with [code 3]\n"
)


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
    world.executions[number, 1] = execution(
        number, stdout_bytes=len(STDOUT), stderr_bytes=0, **more
    )
    world.outputs[number, 1, "stdout"] = STDOUT
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
    _change(
        world,
        "vm-15",
        status=WorkerStatus.DRAINING,
        settings=drains,
        applied=4,
        running=5,
        open=5,
        downloading=0,
    )
    turned = WorkerSettings(version=5, batch="run7", concurrency=20, prefetch=2)
    _change(world, "vm-18", settings=turned, applied=4)
    _change(world, "vm-20", running=9, open=9, downloading=0)
    _change(world, "vm-24", running=0, open=0, downloading=0)
    rests = WorkerSettings(version=2, batch="assembly", concurrency=16, paused=True)
    _change(
        world,
        "vm-23",
        status=WorkerStatus.PAUSED,
        settings=rests,
        applied=2,
        running=3,
        open=3,
        downloading=0,
    )
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


def _jobs(world: World) -> None:
    def job(
        number: int,
        status: JobStatus,
        title: str,
        progress: float,
        detail: str = "",
        **more: object,
    ) -> None:
        world.jobs[number] = JobView.model_validate(
            {
                "id": number,
                "kind": JobKind.RECRUIT,
                "status": status,
                "title": title,
                "progress": progress,
                "detail": detail,
                "batch": "run7",
                "workers": [],
                "created_at": ago(minutes=60 - number * 8),
                "started_at": ago(minutes=60 - number * 8),
                "ended_at": ago(minutes=55 - number * 8),
                **more,
            },
            strict=False,
        )

    job(1, JobStatus.SUCCEEDED, "recruit 20 of ovh/b3-64 into run7", 1.0, "20 workers are there")
    job(
        2,
        JobStatus.SUCCEEDED,
        "recruit 3 of ovh/c3-32 into assembly",
        1.0,
        "3 workers are there",
        batch="assembly",
    )
    job(
        3,
        JobStatus.FAILED,
        "recruit 8 of ovh/b3-256 into run7",
        0.4,
        "quota: 512 of 512 cores of GRA11 are in use",
    )
    job(
        4,
        JobStatus.CANCELLED,
        "recruit 100 of local/here into default",
        0.0,
        "cancelled by local",
        batch="default",
    )
    job(
        5,
        JobStatus.RUNNING,
        "recruit 4 of ovh/b3-64 into run7",
        0.6,
        "2 of 4 machines answer ssh",
        ended_at=None,
        workers=["vm-25", "vm-26"],
    )
    job(
        6,
        JobStatus.RUNNING,
        "release vm-15",
        0.2,
        "5 tasks still run there",
        kind=JobKind.RELEASE,
        ended_at=None,
        workers=["vm-15"],
    )
    world.logs[6] = "14:19:09 draining vm-15\n14:19:09 16 tasks still run there\n"
    world.logs[5] = "".join(
        f"14:{20 + step:02}:0{step % 10} {said}\n"
        for step, said in enumerate(
            [
                "asking ovh for 4 machines of b3-64 in GRA11",
                "vm-25 is building",
                "vm-26 is building",
                "vm-27 is building",
                "vm-28 is building",
                "vm-25 answers ssh at 10.0.3.25",
                "vm-26 answers ssh at 10.0.3.26",
                "TASK [docker : install docker] \x1b[32mok\x1b[0m: [vm-25]",
                "TASK [docker : install docker] \x1b[33mchanged\x1b[0m: [vm-26]",
            ]
        )
    )


def _events(world: World) -> None:
    told = (
        ("task.failed", 388, None, "vm-05", EXIT.detail),
        ("task.succeeded", 262, None, "vm-09", None),
        ("worker.tuned", None, None, "vm-18", "concurrency 16 to 20, prefetch 1 to 2"),
        ("worker.offline", None, None, "vm-07", "silent for 30 s"),
        ("batch.paused", None, "thumbnails", None, None),
        ("task.retried", 301, "run7", None, "by hand"),
        ("worker.draining", None, None, "vm-15", None),
        ("tasks.submitted", None, "qc-2026", None, "96 tasks"),
    )
    for number in range(64):
        kind, task_, batch_, worker_, detail = told[number % len(told)]
        world.events.append(
            EventView(
                id=number + 1,
                at=ago(seconds=(64 - number) * 17),
                kind=kind,
                actor="ada" if number % 3 else "server",
                task=None if task_ is None else task_ - number // len(told),
                attempt=3 if kind == "task.failed" else None,
                batch=batch_,
                worker=worker_,
                detail=detail,
            )
        )


def _history(world: World) -> None:
    begin = int(NOW.timestamp()) // limits.HISTORY_STEP * limits.HISTORY_STEP
    for step in range(719, -1, -1):
        at = begin - step * limits.HISTORY_STEP
        wave = 30 + 14 * math.sin(at / 290) + 6 * math.sin(at / 71)
        failed = 2 if step % 97 == 13 else 1 if step % 41 == 7 else 0
        world.history.append(
            Point(
                at=at,
                submitted=40,
                started=round(wave),
                succeeded=round(wave) if step > 40 else round(wave * 0.8),
                failed=failed,
            )
        )


def _providers(world: World) -> None:
    flavors = [
        Flavor(
            name=f"{kind}-{size}",
            region=region,
            cpus=size // ratio,
            memory=size * GIB,
            disk=disk * GIB,
            gpus=gpus,
            price=price * size,
            available=left,
        )
        for region in ("GRA11", "SBG5")
        for kind, size, ratio, disk, gpus, price, left in (
            ("b3", 32, 4, 200, 0, 0.0069, 40),
            ("b3", 64, 4, 400, 0, 0.0069, 12),
            ("b3", 256, 4, 400, 0, 0.0069, 0),
            ("c3", 32, 2, 200, 0, 0.0095, 16),
            ("l4", 90, 4, 400, 1, 0.0083, 3),
        )
    ]
    world.providers = [
        ProviderView(name="ovh", regions=["GRA11", "SBG5"], flavors=flavors, currency="EUR"),
        ProviderView(
            name="local",
            regions=["here"],
            flavors=[
                Flavor(
                    name="process",
                    region="here",
                    cpus=16,
                    memory=64 * GIB,
                    disk=900 * GIB,
                    price=0.0,
                )
            ],
        ),
    ]


def make() -> World:
    """The world that the pictures show."""
    world = World()
    for part in (_tasks, _batches, _workers, _jobs, _events, _history, _providers):
        part(world)
    return world


def empty() -> World:
    """A server on its first day."""
    world = World()
    _providers(world)
    return world
