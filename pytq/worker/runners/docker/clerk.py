"""Draws up what is to be run in a container: a step, its options, its folders and files."""

from collections.abc import Collection
from pathlib import Path

from pytq.schema import tasks
from pytq.schema.frames import Ref
from pytq.schema.tasks import TaskSpec
from pytq.worker.rooms import Room
from pytq.worker.runners.docker import config
from pytq.worker.runners.docker.config import Place, Share
from pytq.worker.runners.docker.options import OptionError, parse
from pytq.worker.runners.docker.order import GRACE_SECONDS, Order
from pytq.worker.runners.docker.output import Sink, Spot
from pytq.worker.runners.process import CannotRun, locate


class Clerk:
    """Knows what a worker allows, and what it shares."""

    def __init__(self, worker: str, allowed: Collection[str], data: Path | None) -> None:
        self._worker = worker
        self._allowed = allowed
        self._data = None if data is None else str(data)

    def order(self, ref: Ref, number: int, spec: TaskSpec, room: Room, share: Share) -> Order:
        """One step, ready to be run; `CannotRun` or OSError when that cannot be."""
        step = spec.steps[number]
        if step.container is None:
            raise CannotRun("this step has no container")
        try:
            choices = parse(step.container_options, self._allowed)
        except OptionError as error:
            raise CannotRun(str(error)) from error
        place = Place(self._worker, room.path, room.places, self._data)
        wanted = config.container(spec, number, ref, place, share, choices)
        return Order(
            ref,
            number,
            config.name_of(self._worker, ref, number),
            step.container,
            wanted,
            Sink(_spot(room, step.stdout, "stdout"), _spot(room, step.stderr, "stderr")),
            room,
            choices.platform,
            locate(room, _checked(room, step.stdin, "stdin")) if step.stdin else None,
            f"{room.path}/fed-{number}",
            GRACE_SECONDS if choices.grace is None else choices.grace,
            wanted["HostConfig"].get("Memory", 0),
            given=_prepare(room, spec, step),
        )


def _prepare(room: Room, spec: TaskSpec, step: tasks.Step) -> bool:
    """Give the task's folders to its own user; whether that was wanted, and could be done."""
    if step.workdir is not None and _is_ours(room, step.workdir):
        Path(locate(room, step.workdir)).mkdir(parents=True, exist_ok=True)
    if spec.uid is None and spec.gid is None:
        return False
    try:
        room.give_to(spec.uid, spec.gid)
    except PermissionError:  # a worker that is not root opens them up instead
        return False
    return True


def _spot(room: Room, path: str | None, stream: str) -> Spot:
    if path is None:
        return Spot(room.path, stream)
    virtual, _, rest = _checked(room, path, stream)[1:].partition("/")
    return Spot(room.places[f"/{virtual}"], rest)


def _checked(room: Room, path: str, stream: str) -> str:
    if not _is_ours(room, path):
        folders = ", ".join(tasks.ROOMS)
        raise CannotRun(f"{path}: {stream} of a step must be below one of {folders}")
    return path


def _is_ours(room: Room, path: str) -> bool:
    return "/" + path[1:].partition("/")[0] in room.places
