"""Follows a container to its end: copies what it writes, and waits for its exit code."""

import asyncio
import logging
from typing import Any, Final

from aiodocker import DockerError

from pytq.worker.runners.docker import dockerd as api
from pytq.worker.runners.docker.attachment import Attachment
from pytq.worker.runners.docker.dockerd import AWAY_SECONDS, Dockerd, DockerdAway, insist
from pytq.worker.runners.docker.order import Gone
from pytq.worker.runners.docker.output import Sink

log = logging.getLogger(__name__)

STALL_SECONDS: Final = 20.0  # without a byte, of the output that a container has left behind
VAIN: Final = 5  # times that dockerd broke off without a byte more; then its output is given up
PAUSE_SECONDS: Final = 0.1


class Listener:
    """All that is heard of one container. `cut`: dockerd went away while it ran."""

    def __init__(self, dockerd: Dockerd, name: str, sink: Sink) -> None:
        self.cut = False
        self._dockerd = dockerd
        self._name = name
        self._sink = sink
        self._attachment: Attachment | None = None

    async def attach(self, *, stdin: bool) -> None:
        """Connect with its streams; to be done before it is started."""
        self.detach()
        self._attachment = await Attachment.open(self._dockerd.socket, self._name, stdin=stdin)

    def detach(self) -> None:
        """Let go of its streams."""
        if self._attachment is not None:
            self._attachment.close()
            self._attachment = None

    async def feed(self, path: str) -> None:
        """Give it a file as its input; OSError when it takes no more."""
        if self._attachment is not None:
            await self._attachment.feed(path)

    async def show(self) -> dict[str, Any]:
        """What dockerd knows of it, as soon as dockerd answers. `Gone`, `DockerdAway`."""
        try:
            return await insist(lambda: self._dockerd.show(self._name), AWAY_SECONDS)
        except DockerError as error:
            if error.status == api.NOT_FOUND:
                raise Gone("removed") from error
            raise DockerdAway(error.message) from error

    async def follow(self) -> int:
        """Copy its output until it has ended; its exit code."""
        vain, copied = 0, self._sink.copied
        while vain < VAIN:
            before = [*copied]
            try:
                return await self._listen()
            except DockerdAway as error:
                log.warning("%s: dockerd: %s", self._name, error)
            except DockerError as error:
                if error.status == api.NOT_FOUND:
                    raise Gone("removed") from error
                log.warning("%s: dockerd: %s", self._name, error.message)
            self.detach()
            vain = 0 if copied != before else vain + 1
            await self.show()  # as soon as dockerd answers
            await asyncio.sleep(PAUSE_SECONDS * 2**vain)
        log.error("the rest of the output of %s cannot be had", self._name)
        return await insist(lambda: self._dockerd.wait(self._name), AWAY_SECONDS)

    async def _listen(self) -> int:
        """Copy its output and wait for its end, side by side."""
        waiting = asyncio.create_task(self._dockerd.wait(self._name))
        copying = asyncio.create_task(self._copy())
        try:
            await asyncio.wait({waiting, copying}, return_when=asyncio.FIRST_COMPLETED)
            if copying.done() and not isinstance(copying.exception(), DockerdAway):
                copying.result()
            try:
                code = await waiting
            except DockerdAway:
                self.cut = True
                raise
            await self._drain(copying)
            return code
        finally:
            for task in (waiting, copying):
                task.cancel()
            await asyncio.gather(waiting, copying, return_exceptions=True)

    async def _copy(self) -> None:
        """Its output as it comes: live where it was attached to, else from dockerd's log."""
        if self._attachment is not None:
            await self._sink.copy(self._attachment.blocks(), anew=False)
        else:
            await self._copy_log(follow=True)

    async def _copy_log(self, *, follow: bool) -> None:
        async with self._dockerd.logs(self._name, follow=follow) as stream:
            await self._sink.copy(stream.iter_any(), anew=True)

    async def _drain(self, copying: asyncio.Task[None]) -> None:
        """It has ended: have the rest of its output."""
        if await self._ends(copying) and self._attachment is not None:
            return
        # A log that was followed may lack its end, and a stream that broke certainly does.
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        rest = asyncio.create_task(self._copy_log(follow=False))
        try:
            if not await self._ends(rest):
                raise DockerdAway("the rest of its output does not come")
        finally:
            rest.cancel()
            await asyncio.gather(rest, return_exceptions=True)

    async def _ends(self, copying: asyncio.Task[None]) -> bool:
        """Whether output comes to its end, however slowly; False when it breaks off or stalls."""
        while not copying.done():
            before = [*self._sink.copied]
            await asyncio.wait({copying}, timeout=STALL_SECONDS)
            if not copying.done() and before == self._sink.copied:
                return False
        if isinstance(copying.exception(), DockerdAway | DockerError):
            return False
        copying.result()
        return True
