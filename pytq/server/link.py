"""The workers' connections: one WebSocket each, frames in, frames out, batched by arrival."""

import asyncio
import logging
from typing import Final

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from pytq.schema import frames, limits
from pytq.schema.access import Role
from pytq.schema.problems import PytqError
from pytq.server.api.doors import needs
from pytq.server.dispatcher import Dispatcher
from pytq.server.fleet import Member

log = logging.getLogger(__name__)

PATH: Final = "/api/v1/link"
_HELLO_SECONDS: Final = 10.0
_PLACE_CHARS: Final = 200


class Links:
    """Serves the link to workers."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._sockets: set[web.WebSocketResponse] = set()

    @needs(Role.WORKER)
    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Hold one worker's connection for as long as it lasts."""
        socket = web.WebSocketResponse(
            heartbeat=limits.HEARTBEAT_SECONDS, max_msg_size=limits.FRAME_BYTES, compress=False
        )
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            greeted = await self._greet(socket)
            if greeted is not None:
                await self._talk(socket, *greeted)
        finally:
            self._sockets.discard(socket)
            if not socket.closed:
                await socket.close()
        return socket

    async def close(self) -> None:
        """The server stops: tell every worker to come back later."""
        for socket in list(self._sockets):
            await socket.close(code=1012, message=b"the server restarts")

    async def _greet(self, socket: web.WebSocketResponse) -> tuple[Member, frames.Welcome] | None:
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello = frames.from_worker.validate_json(await socket.receive_str())
        except (TimeoutError, TypeError):  # a slow network, or a worker that was frozen
            await _turn(socket, f"no hello came within {_HELLO_SECONDS:g} s", final=False)
            return None
        except ValidationError as error:
            await _turn(socket, f"that was no hello this server understands: {_told(error)}")
            return None
        if not isinstance(hello, frames.Hello) or hello.protocol != frames.PROTOCOL:
            await _turn(
                socket,
                f"this server speaks protocol {frames.PROTOCOL};"
                " install the same version of PYTQ on both sides",
            )
            return None
        try:
            return await self._dispatcher.welcome(hello)
        except PytqError as error:
            text = f"{error}; {error.cure}" if error.cure else str(error)
            await _turn(socket, text, final=error.status < 500)  # noqa: PLR2004 - HTTP's classes
            return None

    async def _talk(
        self, socket: web.WebSocketResponse, member: Member, welcome: frames.Welcome
    ) -> None:
        sender = asyncio.create_task(_send(socket, member, welcome), name=f"link-{member.name}")
        log.info("worker %s is online, holding %d", member.name, len(member.held))
        why = "the connection ended"
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                frame = frames.from_worker.validate_json(message.data)
                if not isinstance(frame, frames.Report):
                    why = "it said hello a second time"
                    break
                await self._dispatcher.take_report(member, frame)
        except ValidationError as error:
            why = "it said something this server does not understand"
            log.warning("worker %s: %s: %s", member.name, why, _told(error))
        except PytqError as error:
            why = str(error)
            log.warning("worker %s has to connect again: %s", member.name, error)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            # The connection is gone, but its books must still be closed.
            await asyncio.shield(self._dispatcher.goodbye(member, why))
            log.info("worker %s is offline: %s", member.name, why)


async def _send(socket: web.WebSocketResponse, member: Member, welcome: frames.Welcome) -> None:
    """Welcome, then write whatever has gathered since the last write, until the connection ends."""
    await socket.send_str(welcome.model_dump_json())
    while not socket.closed:
        await member.wake.wait()
        if member.turned:
            await _turn(socket, member.turned, final=True)
            return
        await socket.send_str(member.empty().frame())


def _told(error: Exception) -> str:
    """What is wrong with a frame, in one line and without what the frame says."""
    if not isinstance(error, ValidationError):
        return "it never came" if isinstance(error, TimeoutError) else "it was no text"
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place[:_PLACE_CHARS]!r}: {first['msg'][:_PLACE_CHARS]!r}"


async def _turn(socket: web.WebSocketResponse, message: str, *, final: bool = True) -> None:
    await socket.send_str(frames.Turned(message=message, final=final).model_dump_json())
    await socket.close()
