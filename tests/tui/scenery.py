"""What happened in the world: jobs and their logs, events, an hour of history, providers."""

import math
from typing import Any

from things import GIB, NOW, ago

from pytq.schema import limits
from pytq.schema.recruit import Flavor, JobKind, JobStatus, JobView, ProviderView
from pytq.schema.stream import Point
from pytq.schema.views import EventView


def jobs(world: Any) -> None:
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


def events(world: Any) -> None:
    told = (
        ("lost", 388, None, "vm-05", "its worker went away"),
        ("cancelled", 262, "run7", None, None),
        ("tuned", None, None, "vm-18", "concurrency=20, prefetch=2"),
        ("offline", None, None, "vm-07", "silent for 30 s"),
        ("paused", None, "thumbnails", None, None),
        ("retried", 301, "run7", None, "by hand"),
        ("tuned", None, None, "vm-15", "draining=True"),
        ("asked", None, "run7", None, "job 5: recruit 4 of ovh/b3-64 into run7"),
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
                attempt=3 if kind == "lost" else None,
                batch=batch_,
                worker=worker_,
                detail=detail,
            )
        )


def history(world: Any) -> None:
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


def providers(world: Any) -> None:
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
