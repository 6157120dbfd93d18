"""The things that a world is made of, each with what a test does not care about filled in."""

from datetime import UTC, datetime, timedelta

from pytq.schema.states import Cause, Phase, RunWhen, Scope, TaskStatus, WorkerStatus
from pytq.schema.tasks import Mount, Output, Request, Step, TaskSpec, Timeouts
from pytq.schema.views import (
    BatchView,
    Counts,
    Disk,
    ExecutionView,
    Load,
    Reason,
    TaskView,
    WorkerSettings,
    WorkerView,
)

NOW = datetime(2026, 11, 23, 14, 31, 9, tzinfo=UTC)
GIB = 1024**3
MIB = 1024**2
VERSION = "0.3.0"


def ago(**by: float) -> datetime:
    return NOW - timedelta(**by)


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
    f"[{second // 60:02}:{second % 60:02}] classified {second:>4},000 reads of the sample\n"
    for second in range(20, 560, 20)
).encode()
STDERR = (
    b"Loading database information...\n"
    b"\x1b[33mwarning\x1b[0m: hash table smaller than its header says\n"
    b"kraken2: error reading in hash table\n"
    b"classify: unable to mmap /resource/kraken/hash.k2d: Invalid argument\n"
    b"pipeline.sh: line 88: [[: kraken2 failed with [code 3]\n"
)
