"""The agent's end of the keeper: finds the one that runs, or starts one; speaks in batches."""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pytq.worker.options import WorkerError

READY_SECONDS: Final = 60.0  # an older keeper may have to bury its tasks first
RETRY_SECONDS: Final = 0.02
ERRORS_BYTES: Final = 1024 * 1024

Message = dict[str, Any]

log = logging.getLogger(__name__)


class Keeping(asyncio.Protocol):
    """The connection to the keeper of one work directory."""

    def __init__(
        self, home: Path, told: Callable[[list[Message]], None], lost: Callable[[], None]
    ) -> None:
        self.home = home
        self.pid = 0
        self.lease = 0.0  # seconds that were left of it when the keeper was met
        self.lease_length = 0.0  # of the whole of it; 0: not known
        self._told = told
        self._lost = lost
        self._going: list[Message] = []
        self._coming = b""
        self._transport: asyncio.Transport | None = None
        self._holding: asyncio.Future[list[Message]] | None = None
        self._guardian = 0  # its pid, when it is our child
        self.gone = asyncio.Event()

    @property
    def unsent(self) -> set[str]:
        """The ids of starts that no keeper has heard of yet."""
        return {message["id"] for message in self._going if message["type"] == "start"}

    def send(self, message: Message) -> None:
        """Say something with the next batch."""
        self._going.append(message)

    def send_first(self, message: Message) -> None:
        """Say something before all that has gathered."""
        self._going.insert(0, message)

    def flush(self) -> None:
        """Send what has gathered, once there is somebody to hear it."""
        if self._going and self._transport is not None and self._holding is None:
            data = "".join(json.dumps(message) + "\n" for message in self._going)
            self._going.clear()
            self._transport.write(data.encode())

    async def open(self) -> list[Message]:
        """Connect to the keeper, starting one where there is none; returns all it holds.

        Nothing is sent before `flush` is called after this.
        """
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(OSError):
                return await self._connect()
            if not self._guardian_lives():
                self._start()
            await asyncio.sleep(RETRY_SECONDS)
        raise WorkerError(
            f"the keeper of {self.home} does not answer; see keeper.err there for the reason"
        )

    async def reopen(self) -> list[Message]:
        """Connect again, however long that takes: what runs is not given up."""
        while True:
            try:
                return await self.open()
            except WorkerError as error:
                log.error("%s; still trying", error)  # noqa: TRY400 - the sentence says it all

    def close(self) -> None:
        """Leave the keeper alone with what it holds."""
        if self._transport is not None:
            self._transport.close()

    async def _connect(self) -> list[Message]:
        loop = asyncio.get_running_loop()
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        folder = os.open(self.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # the detour over /proc keeps the socket's path short
            await loop.sock_connect(door, f"/proc/self/fd/{folder}/keeper.sock")
        except OSError:
            door.close()
            raise
        finally:
            os.close(folder)
        self._holding = loop.create_future()
        self._coming = b""
        self.gone.clear()
        await loop.create_unix_connection(lambda: self, sock=door)
        held = await self._holding
        self._holding = None
        return held

    def _guardian_lives(self) -> bool:
        if self._guardian:
            try:
                if os.waitpid(self._guardian, os.WNOHANG)[0]:
                    self._guardian = 0
            except ChildProcessError:
                self._guardian = 0
        return self._guardian != 0

    def _start(self) -> None:
        """Start guardian and keeper in a session of their own, which no Ctrl-C reaches."""
        errors = self.home / "keeper.err"
        fresh = errors.exists() and errors.stat().st_size > ERRORS_BYTES
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if fresh else 0)
        known = ("PATH", "LD_LIBRARY_PATH")  # nothing else of ours: tokens are in there
        self._guardian = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(Path(__file__).parent / "keeper"), str(self.home)],
            {name: os.environ[name] for name in known if name in os.environ},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(errors), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )

    async def buried(self) -> None:
        """Wait until the keeper's guardian has gone too: then nothing is left."""
        while self._guardian_lives() or not self._lock_is_free():  # noqa: ASYNC110 - a lock has no event
            await asyncio.sleep(RETRY_SECONDS)

    def _lock_is_free(self) -> bool:
        fd = os.open(self.home / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The keeper is there."""
        self._transport = transport  # type: ignore[assignment] # it is a stream's transport

    def data_received(self, data: bytes) -> None:
        """Lines, maybe cut anywhere."""
        lines = (self._coming + data).split(b"\n")
        self._coming = lines.pop()
        messages = [json.loads(line) for line in lines]
        if self._holding is not None and not self._holding.done() and messages:
            first = messages.pop(0)
            self.pid = first["pid"]
            self.lease = first.get("lease", 0.0)
            self.lease_length = first.get("length", 0.0)
            self._holding.set_result(first["held"])
        if messages:
            self._told(messages)

    def connection_lost(self, exc: Exception | None) -> None:
        """The keeper went, or took another agent."""
        self._transport = None
        self._coming = b""
        self.gone.set()
        if self._holding is not None:
            if not self._holding.done():
                self._holding.set_exception(exc or ConnectionResetError("the keeper went away"))
        else:
            self._lost()
