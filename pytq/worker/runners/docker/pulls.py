"""One pull of one image: its progress, its retries, its deadline; shared by all who wait for it."""

import asyncio
import contextlib
import json
import logging
import random
import re
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiodocker import DockerError

from pytq.schema.states import Cause
from pytq.worker.runners.docker import names
from pytq.worker.runners.docker.credentials import Credentials, CredentialsError
from pytq.worker.runners.docker.dockerd import Dockerd, DockerdAway

log = logging.getLogger(__name__)

PULL_SECONDS: Final = 3 * 3600.0  # for all tries together
STALL_SECONDS: Final = 180.0  # without a word from dockerd, which itself tries again for a while
TRIES: Final = 5
FIRST_PAUSE: Final = 2.0
TOLD_SECONDS: Final = 10.0  # between two lines in the log

Tell = Callable[[int, int | None], None]

# What a registry or dockerd says when asking again would bring the same answer.
PERMANENT: Final = re.compile(
    r"manifest (for .* )?(unknown|not found)|not found|no such image|does not exist"
    r"|no matching manifest|unauthorized|denied|no basic auth|authentication required"
    r"|incorrect username|invalid reference|repository name must be|unsupported"
    r"|x509|certificate|HTTP response to HTTPS client",
    re.IGNORECASE,
)
PASSING: Final = re.compile(r"toomanyrequests|too many requests|\b(429|50[0234])\b", re.IGNORECASE)
NO_ROOM: Final = re.compile(r"no space left|disk quota", re.IGNORECASE)
HINTS: Final = {
    r"HTTP response to HTTPS client": "name the registry in `insecure-registries` of dockerd's"
    " daemon.json",
    r"unauthorized|denied|no basic auth|authentication required|incorrect username": "is its name"
    " right, and has this worker's user logged in, with `docker login`?",
}


class ImageError(Exception):
    """Why an image cannot be had; `permanent` when asking again would not help."""

    def __init__(self, image: str, reason: str, *, permanent: bool) -> None:
        super().__init__(f"docker://{image}: {reason}")
        self.image = image
        self.reason = reason
        self.permanent = permanent
        self.cause = Cause.DISK if NO_ROOM.search(reason) else Cause.IMAGE


class Layers:
    """How far the layers of an image have come, as dockerd tells it line by line."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.total: dict[str, int] = {}
        self.known: set[str] = set()

    def take(self, line: dict[str, Any]) -> None:
        """One line of progress."""
        name, status = line.get("id"), line.get("status", "")
        if name is None or status.startswith("Pulling from"):
            return
        self.known.add(name)
        detail = line.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self.total[name] = detail["total"]
            self.done[name] = detail.get("current", 0)
        elif status in ("Download complete", "Pull complete", "Already exists"):
            self.done[name] = self.total.setdefault(name, 0)

    @property
    def progress(self) -> tuple[int, int | None]:
        """Bytes that have come, of how many; None until every layer has told its size."""
        complete = self.known and self.known <= self.total.keys()
        return sum(self.done.values()), sum(self.total.values()) if complete else None


class Pull:
    """Brings one image, for whoever wants it; gives up when nobody does any more."""

    def __init__(
        self, dockerd: Dockerd, credentials: Credentials, image: str, platform: str | None
    ) -> None:
        self.image = image
        self.listeners: list[Tell] = []
        self._dockerd = dockerd
        self._credentials = credentials
        self._platform = platform
        self.progress: tuple[int, int | None] = (0, None)
        self._told = 0.0
        self.given_up = False  # nobody wanted it any more; whoever comes now needs another
        self._task = asyncio.create_task(self._run())

    async def wait(self, tell: Tell) -> None:
        """Wait until it is here, hearing how far it has come; `ImageError` when it will not be."""
        self.listeners.append(tell)
        tell(*self.progress)
        try:
            await asyncio.shield(self._task)
        finally:
            self.listeners.remove(tell)
            if not self.listeners and not self._task.done():
                self.given_up = True
                self._task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._task

    async def _run(self) -> None:
        error: ImageError | None = None
        log.info("pulling %s", self.image)
        try:
            async with asyncio.timeout(PULL_SECONDS):
                for attempt in range(TRIES):
                    if attempt:
                        pause = FIRST_PAUSE * 2 ** (attempt - 1)
                        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - to spread load
                    error = await self._try()
                    if error is None or error.permanent or error.cause is Cause.DISK:
                        break
                    log.warning("%s (try %d of %d)", error, attempt + 1, TRIES)
        except TimeoutError:
            reason = f"it took longer than {PULL_SECONDS / 3600:g} hours to pull"
            error = ImageError(self.image, reason, permanent=False)
        if error is not None:
            raise error
        log.info("pulled %s", self.image)

    async def _try(self) -> ImageError | None:
        """One try; what went wrong, if anything did."""
        try:
            login = await self._credentials.of(names.registry(self.image))
            async with self._dockerd.pull(names.full(self.image), login, self._platform) as lines:
                await self._listen(lines)
            if await self._dockerd.image(self.image) is None:
                return ImageError(self.image, "the pull broke off", permanent=False)
        except CredentialsError as error:
            return ImageError(self.image, str(error), permanent=True)
        except DockerError as error:
            return of_refusal(self.image, error.message)
        except DockerdAway as error:
            return ImageError(self.image, f"dockerd: {error}", permanent=False)
        return None

    async def _listen(self, lines: aiohttp.StreamReader) -> None:
        layers = Layers()
        while True:
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    line = await lines.readline()
            except TimeoutError as error:
                raise DockerdAway(f"nothing has come for {STALL_SECONDS:g} s") from error
            if not line:
                return
            told = json.loads(line)
            if "error" in told:
                raise DockerError(0, str(told["error"]))
            layers.take(told)
            self._tell(layers.progress)

    def _tell(self, progress: tuple[int, int | None]) -> None:
        if progress == self.progress:
            return
        self.progress = progress
        for tell in self.listeners:
            tell(*progress)
        now = asyncio.get_running_loop().time()
        if now - self._told >= TOLD_SECONDS:
            self._told = now
            done, total = progress
            if total:
                log.info("pulling %s: %d %%", self.image, 100 * done // total)
            else:
                log.info("pulling %s: %d MB so far", self.image, done // 10**6)


def of_refusal(image: str, said: str) -> ImageError:
    """What dockerd's or the registry's sentence means."""
    permanent = bool(PERMANENT.search(said)) and not PASSING.search(said)
    hint = next((hint for sign, hint in HINTS.items() if re.search(sign, said, re.IGNORECASE)), "")
    return ImageError(
        image, f"{said.strip()}; {hint}" if hint else said.strip(), permanent=permanent
    )
