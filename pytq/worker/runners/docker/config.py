"""What dockerd is told to run: one step of a task as a container's config. Pure."""

import re
from dataclasses import dataclass
from typing import Any, Final

from pytq.schema import tasks
from pytq.schema.frames import Ref
from pytq.worker.runners.docker.options import BILLION, Choices

DATA: Final = "/data"
MEBIBYTE: Final = 2**20
LABELS: Final = "pytq."
# Docker's own json-file spoils bytes that are not UTF-8. Not rotated: nothing may be lost before
# it was copied; the log goes with its container.
LOG: Final = {
    "Type": "local",
    "Config": {"max-size": "1t", "max-file": "1", "compress": "false"},
}
# The whole word, or the value of an option: -p$CPU, --threads=$CPU, threads=${CPU}.
VARIABLE: Final = re.compile(r"((?:-[\w@-]*|-{0,2}[\w.-]+=)?)\$(?:(CPU|MEM)|\{(CPU|MEM)\})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where on this machine a container runs, and on whose behalf."""

    worker: str  # its identity
    room: str
    places: dict[str, str]  # the task's folders: as it sees them, as they are
    data: str | None = None  # this machine's folder that tasks see as /data


@dataclass(frozen=True, slots=True)
class Share:
    """What a task may use of this machine."""

    cpus: str
    memory: str  # MiB


def name_of(worker: str, ref: Ref, step: int) -> str:
    """The name of a step's container: there can be only one of that name, so it is the fence."""
    return f"pytq-{worker[:8]}-{ref[0]}.{ref[1]}.{step}"


def labels_of(place: Place, ref: Ref, step: int) -> dict[str, str]:
    """What people, and the agent after this one, must know of a container."""
    return {
        f"{LABELS}worker": place.worker,
        f"{LABELS}task": str(ref[0]),
        f"{LABELS}attempt": str(ref[1]),
        f"{LABELS}step": str(step),
        f"{LABELS}room": place.room,
    }


def container(
    spec: tasks.TaskSpec, number: int, ref: Ref, place: Place, share: Share, choices: Choices
) -> dict[str, Any]:
    """The body of dockerd's `containers/create` for one step of a task."""
    step = spec.steps[number]
    host = _limits(spec, choices.host)
    env = _environment(host, ref, share) | choices.env | step.env
    config: dict[str, Any] = {
        "Image": step.container,
        "Cmd": argv(step.argv, env),
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": choices.labels | labels_of(place, ref, number),
        "HostConfig": host | {"LogConfig": LOG, "Mounts": _mounts(place) + host.get("Mounts", [])},
    }
    if spec.uid is not None or spec.gid is not None:
        config["User"] = f"{spec.uid or 0}" + ("" if spec.gid is None else f":{spec.gid}")
    if step.workdir is not None:
        config["WorkingDir"] = step.workdir
    if step.stdin is not None:
        config |= {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
    return config | choices.config


def argv(words: list[str], env: dict[str, str]) -> list[str]:
    """The words of a command, $CPU and $MEM filled in where they stand alone.

    No shell reads a command's words, so all else stays exactly as it is. A word is filled in when
    it is nothing but the variable, or an option whose value is.
    """
    return [_filled(word, env) if "$" in word else word for word in words]


def _filled(word: str, env: dict[str, str]) -> str:
    match = VARIABLE.fullmatch(word)
    return word if match is None else match[1] + env[match[2] or match[3]]


def _environment(host: dict[str, Any], ref: Ref, share: Share) -> dict[str, str]:
    nano, memory = host.get("NanoCpus", 0), host.get("Memory", 0)
    return {
        "CPU": str(max(1, nano // BILLION)) if nano else share.cpus,
        "MEM": str(memory // MEBIBYTE) if memory else share.memory,
        "INPUT": tasks.INPUT,
        "OUTPUT": tasks.OUTPUT,
        "RESOURCE": tasks.RESOURCE,
        "TEMP": tasks.TEMP,
        "PYTQ_TASK": str(ref[0]),
        "PYTQ_ATTEMPT": str(ref[1]),
    }


def _limits(spec: tasks.TaskSpec, chosen: dict[str, Any]) -> dict[str, Any]:
    """The HostConfig: what the task requested is its limit, unless an option says otherwise."""
    host: dict[str, Any] = {}
    if spec.request.cpus:
        host["NanoCpus"] = int(spec.request.cpus * BILLION)
    if spec.request.memory:
        host["Memory"] = spec.request.memory
    if spec.request.gpus:
        wanted = {"Driver": "", "Count": spec.request.gpus, "Capabilities": [["gpu"]]}
        host["DeviceRequests"] = [wanted]
    host |= chosen
    if "Memory" in host:
        host.setdefault("MemorySwap", host["Memory"])  # none: so that the limit is one
    return host


def _mounts(place: Place) -> list[dict[str, Any]]:
    mounts = [
        _bind(outside, inside, read_only=inside == tasks.RESOURCE)
        for inside, outside in place.places.items()
    ]
    if place.data is not None:
        mounts.append(_bind(place.data, DATA))
    return mounts


def _bind(outside: str, inside: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": outside, "Target": inside, "ReadOnly": read_only}
