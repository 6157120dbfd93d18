"""The dockerd of this machine, over its Unix socket: what is asked of it, each with a deadline.

Two things may come of a question beside its answer: `DockerdAway`, when nobody is there or the
connection broke, and aiodocker's `DockerError`, when dockerd said no.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import aiodocker
import aiohttp
import psutil
from aiodocker import DockerError

from pytq.troubles import why

CALL_SECONDS: Final = 120.0  # a dockerd with hundreds of containers in its hands may be slow
ANSWER_SECONDS: Final = 180.0  # until a long answer begins; a pull asks its registry first
PING_SECONDS: Final = 15.0
START_SECONDS: Final = 120.0  # what has not begun waits so long for a dockerd that is away
AWAY_SECONDS: Final = 900.0  # and so long a container that runs
FIRST_PAUSE: Final = 0.1
LAST_PAUSE: Final = 5.0
DEFAULT_SOCKET: Final = "/var/run/docker.sock"
PID_FILE: Final = "/var/run/docker.pid"  # of a dockerd whose socket systemd has opened
AWAY: Final = frozenset({502, 503, 900})  # 900 is aiodocker's own: no connection

NOT_MODIFIED: Final = 304
BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
CONFLICT: Final = 409

T = TypeVar("T")


class DockerdAway(Exception):  # noqa: N818 - it comes back, most of the time
    """dockerd cannot be reached, or the connection to it broke."""


@contextlib.asynccontextmanager
async def speaking(seconds: float | None = CALL_SECONDS) -> AsyncIterator[None]:
    """Turn every way in which a connection can fail into `DockerdAway`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except DockerError as error:
        if error.status in AWAY:
            cause = error.__context__  # what aiodocker has wrapped up
            raise DockerdAway(error.message if cause is None else why(cause)) from error
        raise
    except TimeoutError as error:
        raise DockerdAway(f"no answer within {seconds or ANSWER_SECONDS:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise DockerdAway(why(error)) from error


async def insist(ask: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Ask until dockerd answers; `DockerdAway` when it has been away for so long."""
    deadline, pause = 0.0, FIRST_PAUSE
    while True:
        try:
            return await ask()
        except DockerdAway:
            now = time.monotonic()
            deadline = deadline or now + seconds
            if now >= deadline:
                raise
            await asyncio.sleep(pause)
            pause = min(LAST_PAUSE, 2 * pause)


def find_socket() -> str:
    """Where dockerd listens: `DOCKER_HOST`, or the usual place; ValueError for a remote one."""
    host = os.environ.get("DOCKER_HOST", "")
    if not host:
        return DEFAULT_SOCKET
    if not host.startswith("unix://"):
        raise ValueError(
            f"DOCKER_HOST is {host}: a worker mounts its own folders into containers,"
            " so it needs a dockerd on this machine, by its Unix socket (unix://…)"
        )
    return host.removeprefix("unix://")


class Dockerd:
    """A pool of connections to one dockerd."""

    def __init__(self, path: str) -> None:
        self.socket = path
        self.live_restore = False  # whether containers outlive a restart of dockerd
        self.root: Path | None = None  # where it keeps images and containers
        self._connector: aiohttp.UnixConnector | None = None
        self._docker: aiodocker.Docker | None = None

    @property
    def docker(self) -> aiodocker.Docker:
        """The client. Made late: it needs a running event loop."""
        if self._docker is None:
            # aiohttp's default of 100 connections would let 50 containers block everything.
            self._connector = aiohttp.UnixConnector(self.socket, limit=0)
            self._docker = aiodocker.Docker("unix://localhost", connector=self._connector)
        return self._docker

    async def greet(self) -> None:
        """See whether somebody is there, and learn what must be known about them."""
        async with speaking(PING_SECONDS):
            info = await self.docker.system.info()
        self.live_restore = bool(info.get("LiveRestoreEnabled"))
        self.root = Path(info["DockerRootDir"]) if info.get("DockerRootDir") else None

    async def knock(self) -> None:
        """See whether it still takes new callers: one that is stopping answers only old ones."""
        async with speaking(CALL_SECONDS):
            reader, writer = await asyncio.open_unix_connection(self.socket)
            try:
                writer.write(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
                if not await reader.read(1):
                    raise DockerdAway("it hung up")
            finally:
                writer.close()

    async def close(self) -> None:
        """Hang up."""
        if self._docker is not None:
            await self._docker.close()
        if self._connector is not None:
            await self._connector.close()

    def began(self) -> float:
        """When dockerd was started, in seconds since 1970; 0 where that cannot be told."""
        try:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(PING_SECONDS)
                peer.connect(self.socket)
                pid = int.from_bytes(
                    peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), "little"
                )
            if pid == 1:  # systemd holds its socket
                pid = int(Path(PID_FILE).read_text(encoding="ascii"))
            return psutil.Process(pid).create_time()
        except (OSError, ValueError, psutil.Error):
            return 0.0

    # --- containers, by id or by name

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Make a container; its id. `DockerError` 409: the name is taken; 404: no such image."""
        async with speaking():
            return (await self.docker.containers.create(dict(config), name=name)).id

    async def start(self, name: str) -> None:
        """Start a container that was made; one that runs already is left alone."""
        async with speaking():
            await self._of(name).start()

    async def wait(self, name: str) -> int:
        """Wait, as long as it takes, until a container has ended; its exit code."""
        async with self._stream("POST", f"containers/{name}/wait") as answer:
            return int((await answer.json())["StatusCode"])

    async def show(self, name: str) -> dict[str, Any]:
        """All that dockerd knows of a container."""
        async with speaking():
            found: dict[str, Any] = await self._of(name).show()
            return found

    async def kill(self, name: str, signal: str) -> None:
        """Signal the first process of a container."""
        async with speaking():
            await self._of(name).kill(signal=signal)

    async def pause(self, name: str, *, paused: bool) -> None:
        """Freeze a container, or let it go on."""
        container = self._of(name)
        async with speaking():
            await (container.pause() if paused else container.unpause())

    async def remove(self, name: str) -> None:
        """Remove a container, running or not, with its anonymous volumes; none is fine."""
        try:
            async with speaking():
                await self._of(name).delete(force=True, v=True)
        except DockerError as error:
            if error.status not in (NOT_FOUND, CONFLICT):  # 409: it is being removed already
                raise

    async def labelled(self, label: str) -> list[dict[str, Any]]:
        """Containers with a label, those that ended included."""
        filters = json.dumps({"label": [label]})
        async with speaking():
            found = await self.docker.containers.list(all=True, filters=filters)
        return [container._container for container in found]  # noqa: SLF001 - it has no public dict

    @contextlib.asynccontextmanager
    async def logs(self, name: str, *, follow: bool) -> AsyncIterator[aiohttp.StreamReader]:
        """Both output streams from their beginning, multiplexed.

        To `follow` a container to its end may miss the last it wrote: dockerd 20.10 does.
        """
        wanted = {"stdout": "1", "stderr": "1", "follow": str(int(follow))}
        async with self._stream("GET", f"containers/{name}/logs", wanted) as answer:
            yield answer.content

    def _of(self, name: str) -> Any:
        return self.docker.containers.container(name)

    @contextlib.asynccontextmanager
    async def _stream(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of any length. aiodocker's own ways decode it, and leave it open when cut."""
        docker = self.docker
        url = f"{docker.docker_host}/{docker.api_version}/{path}"
        async with speaking(None), contextlib.AsyncExitStack() as stack:
            asked = docker.session.request(method, url, params=params, headers=headers, data=data)
            async with asyncio.timeout(ANSWER_SECONDS):  # until it begins
                answer = await stack.enter_async_context(asked)
            if answer.status >= BAD_REQUEST:
                raise DockerError(answer.status, _message(await answer.text()))
            yield answer

    # --- images

    async def image(self, name: str) -> dict[str, Any] | None:
        """What dockerd knows of an image; None when it is not here."""
        try:
            async with speaking():
                return await self.docker.images.inspect(name)
        except DockerError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    @contextlib.asynccontextmanager
    async def pull(
        self, image: str, login: Mapping[str, str] | None, platform: str | None
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Pull an image, named in full; lines of JSON tell how far it has come."""
        headers = {}
        if login is not None:
            secret = json.dumps(dict(login)).encode()
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(secret).decode()
        wanted = {"fromImage": image} | ({"platform": platform} if platform else {})
        async with self._stream("POST", "images/create", wanted, headers) as answer:
            yield answer.content

    async def import_image(self, name: str, tar: bytes) -> None:
        """Make an image of a file system."""
        repository, _, tag = name.rpartition(":")
        wanted = {"fromSrc": "-", "repo": repository, "tag": tag}
        async with self._stream("POST", "images/create", wanted, data=tar) as answer:
            told = await answer.text()
        if "error" in told:
            raise DockerError(0, told)

    async def remove_image(self, name: str) -> None:
        """Remove an image. `DockerError` 409: a container needs it."""
        async with speaking():
            await self.docker.images.delete(name)

    async def images(self) -> set[str]:
        """The names, tags and digests included, of all images that are here."""
        async with speaking():
            found = await self.docker.images.list()
        names = (image.get(field) or () for image in found for field in ("RepoTags", "RepoDigests"))
        return {name for several in names for name in several}


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


def plain(message: str) -> str:
    """Docker's sentence without the names of its own parts."""
    found = re.search(r"((?:exec: |stat |chdir ).*?)(?:: unknown)?\s*$", message, re.DOTALL)
    return f"docker: {found[1] if found else message.strip()}"


def moment(text: str) -> float:
    """Docker's time, which has nanoseconds, in seconds since 1970."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    return seconds + float(f"0.{fraction or 0}")
