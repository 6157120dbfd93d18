"""What a worker fetches once and shares among its tasks.

Each resource is fetched by a task of asyncio that belongs to none of the executions that wait for
it: whoever comes first begins it, whoever comes later waits for the same one, and it ends early
only when the last of them has gone. So nobody has to take over from anybody, and what fails is not
tried once for each of a hundred tasks.
"""

import asyncio
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from pytq.fetch import Progress
from pytq.schema import limits, uris
from pytq.schema.frames import Ref
from pytq.schema.states import Cause
from pytq.schema.tasks import Mount
from pytq.schema.uris import UriError
from pytq.schema.views import ResourceView
from pytq.worker.staging import StagingError, shelf
from pytq.worker.staging.actions import MOVE, Plan
from pytq.worker.staging.gauge import Gauge
from pytq.worker.staging.reasons import because
from pytq.worker.staging.shelf import Entry, Kind, Shelf
from pytq.worker.staging.threads import in_thread

log = logging.getLogger(__name__)

TRIES: Final = 3  # of one that is spoilt again and again


class Bring(Protocol):
    """Fetches something, and does to it what is to be done."""

    def __call__(
        self, todo: Plan, mount: Mount, place: Path, progress: Progress, /
    ) -> Coroutine[Any, Any, None]:
        """Bring it to `place`; raises StagingError."""


@dataclass(slots=True, eq=False)
class Making:
    """A resource on its way."""

    kind: Kind
    task: "asyncio.Task[Entry]"
    progress: Progress
    waiting: int = 0


