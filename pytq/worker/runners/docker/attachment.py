"""A container's standard streams, live: the one thing aiodocker's requests cannot carry.

Attached before it is started, a container's output arrives as it was written, and all of it;
dockerd's log, followed, may miss the end. Input goes the same way.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aiodocker import DockerError

from pytq.worker.runners.docker.dockerd import DockerdAway

BLOCK: Final = 256 * 1024
SPEAK_SECONDS: Final = 60.0
TAKEN: Final = frozenset({101, 200})


class Attachment:
    """One connection that dockerd has handed over to a container."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, socket: str, name: str, *, stdin: bool) -> "Attachment":
        """Attach to a container. `DockerError`, `DockerdAway`."""
        query = f"stream=1&stdout=1&stderr=1&stdin={int(stdin)}"
        asked = (
            f"POST /containers/{name}/attach?{query} HTTP/1.1\r\n"
            "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        )
        with contextlib.ExitStack() as stack:
            try:
                async with asyncio.timeout(SPEAK_SECONDS):
                    reader, writer = await asyncio.open_unix_connection(socket, limit=BLOCK)
                    stack.callback(writer.close)
                    writer.write(asked.encode())
                    answer = await reader.readuntil(b"\r\n\r\n")
            except TimeoutError as error:
                raise DockerdAway(f"no answer within {SPEAK_SECONDS:g} s") from error
            except (OSError, EOFError, asyncio.LimitOverrunError) as error:
                raise DockerdAway(str(error)) from error
            status = int(answer.split(b" ", 2)[1])
            if status not in TAKEN:
                raise DockerError(status, "the container cannot be attached to")
            stack.pop_all()
            return cls(reader, writer)

    async def blocks(self) -> AsyncIterator[bytes]:
        """What it writes, framed, until it has closed both its streams."""
        try:
            while data := await self._reader.read(BLOCK):
                yield data
        except OSError as error:
            raise DockerdAway(str(error)) from error

    async def feed(self, path: str) -> None:
        """Send it all of a file, as slowly as it reads; OSError when it takes no more."""
        file = await asyncio.to_thread(Path(path).open, "rb")
        with contextlib.closing(file):
            while block := await asyncio.to_thread(file.read, BLOCK):
                self._writer.write(block)
                await self._writer.drain()
        self._writer.write_eof()

    def close(self) -> None:
        """Let go; the container goes on."""
        self._writer.close()
