"""What the tests of staging are made of: a porter's own side, without its thread."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripted import ScriptedServer

from pytq.fetch import Fetcher, FetchOptions
from pytq.schema.frames import Ref
from pytq.schema.tasks import TaskSpec, TaskSubmit, core_of
from pytq.worker.rooms import Room, Rooms
from pytq.worker.runners.process import locate
from pytq.worker.staging import threads
from pytq.worker.staging.gauge import Gauge
from pytq.worker.staging.inward import Inward
from pytq.worker.staging.job import Job
from pytq.worker.staging.outward import Outward
from pytq.worker.staging.resources import Resources
from pytq.worker.staging.shelf import Shelf
from pytq.worker.staging.space import Space


class Yard:
    """Everything that stages, in the loop of a test."""

    def __init__(self, home: Path, roots: Iterable[Path] = (Path("/"),), high: float = 1.0) -> None:
        self.home = home
        self.rooms = Rooms(home)
        self.fetcher = Fetcher(
            FetchOptions(file_roots=tuple(roots), attempts=2, backoff=0.01, stall=5, connect=5)
        )
        self.shelf = Shelf(home / "resources")

        def fetch(*args: Any) -> Any:
            return self.inward.fetch(*args)

        async def evict_failed(wanted: int) -> int:
            return await threads.in_thread(lambda _: self.rooms.evict(wanted))

        self.resources = Resources(self.shelf, fetch)
        self.space = Space(home, high, [evict_failed, self.resources.evict])
        self.inward = Inward(self.fetcher, self.resources, self.space, locate)
        self.outward = Outward(self.fetcher, locate)
        self._number = 0

    def job(self, spec: TaskSpec, room: Room | None = None, *, whole: bool = True) -> Job:
        self._number += 1
        gauge = Gauge("in" if spec.mounts else "out")
        return Job((self._number, 1), spec, room or self.rooms.take(), gauge, whole)

    async def bring(self, job: Job) -> Room:
        """Stage in, as the porter does."""
        job.task = asyncio.current_task()
        await self.inward.bring(job)
        return job.room

    async def bring_mounts(self, *mounts: dict[str, Any]) -> Room:
        steps = [{"command": "true"}]
        spec = TaskSpec.model_validate({"steps": steps, "mounts": list(mounts)})
        return await self.bring(self.job(spec))

    async def bring_for(self, **task: Any) -> Room:
        """Stage in for a task as people submit it."""
        return await self.bring(self.job(spec_of(**task)))


def spec_of(**task: Any) -> TaskSpec:
    """The core of a task as people submit it."""
    return TaskSpec.model_validate_json(json.dumps(core_of(TaskSubmit(command=["true"], **task))))


def names(folder: str | Path) -> list[str]:
    """Everything below a folder."""
    return sorted(str(place.relative_to(folder)) for place in Path(folder).rglob("*"))


def at(room: Room, path: str) -> Path:
    """A place in a room."""
    return Path(room.path, path)


def resource(uri: str, path: str = "/resource/db") -> dict[str, object]:
    return {"source": uri, "path": path, "scope": "worker", "read_only": True}


def wants(server: ScriptedServer, command: str, *mounts: dict[str, object], **more: Any) -> Ref:
    """Queue a task with mounts given as JSON would give them."""
    return server.add_json({"steps": [{"command": command}], "mounts": list(mounts), **more})
