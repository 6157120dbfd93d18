"""The images of this worker: brought once, remembered, and let go when the room is needed.

Only what this worker has pulled itself is ever removed: what was here before belongs to others.
"""

import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from aiodocker import DockerError

from pytq.schema.views import ResourceView
from pytq.worker.runners.docker import names
from pytq.worker.runners.docker.credentials import Credentials
from pytq.worker.runners.docker.dockerd import START_SECONDS, Dockerd, DockerdAway, insist
from pytq.worker.runners.docker.pulls import ImageError, Pull, Tell, of_refusal

log = logging.getLogger(__name__)

SEEN_SECONDS: Final = 60.0  # an image that was here so long ago is believed to be here still
NOTED_SECONDS: Final = 60.0  # a use is written down when the last one was so long ago


@dataclass(slots=True)
class Kept:
    """What is remembered of an image that this worker pulled."""

    bytes: int
    used: float  # seconds since 1970
    pinned: bool = False


class Images:
    """One worker's images. `wanted` gives the images of all executions that have not ended."""

    def __init__(
        self,
        dockerd: Dockerd,
        memory: Path,
        wanted: Callable[[], Iterable[str]] = tuple,
        credentials: Credentials | None = None,
    ) -> None:
        self._dockerd = dockerd
        self._memory = memory
        self._wanted = wanted
        self._credentials = credentials or Credentials()
        self._pulls: dict[tuple[str, str | None], Pull] = {}
        self._seen: dict[str, float] = {}
        self._users: dict[str, str] = {}
        self._kept = self._read()

    async def ensure(self, image: str, tell: Tell, platform: str | None = None) -> None:
        """See to it that an image is here; pulls what is not, once for all who ask.

        `tell` is given the bytes that have come and, when that is known, of how many. An image
        that is here is used as it is, whatever its tag. Raises `ImageError`.
        """
        name = names.familiar(image)
        if not await self._is_here(name, platform):
            await self._pull(name, tell, platform)
        self._use(name)

    def user_of(self, image: str) -> str:
        """The user that an image's program runs as; empty for root. Known once it was ensured."""
        return self._users.get(names.familiar(image), "")

    def doubt(self, image: str) -> None:
        """It was said to be missing: look before believing that it is here."""
        self._seen.pop(names.familiar(image), None)

    # --- what is kept

    def in_use(self) -> Counter[str]:
        """How many executions want each image."""
        return Counter(names.familiar(image) for image in self._wanted())

    async def list(self) -> list[ResourceView]:
        """What this worker has pulled and still has, and what it is pulling."""
        with contextlib.suppress(DockerdAway):
            await self._check_presence()
        users, now = self.in_use(), time.time()
        views = [
            ResourceView(
                kind="image",
                uri=names.uri_of(name),
                bytes=kept.bytes,
                used=max(0.0, now - kept.used),
                users=users[name],
                pinned=kept.pinned,
            )
            for name, kept in sorted(self._kept.items())
        ]
        views += [
            ResourceView(
                kind="image",
                uri=names.uri_of(name),
                bytes=pull.progress[0],
                users=users[name],
                ready=False,
            )
            for (name, _), pull in self._pulls.items()
        ]
        return views

    async def remove(self, uris: Iterable[str] = ()) -> int:
        """Remove these, or all, that nobody uses and that are not pinned; the bytes they had."""
        chosen = {names.of_uri(uri) for uri in uris} or set(self._kept)
        return await self._remove(self._oldest(chosen))

    async def evict(self, wanted: int) -> int:
        """Remove the least recently used until so many bytes are free; how many there were."""
        freed = 0
        for name in self._oldest(set(self._kept)):
            if freed >= wanted:
                break
            freed += await self._remove([name])
        return freed

    def pin(self, uri: str, *, pinned: bool) -> bool:
        """Keep an image whatever happens, or no longer; False when it is not one of ours."""
        kept = self._kept.get(names.of_uri(uri))
        if kept is None:
            return False
        kept.pinned = pinned
        self._write()
        return True

    # --- inside

    async def _is_here(self, name: str, platform: str | None) -> bool:
        now = time.monotonic()
        if platform is None and now - self._seen.get(name, -SEEN_SECONDS) < SEEN_SECONDS:
            return True
        try:
            found = await insist(lambda: self._dockerd.image(name), START_SECONDS)
        except DockerdAway as error:
            raise ImageError(name, f"dockerd: {error}", permanent=False) from error
        except DockerError as error:
            raise of_refusal(name, error.message) from error
        if found is None or not _fits(found, platform):
            return False
        self._note(name, found)
        return True

    async def _pull(self, name: str, tell: Tell, platform: str | None) -> None:
        key = (name, platform)
        pull = self._pulls.get(key)
        if pull is None or pull.given_up:
            pull = self._pulls[key] = Pull(self._dockerd, self._credentials, name, platform)
        try:
            await pull.wait(tell)
        finally:
            if not pull.listeners and self._pulls.get(key) is pull:
                del self._pulls[key]
        found = await self._dockerd.image(name) or {}
        self._note(name, found)
        self._kept.setdefault(name, Kept(int(found.get("Size") or 0), 0.0))

    def _note(self, name: str, found: dict[str, Any]) -> None:
        self._seen[name] = time.monotonic()
        self._users[name] = (found.get("Config") or {}).get("User") or ""

    def _use(self, name: str) -> None:
        kept, now = self._kept.get(name), time.time()
        if kept is not None and now - kept.used >= NOTED_SECONDS:
            kept.used = now
            self._write()

    def _oldest(self, chosen: set[str]) -> Sequence[str]:
        """What may go of these, the least recently used first."""
        users = self.in_use()
        free = [n for n in chosen & self._kept.keys() if not (users[n] or self._kept[n].pinned)]
        return sorted(free, key=lambda name: self._kept[name].used)

    async def _remove(self, chosen: Sequence[str]) -> int:
        freed = 0
        for name in chosen:
            try:
                if await self._dockerd.image(name) is not None:
                    await self._dockerd.remove_image(name)
                    freed += self._kept[name].bytes
            except (DockerError, DockerdAway) as error:
                log.info("%s stays: %s", name, getattr(error, "message", error))
                continue
            self._seen.pop(name, None)
            self._kept.pop(name, None)
            self._write()
            log.info("removed the image %s", name)
        return freed

    async def _check_presence(self) -> None:
        here = await self._dockerd.images()
        gone = [name for name in self._kept if name not in here]
        for name in gone:
            del self._kept[name]
        if gone:
            self._write()

    def _read(self) -> dict[str, Kept]:
        try:
            known = json.loads(self._memory.read_bytes())
            return {name: Kept(**entry) for name, entry in known.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("%s is forgotten: %s", self._memory, error)
            return {}

    def _write(self) -> None:
        fresh = self._memory.with_suffix(".new")
        text = json.dumps({name: asdict(kept) for name, kept in self._kept.items()}, indent=1)
        try:
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self._memory)
        except OSError as error:  # then an image may stay longer than it need
            log.warning("%s cannot be written: %s", self._memory, error)


def _fits(found: dict[str, Any], platform: str | None) -> bool:
    """Whether an image is of a platform, `linux/arm64` for one."""
    if platform is None:
        return True
    parts = (found.get("Os"), found.get("Architecture"), found.get("Variant"))
    return all(have == want for have, want in zip(parts, platform.split("/"), strict=False))
