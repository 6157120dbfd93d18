"""One visitor of `/ui/`: a cockpit in a process of its own, and the pipes between it and a browser.

The protocol is textual-serve's: packets of a letter, a length and a payload. What differs: nothing
is run through a shell, the process gets no more of the environment than it needs, what it says on
stderr is bounded, and it surely ends.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

from pytq.schema import limits

log = logging.getLogger(__name__)

_READY: Final = b"__GANGLION__\n"  # what Textual's web driver says first
_STARTING_LINES: Final = 10
_PACKET_BYTES: Final = 64 * 1024 * 1024
_STDERR_LINES: Final = 20
_GONE_SECONDS: Final = 5.0  # for a process to be gone after SIGKILL
# Of the server's environment, which holds its secrets, a cockpit gets these.
_PASSED_ON: Final = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "PYTHONPATH", "PYTQ_CA", "TMPDIR", "TZ", "USER"}
)
_PASSED_ON_TOO: Final = "LC_"


class Visit(AppService):
    """A cockpit's process. `token` is what it shows to the server at `url`."""

    program: ClassVar[Sequence[str]] = (sys.executable, "-m", "pytq.cli.main", "tui")

    def __init__(
        self, url: str, token: str, socket: web.WebSocketResponse, downloads: DownloadManager
    ) -> None:
        super().__init__(
            "",
            write_bytes=socket.send_bytes,
            write_str=socket.send_str,
            close=self._hang_up,
            download_manager=downloads,
        )
        self._socket = socket
        self._url = url
        self._token = token
        self._said: deque[str] = deque(maxlen=_STDERR_LINES)

    async def _hang_up(self) -> None:
        await self._socket.close()

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        return environment(os.environ, width, height) | (
            {"PYTQ_TOKEN": self._token} if self._token else {}
        )

    async def _open_app_process(
        self, width: int = 80, height: int = 24
    ) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self.program,
            self._url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._build_environment(width, height),
            start_new_session=True,
        )
        self._process, self._stdin = process, process.stdin
        return process

    async def run(self) -> None:
        """Pass on what the cockpit says until it ends; then hang up."""
        process = self._process
        assert process is not None  # noqa: S101 - it was started a moment ago
        assert process.stdout is not None  # noqa: S101 - as a pipe
        assert process.stderr is not None  # noqa: S101
        listening = asyncio.create_task(self._listen(process.stderr))
        try:
            if await _is_ready(process.stdout):
                await self._pass_on(process.stdout)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one of both sides has gone
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            if self._said:
                log.warning("a cockpit at /ui/ said: %s", "\n".join(self._said))
            await self.remote_close()

    async def _pass_on(self, stdout: asyncio.StreamReader) -> None:
        while True:
            head = await stdout.readexactly(5)
            size = int.from_bytes(head[1:], "big")
            if size > _PACKET_BYTES:
                log.error("a cockpit at /ui/ sent a packet of %d bytes", size)
                return
            payload = await stdout.readexactly(size)
            take = {b"D": self.on_data, b"M": self.on_meta, b"P": self.on_packed}.get(head[:1])
            if take is not None:
                await take(payload)

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        while data := await stderr.read(4096):
            self._said.append(data.decode(errors="replace").rstrip())

    async def stop(self) -> None:
        """End the process, politely at first; returns when it is gone."""
        process, task, self._task = self._process, self._task, None
        if process is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.VISIT_STOP_SECONDS):
                await self._download_manager.cancel_app_downloads(self.app_service_id)
                await self.send_meta({"type": "quit"})
                await process.wait()
        if process.returncode is None:
            log.warning("a cockpit at /ui/ did not end: killing process %d", process.pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GONE_SECONDS):
                    await process.wait()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def environment(ours: Mapping[str, str], width: int, height: int) -> dict[str, str]:
    """What a cockpit finds set."""
    passed_on = {
        name: value
        for name, value in ours.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_TOO)
    }
    return passed_on | {
        "PYTQ_UI": "1",
        "TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver",
        "TEXTUAL_FPS": "30",
        "TEXTUAL_COLOR_SYSTEM": "truecolor",
        "TERM_PROGRAM": "textual",
        "COLUMNS": str(width),
        "ROWS": str(height),
    }


async def _is_ready(stdout: asyncio.StreamReader) -> bool:
    """Whether it is a Textual app that runs: it says so, after a few lines at most."""
    for _ in range(_STARTING_LINES):
        line = await stdout.readline()
        if line in (_READY, b""):
            return line == _READY
    return False
