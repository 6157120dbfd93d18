"""Steps that run without a container: their environment, and where their paths really are."""

import os
import pwd
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pytq.schema import tasks
from pytq.schema.frames import Ref
from pytq.worker.rooms import Room

MEBIBYTE: Final = 2**20


class CannotRun(Exception):  # noqa: N818 - an outcome of the task, not a failure of ours
    """Why a step cannot be run here; the text names what is in the way."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a task may know of the machine it runs on."""

    cpus: int
    memory: int
    path: str

    def share(self, concurrency: int) -> tuple[str, str]:
        """CPU and MEM of each of so many tasks."""
        parts = max(1, concurrency)
        return str(max(1, self.cpus // parts)), str(self.memory // parts // MEBIBYTE)


@lru_cache(maxsize=64)
def _person(uid: int) -> tuple[str, str]:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return "/", str(uid)
    return entry.pw_dir, entry.pw_name


def locate(room: Room, path: str) -> str:
    """Where a task's path really is; `CannotRun` when it leads out of the room."""
    virtual, _, rest = path[1:].partition("/")
    place = room.places.get(f"/{virtual}")
    if place is None:
        folders = ", ".join(tasks.ROOMS)
        raise CannotRun(
            f"{path}: without a container, paths begin with one of {folders};"
            " give the task a container"
        )
    full = f"{place}/{rest}".rstrip("/")
    real = os.path.realpath(full)  # rooms have canonical paths, so any difference is a link
    if not f"{real}/".startswith(f"{place}/"):
        raise CannotRun(f"{path}: a link leads out of the task's own folders")
    return full


def environment(
    room: Room, ref: Ref, share: tuple[str, str], path: str, uid: int | None
) -> dict[str, str]:
    """Everything a step finds in its environment, its own additions aside."""
    home, user = _person(os.getuid() if uid is None else uid)
    places = room.places
    return {
        "PATH": path,
        "HOME": home,
        "USER": user,
        "LANG": "C.UTF-8",
        "CPU": share[0],
        "MEM": share[1],
        "INPUT": places[tasks.INPUT],
        "OUTPUT": places[tasks.OUTPUT],
        "RESOURCE": places[tasks.RESOURCE],
        "TEMP": places[tasks.TEMP],
        "TMPDIR": places[tasks.TEMP],
        "PYTQ_TASK": str(ref[0]),
        "PYTQ_ATTEMPT": str(ref[1]),
    }


def order(
    spec: tasks.TaskSpec, step: tasks.Step, room: Room, env: dict[str, str]
) -> dict[str, Any]:
    """What the keeper needs to know to start a step."""
    if step.container is not None:
        raise CannotRun(f"this worker has no Docker to run the container {step.container}")
    wanted: dict[str, Any] = {
        "argv": step.argv,
        "cwd": _workdir(room, step.workdir) if step.workdir else room.work,
        "env": env | step.env,
        "stdout": _file(room, step.stdout) if step.stdout else room.stdout,
        "stderr": _file(room, step.stderr) if step.stderr else room.stderr,
        "note": room.path,
    }
    if step.stdin:
        wanted["stdin"] = locate(room, step.stdin)
    if spec.uid is not None or spec.gid is not None:
        wanted |= {"uid": spec.uid, "gid": spec.gid}
    return wanted


def _workdir(room: Room, path: str) -> str:
    place = locate(room, path)
    Path(place).mkdir(parents=True, exist_ok=True)
    return place


def _file(room: Room, path: str) -> str:
    place = Path(locate(room, path))
    place.parent.mkdir(parents=True, exist_ok=True)
    return str(place)
