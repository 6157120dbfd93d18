"""Inputs and resources, brought to where a task expects them."""

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from pytq.fetch import Fetcher, FetchError, Progress
from pytq.schema import tasks
from pytq.schema.states import Cause, Scope
from pytq.schema.tasks import Mount
from pytq.worker.rooms import Room, remove_tree
from pytq.worker.runners.process import CannotRun
from pytq.worker.staging import StagingError
from pytq.worker.staging.actions import Plan, merge, perform, plan, unpacked
from pytq.worker.staging.job import Job, side_by_side
from pytq.worker.staging.reasons import because
from pytq.worker.staging.resources import Resources, key_of, kind_of
from pytq.worker.staging.shelf import CONTENT
from pytq.worker.staging.space import Space
from pytq.worker.staging.threads import in_thread
from pytq.worker.staging.unpacking import BadArchiveError, NoRoomError

WORKSHOP: Final = "staging"  # below a room: what is unpacked before it is put in its place
WRITABLE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

Locate = Callable[[Room, str], str]  # a path as its task sees it -> where it really is


class Inward:
    """Brings everything that a task mounts."""

    def __init__(
        self, fetcher: Fetcher, resources: Resources, space: Space, locate: Locate
    ) -> None:
        self._fetcher = fetcher
        self._resources = resources
        self._space = space
        self._locate = locate

    async def bring(self, job: Job) -> None:
        """Put every mount in its place, all of them side by side; StagingError names the one."""
        plans = [(mount, self._plan(job, mount)) for mount in job.spec.mounts]
        try:
            await self._admit(job, plans)
            locked: list[Path] = []
            await side_by_side(
                self._bring(job, number, mount, todo, place, locked)
                for number, (mount, (todo, place)) in enumerate(plans)
            )
        finally:
            self._space.leave(job)
        if any(mount.scope is Scope.WORKER for mount in job.spec.mounts):
            locked.append(Path(job.room.places[tasks.RESOURCE]))
        await in_thread(lambda _: _finish(job, locked))

    async def fetch(self, todo: Plan, mount: Mount, place: Path, progress: Progress) -> None:
        """Bring something to `place`, and do to it what is to be done; for resources too."""

        async def once() -> None:
            progress.done, progress.total = 0, None  # should it be a second time
            try:
                await self._fetcher.get(
                    todo.source,
                    place,
                    directory=todo.fetches_folder,
                    size=mount.size,
                    checksum=mount.checksum,
                    progress=progress,
                )
                if todo.chain:
                    folder = todo.fetches_folder
                    await in_thread(
                        lambda stop: perform(todo.chain, place, folder=folder, stop=stop)
                    )
            except (FetchError, BadArchiveError, NoRoomError, OSError) as error:
                await in_thread(lambda _: _clear(place))
                raise because(todo.uri, error, Cause.INPUT, place.parent) from error

        await self._space.with_relief(once)

    def _plan(self, job: Job, mount: Mount) -> tuple[Plan | None, Path]:
        """What to do for a mount, and where it really goes."""
        try:
            todo = None if mount.content is not None else plan(mount)
            path = mount.path if todo is None else todo.path
            return todo, Path(self._locate(job.room, path))
        except CannotRun as error:
            raise StagingError(str(error), Cause.COMMAND) from error
        except ValueError as error:
            raise StagingError(str(error), Cause.INPUT) from error

    async def _admit(
        self, job: Job, plans: Iterable[tuple[Mount, tuple[Plan | None, Path]]]
    ) -> None:
        needed, what = job.spec.request.disk, f"task {job.ref[0]}"
        coming = 0
        for mount, (todo, _) in plans:
            shared = todo if mount.scope is Scope.WORKER else None
            if shared and self._resources.has(key_of(kind_of(shared, mount))):
                continue
            coming += mount.size or len(mount.content or "")
            what = mount.source or what
        await self._space.admit(job, max(needed, coming), what)

    async def _bring(
        self,
        job: Job,
        number: int,
        mount: Mount,
        todo: Plan | None,
        place: Path,
        locked: list[Path],
    ) -> None:
        if todo is None:
            await in_thread(lambda _: _write(place, mount))
        elif mount.scope is Scope.WORKER:
            locked += await self._resources.supply(job.ref, todo, mount, place, job.gauge)
        else:
            item = job.gauge.add(todo.uri)
            if todo.chain:
                shop = Path(job.room.path, WORKSHOP, str(number))
                await self.fetch(todo, mount, shop, item.progress)
                await in_thread(lambda _: _settle(todo, shop, place))
            else:
                await self.fetch(todo, mount, place, item.progress)
            item.over = True


def _clear(place: Path) -> None:
    """Remove what came of a try that failed; of folders that others fill too, nothing."""
    if place.parent.name == WORKSHOP or place.name == CONTENT:
        for leftover in (place, unpacked(place)):
            remove_tree(str(leftover))
            with contextlib.suppress(OSError):
                leftover.unlink()


def _write(place: Path, mount: Mount) -> None:
    """Make a file of what was given literally."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(mount.content or "", encoding="utf-8")
    except OSError as error:
        raise because(f"the content of {mount.path}", error, Cause.INPUT, place.parent) from error


def _settle(todo: Plan, shop: Path, place: Path) -> None:
    """Put what was unpacked in its place."""
    try:
        if todo.makes_folder:
            merge(shop, place)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shop.rename(place)
    except (OSError, BadArchiveError) as error:
        raise because(todo.uri, error, Cause.INPUT, place.parent) from error


def _finish(job: Job, locked: Iterable[Path]) -> None:
    """Lock the folders of resources, now that everything is in them; give the rest to its user."""
    for folder in locked:
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~WRITABLE)
    shutil.rmtree(Path(job.room.path, WORKSHOP), ignore_errors=True)
    uid, gid = job.spec.uid, job.spec.gid
    if os.geteuid() == 0 and (uid, gid) != (None, None):
        for virtual, place in job.room.places.items():
            if virtual != tasks.RESOURCE:
                _give(place, -1 if uid is None else uid, -1 if gid is None else gid)


def _give(folder: str, uid: int, gid: int) -> None:
    """Let another user own a folder and all that is in it."""
    os.chown(folder, uid, gid, follow_symlinks=False)
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(where, name), uid, gid, follow_symlinks=False)