class Resources:
    """All resources of a worker. Everything here runs in the porter's loop."""

    def __init__(
        self,
        keeper: Shelf,
        bring: Bring,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.shelf = keeper
        self.entries: dict[str, Entry] = {}
        self.making: dict[str, Making] = {}
        self.users: dict[str, set[Ref]] = {}
        self.pins: set[str] = set()
        self._going: set[asyncio.Future[None]] = set()
        self._bring = bring
        self._changed = changed
        self._clock = clock

    async def open(self) -> None:
        """Know again what is on disk."""
        found = await in_thread(lambda _: self.shelf.open())
        self.pins = await in_thread(lambda _: self.shelf.pins())
        self.entries |= {entry.key: entry for entry in found}
        self._changed()

    # --- for tasks

    async def supply(
        self, ref: Ref, plan: Plan, mount: Mount, place: Path, gauge: Gauge
    ) -> list[Path]:
        """Show a resource at `place`, fetching it first where that is needed.

        Returns the folders it made there. From here on it is in use, until `leave`.
        """
        kind = kind_of(plan, mount)
        key = key_of(kind)
        self.users.setdefault(key, set()).add(ref)
        for _ in range(TRIES):
            entry = self.entries.get(key)
            if entry is None:
                entry = await self._made(key, kind, plan, mount, gauge)
            folders = await in_thread(partial(_show, entry, place, plan.uri))
            if folders is not None:
                self.shelf.use(entry, self._clock())
                self._changed()
                return folders
            self._drop(entry, "somebody has changed it")
        raise StagingError(
            f"{plan.uri}: somebody on this worker changes it as soon as it is here",
            Cause.INPUT,
            transient=True,
        )

    def has(self, key: str) -> bool:
        """Whether it is here, or on its way."""
        return key in self.entries or key in self.making

    def claim(self, ref: Ref, key: str) -> None:
        """An execution of the agent before this one uses it."""
        if key in self.entries:
            self.users.setdefault(key, set()).add(ref)

    async def leave(self, ref: Ref) -> None:
        """An execution has ended: what it used may go, and is looked over."""
        keys = [key for key, users in self.users.items() if ref in users]
        for key in keys:
            self.users[key].discard(ref)
            if not self.users[key]:
                del self.users[key]
        for entry in [self.entries[key] for key in keys if key in self.entries]:
            if not await in_thread(lambda _, entry=entry: shelf.intact(entry)):  # type: ignore[misc]
                self._drop(entry, f"task {ref[0]}, or another that had it, has changed it")
        self._changed()

    # --- for people

    def views(self, now: float) -> list[ResourceView]:
        """What is kept and what is on its way; may be asked for from another thread."""
        kept = [
            ResourceView(
                kind="resource",
                uri=entry.kind.uri[: limits.URI_CHARS],
                bytes=entry.bytes,
                used=max(0.0, now - entry.used),
                users=len(self.users.get(entry.key, ())),
                pinned=self.pinned(entry.kind.uri),
            )
            for entry in list(self.entries.values())
        ]
        coming = [
            ResourceView(
                kind="resource",
                uri=making.kind.uri[: limits.URI_CHARS],
                bytes=max(0, making.progress.done),
                users=making.waiting,
                ready=False,
                pinned=self.pinned(making.kind.uri),
            )
            for making in list(self.making.values())
        ]
        return kept + coming

    def pinned(self, uri: str) -> bool:
        """Whether it must stay."""
        return uri in self.pins

    async def pin(self, uri: str, *, pinned: bool) -> None:
        """Keep something whatever happens, or no longer."""
        uri = plain(uri)
        self.pins = self.pins | {uri} if pinned else self.pins - {uri}
        await in_thread(lambda _: self.shelf.pin(self.pins))
        self._changed()

    # --- room

    async def evict(self, needed: int) -> int:
        """Throw away what was used longest ago until so many bytes are free; returns how many."""
        freed = 0
        for entry in sorted(self._idle(), key=lambda entry: entry.used):
            if freed >= needed:
                break
            freed += await self._throw_away(entry, "to make room")
        return freed

    async def clean(self, wanted: set[str]) -> int:
        """Throw away these, or all there are, but what is pinned or in use; returns the bytes."""
        chosen = {plain(uri) for uri in wanted}
        freed = 0
        for entry in self._idle():
            if not chosen or entry.kind.uri in chosen:
                freed += await self._throw_away(entry, "as was asked")
        return freed

    def _idle(self) -> list[Entry]:
        return [
            entry
            for entry in self.entries.values()
            if not self.users.get(entry.key) and not self.pinned(entry.kind.uri)
        ]

    async def _throw_away(self, entry: Entry, why: str) -> int:
        if self.entries.get(entry.key) is not entry or self.users.get(entry.key):
            return 0  # somebody was faster
        log.info("resource %s is removed %s", entry.kind.uri, why)
        del self.entries[entry.key]
        self._changed()
        await in_thread(lambda _: self.shelf.throw_away(entry.place))
        return entry.bytes

    def _drop(self, entry: Entry, why: str) -> None:
        """Never show this one again."""
        if self.entries.get(entry.key) is entry:
            log.warning("resource %s is fetched anew: %s", entry.kind.uri, why)
            del self.entries[entry.key]
            self._changed()
            going = asyncio.ensure_future(in_thread(lambda _: self.shelf.throw_away(entry.place)))
            self._going.add(going)
            going.add_done_callback(self._going.discard)

    # --- fetching

    async def _made(self, key: str, kind: Kind, plan: Plan, mount: Mount, gauge: Gauge) -> Entry:
        """The resource, fetched now, by us or by whoever came before."""
        while True:
            making = self.making.get(key)
            if making is None:
                making = self._begin(key, kind, plan, mount)
            item = gauge.add(plan.uri, making.progress)
            making.waiting += 1
            try:
                await asyncio.wait([making.task])
            finally:
                item.over = True
                making.waiting -= 1
                if not making.waiting:
                    making.task.cancel()  # nobody is left; does nothing to one that is done
            if not making.task.cancelled():
                return making.task.result()
            # It was given up as we came: begin anew.

    def _begin(self, key: str, kind: Kind, plan: Plan, mount: Mount) -> Making:
        progress = Progress()
        task = asyncio.create_task(self._make(key, kind, plan, mount, progress))
        making = self.making[key] = Making(kind, task, progress)
        task.add_done_callback(partial(self._ended, key))
        self._changed()
        return making

    def _ended(self, key: str, task: "asyncio.Task[Entry]") -> None:
        del self.making[key]
        if not task.cancelled():
            task.exception()  # whoever waited has it
        self._changed()

    async def _make(
        self, key: str, kind: Kind, plan: Plan, mount: Mount, progress: Progress
    ) -> Entry:
        place: Path | None = None
        try:
            place = await in_thread(lambda _: self.shelf.begin(key))
            await self._bring(plan, mount, place / shelf.CONTENT, progress)
            entry = await in_thread(lambda _: self.shelf.keep(place, kind))
        except BaseException as error:
            if place is not None:
                await in_thread(lambda _: self.shelf.undo(place))
            if isinstance(error, OSError):
                raise because(plan.uri, error, Cause.INPUT, self.shelf.folder) from error
            raise
        self.entries[key] = entry
        return entry


def kind_of(plan: Plan, mount: Mount) -> Kind:
    """What the resource of a mount is."""
    return Kind(plan.uri, plan.fetches_folder, mount.size, mount.checksum)


def key_of(kind: Kind) -> str:
    """A name for it that fits into a path."""
    return hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:32]


def plain(uri: str) -> str:
    """A URI as resources are known by: with what is done to it, without where it goes."""
    try:
        known = uris.parse(uri)
    except UriError:
        return uri  # an image
    chain = [action for action in known.actions if not action.startswith(MOVE)]
    return "|".join((str(replace(known, actions=())), *chain))


def _show(entry: Entry, place: Path, uri: str, _stop: threading.Event) -> list[Path] | None:
    """The folders that were made; None when the resource is not what it was."""
    if not shelf.intact(entry):
        return None
    try:
        return shelf.show(entry, place)
    except FileNotFoundError:
        return None  # it went while we were at it
    except FileExistsError as error:
        raise StagingError(
            f"{uri}: there is a {Path(error.filename2 or error.filename).name} already;"
            " put one of them into a folder of its own with |mv:FOLDER",
            Cause.INPUT,
        ) from error
    except OSError as error:
        raise because(uri, error, Cause.INPUT, place) from error
