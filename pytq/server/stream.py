"""The event stream: one picture of everything, sent to everybody who looks, as it changes.

A viewer is fed by a task of its own, so that none waits for another. One that is slow simply
misses versions of the picture, and later gets all at once what has changed meanwhile.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from pytq.schema import limits
from pytq.schema.access import Role
from pytq.schema.endpoints import PREFIX
from pytq.schema.problems import BusyError
from pytq.schema.stream import STREAM_PATH, from_viewer
from pytq.schema.views import Counts, ServerInfo
from pytq.server.api.doors import needs
from pytq.server.dispatcher import Dispatcher
from pytq.server.painter import Jobs, Painter
from pytq.server.viewer import Viewer
from pytq.server.watching import look_for

log = logging.getLogger(__name__)

PATH: Final = PREFIX + STREAM_PATH
_WORDS_BYTES: Final = 64 * 1024  # of one message from a viewer
_CLOSE_SECONDS: Final = 2.0
_RESTART: Final = 1012
_NONSENSE: Final = 1007
_TOO_SLOW: Final = 1008


class Streams:
    """Serves the event stream to viewers."""

    def __init__(
        self, dispatcher: Dispatcher, jobs: Jobs, describe: Callable[[Counts], ServerInfo]
    ) -> None:
        self._dispatcher = dispatcher
        self._painter = Painter(dispatcher, jobs, describe)
        self._viewers: dict[Viewer, web.WebSocketResponse] = {}
        self._opening = asyncio.Lock()
        self._painting: asyncio.Task[None] | None = None
        self._painted = asyncio.Event()  # a new one for each version

    @needs(Role.VIEWER)
    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Feed one viewer for as long as it looks."""
        socket = web.WebSocketResponse(
            timeout=_CLOSE_SECONDS,
            heartbeat=limits.HEARTBEAT_SECONDS,
            max_msg_size=_WORDS_BYTES,
            compress=False,
        )
        async with self._seat(socket) as viewer:
            await socket.prepare(request)
            feeding = asyncio.create_task(self._feed(viewer, socket), name="viewer")
            try:
                await _listen(viewer, socket)
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
        return socket

    async def close(self) -> None:
        """The server stops: tell every viewer to come back later."""
        sockets = list(self._viewers.values())
        closing = [each.close(code=_RESTART, message=b"the server restarts") for each in sockets]
        await asyncio.gather(*closing, return_exceptions=True)

    @asynccontextmanager
    async def _seat(self, socket: web.WebSocketResponse) -> AsyncIterator[Viewer]:
        """A place among the viewers. The first has the picture painted, the last ends that."""
        if len(self._viewers) >= limits.VIEWERS:
            raise BusyError(
                f"{limits.VIEWERS} viewers are looking already", cure="close one of them"
            )
        viewer = Viewer(self._dispatcher.hub)
        self._viewers[viewer] = socket
        try:
            async with self._opening:
                if self._painting is None:
                    await self._painter.begin()
                    self._painting = asyncio.create_task(self._paint(), name="painter")
            yield viewer
        finally:
            viewer.leave()
            del self._viewers[viewer]
            if not self._viewers and self._painting is not None:
                self._painting.cancel()
                self._painting = None
                self._painter.end()

    async def _paint(self) -> None:
        """Bring the picture up to date at each tick, and wake those who wait for it."""
        while True:
            await asyncio.sleep(limits.STREAM_SECONDS)
            try:
                await self._painter.paint()
                await look_for(self._viewers, self._dispatcher)
            except BusyError as error:
                log.info("viewers have to wait: %s", error)
            except Exception:
                log.exception("the picture could not be painted; it will be tried again")
            self._painter.picture.forget(min((one.seen for one in self._viewers), default=0))
            self._painted.set()
            self._painted = asyncio.Event()

    async def _feed(self, viewer: Viewer, socket: web.WebSocketResponse) -> None:
        try:
            picture = self._painter.picture
            viewer.seen = picture.version
            await _send(socket, picture.snapshot())
            while True:
                await self._painted.wait()
                frame = viewer.frame(picture)
                if frame is not None:
                    await _send(socket, frame)
        except TimeoutError:
            await socket.close(code=_TOO_SLOW, message=b"you have taken nothing for too long")
        except ConnectionError:
            await socket.close()


async def _send(socket: web.WebSocketResponse, frame: str) -> None:
    async with asyncio.timeout(limits.STREAM_STALL_SECONDS):
        await socket.send_str(frame)


async def _listen(viewer: Viewer, socket: web.WebSocketResponse) -> None:
    """Take in what a viewer wants to see, until it leaves."""
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            viewer.watch(from_viewer.validate_json(message.data).tasks)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        await socket.close(code=_NONSENSE, message=said.encode()[:100])
