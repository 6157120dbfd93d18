"""The worker's end of the link: connects, says hello, and starts over when it breaks."""

import asyncio
import contextlib
import errno
import logging
import random
from collections.abc import Callable
from typing import Final

import aiohttp
from pydantic import ValidationError

from pytq import credentials
from pytq.identity import Shown, tls_for
from pytq.schema import address, frames, limits
from pytq.schema.problems import InvalidError
from pytq.troubles import why
from pytq.worker.options import WorkerError

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.1
CONNECT_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 2.0
AGAIN_SECONDS: Final = 60.0  # before the same trouble is told again
_UNKNOWN: Final = 401
_NOT_FOR_US: Final = frozenset({_UNKNOWN, 403})

Frame = frames.Welcome | frames.Orders


def text_of(frame: frames.Hello | frames.Report) -> str:
    """A frame as JSON, defaults left out, its type kept."""
    return f'{{"type":"{frame.type}",{frame.model_dump_json(exclude_defaults=True)[1:]}'


class Link:
    """One connection at a time; `compose` gives the next report, `receive` takes frames.

    Without a `token` it is looked for anew each time: see `pytq.credentials`.
    """

    def __init__(
        self,
        server: str,
        token: str | None,
        hello: Callable[[], frames.Hello],
        compose: Callable[[], frames.Report | None],
        receive: Callable[[Frame], None],
    ) -> None:
        self._place = address.parse(server)
        self.url = f"ws{self._place.url.removeprefix('http')}/api/v1/link"
        self._shown = Shown(self._place, token, credentials.WORKER)
        self._hello = hello
        self._compose = compose
        self._receive = receive
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[bool] | None = None
        self._warned = "", 0.0  # of what, and when
        self._again = False  # something gathered while the last report was on its way
        self.longest_pause = limits.RECONNECT_SECONDS  # between two attempts to connect
        self.dialling: Callable[[], None] = lambda: None
        self.nobody_there: Callable[[], None] = lambda: None  # its machine says: no server runs

    @property
    def up(self) -> bool:
        """Whether the server has said welcome on a living connection."""
        return self._socket is not None

    def report_within(self, seconds: float) -> None:
        """Send a report soon; an earlier wish wins."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if self._socket is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(due, self._send)

    def start_over(self) -> None:
        """Say hello anew: something has changed that only a hello tells."""
        if self._socket is not None:
            self._closing = asyncio.create_task(self._socket.close())

    async def run(self) -> None:
        """Stay connected for ever; `WorkerError` when the server will not have this worker."""
        try:
            await self._stay()
        except InvalidError as error:  # of what it was given as token or certificate
            raise WorkerError(str(error)) from error

    async def _stay(self) -> None:
        pause = FIRST_PAUSE
        connector = aiohttp.TCPConnector(ssl=tls_for(self._place))
        async with aiohttp.ClientSession(connector=connector) as session:
            while True:
                self.dialling()
                try:
                    if await self._talk(session):
                        pause = FIRST_PAUSE
                except aiohttp.WSServerHandshakeError as error:
                    # A server that was started anew has left another token for us.
                    if error.status in _NOT_FOR_US and not self._shown.look_again():
                        raise WorkerError(_unwanted(self._place, error.status)) from error
                    self._warn(f"no connection to {self.url}: {error}")
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
                        self.nobody_there()
                    trouble = credentials.tls_trouble(error, self._place) or why(error)
                    self._warn(f"no connection to {self.url}: {trouble}")
                except (ValidationError, TypeError) as error:
                    self._warn(f"{self.url} said something this worker cannot read: {error}")
                self._shown.look_again()
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - to spread load
                pause = min(self.longest_pause, pause * 2)

    async def _talk(self, session: aiohttp.ClientSession) -> bool:
        """One connection, from hello until it breaks; whether the server said welcome."""
        async with asyncio.timeout(CONNECT_SECONDS):
            socket = await session.ws_connect(
                self.url,
                headers=self._shown.headers(),
                heartbeat=limits.HEARTBEAT_SECONDS,
                max_msg_size=limits.FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )
        welcomed = False
        try:
            await socket.send_str(text_of(self._hello()))
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                frame = frames.from_server.validate_json(message.data)
                if isinstance(frame, frames.Turned):
                    self._turn(frame)
                    break
                if isinstance(frame, frames.Welcome):
                    welcomed = True
                    self._socket = socket
                self._receive(frame)
        finally:
            await self._hang_up(socket)
        return welcomed

    def _turn(self, frame: frames.Turned) -> None:
        if frame.final:
            raise WorkerError(frame.message)
        self._warn(f"the server will not have this worker now: {frame.message}")

    def _warn(self, text: str) -> None:
        """Say what is wrong, and that it still is only now and then."""
        now = asyncio.get_running_loop().time()
        if text != self._warned[0] or now - self._warned[1] >= AGAIN_SECONDS:
            self._warned = text, now
            log.warning("%s; trying again", text)

    async def _hang_up(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
            self._sending = None
        with contextlib.suppress(OSError, TimeoutError):
            await socket.close()

    def _send(self) -> None:
        self._timer = None
        if self._sending is not None:  # it looks again when it is through
            self._again = True
        elif self._socket is not None:
            report = self._compose()
            if report is not None:
                self._sending = asyncio.create_task(self._write(self._socket, report))

    async def _write(self, socket: aiohttp.ClientWebSocketResponse, report: frames.Report) -> None:
        try:
            await socket.send_str(text_of(report))
        except (OSError, aiohttp.ClientError) as error:
            log.warning("the connection to %s broke: %s", self.url, error)
        finally:
            self._sending = None
            if self._again:
                self._again = False
                self.report_within(0)


def _unwanted(place: address.Address, status: int) -> str:
    if status == _UNKNOWN:
        why = "it does not know this worker's token, or none was given"
    else:
        why = "this token is not a worker's, or it does not answer to that host name"
    return (
        f"the server at {place} refuses this worker: {why}; make one there with"
        " `pytq token create NAME --role worker` and give it by PYTQ_TOKEN or --token-file"
    )
