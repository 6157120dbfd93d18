"""Everybody at `/ui/`: let in up to a number, heard, given their downloads, and seen out again."""

import asyncio
from typing import Any, Final
from urllib.parse import quote

from aiohttp import WSMsgType, web
from pydantic import TypeAdapter, ValidationError
from textual_serve.download_manager import DownloadManager

from pytq.schema import limits
from pytq.schema.access import Role
from pytq.schema.problems import NotFoundError
from pytq.server.api.doors import KEYRING, lend, needs
from pytq.server.ui.pages import pages
from pytq.server.ui.visit import Visit
from pytq.server.whereabouts import Whereabouts

_HEARTBEAT_SECONDS: Final = 15.0
_CLOSE_SECONDS: Final = 2.0
_RESTART: Final = 1012
_FULL: Final = 1013
_NONSENSE: Final = 1007
_WIDTH: Final = range(10, 1001)  # characters
_HEIGHT: Final = range(5, 501)

# What the page says: a word, and what belongs to it.
_envelope: TypeAdapter[list[Any]] = TypeAdapter(list[Any])


class Downloads(DownloadManager):
    """Files that cockpits offer, by a key that nobody can guess."""

    def forget(self, visit: Visit) -> None:
        """A cockpit has ended, and what it offered is gone."""
        mine = [k for k, one in self._active_downloads.items() if one.app_service is visit]
        for key in mine:
            del self._active_downloads[key]


class Visits:
    """The visitors."""

    def __init__(self, whereabouts: Whereabouts) -> None:
        self._whereabouts = whereabouts
        self._downloads = Downloads()
        self._sockets: set[web.WebSocketResponse] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    def add_to(self, app: web.Application) -> None:
        """Serve the page, and whoever comes by it."""
        for path, handle in pages().items():
            app.router.add_get(path, handle)
        app.router.add_get("/ui/ws", self.serve)
        app.router.add_get("/download/{key}", self.download)  # textual.js looks for it there
        app.on_shutdown.append(lambda _: self.close())
        app.on_cleanup.append(lambda _: self.all_gone())

    @needs(Role.VIEWER)
    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Show a cockpit in a browser for as long as both want."""
        socket = web.WebSocketResponse(
            timeout=_CLOSE_SECONDS, heartbeat=_HEARTBEAT_SECONDS, max_msg_size=limits.VISIT_BYTES
        )
        await socket.prepare(request)
        refusal = self._refusal()
        if refusal:
            await socket.close(code=_FULL, message=refusal.encode())
            return socket
        self._sockets.add(socket)
        token = lend(request)
        try:
            await self._show(socket, token, request)
        finally:
            self._sockets.discard(socket)
            if token:
                request.config_dict[KEYRING].take_back(token)
            await socket.close()
        return socket

    def _refusal(self) -> str:
        """Why nobody is let in now."""
        if self._whereabouts.url is None:
            return "The server does not know yet where it is reached."
        if len(self._sockets) >= limits.VISITORS:
            return f"{limits.VISITORS} people are here already: close one of the windows."
        return ""

    async def _show(self, socket: web.WebSocketResponse, token: str, request: web.Request) -> None:
        visit = Visit(self._whereabouts.url or "", token, socket, self._downloads)
        try:
            width = _within(_WIDTH, request.query.get("width"), 80)
            await visit.start(width, _within(_HEIGHT, request.query.get("height"), 24))
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
                await _take(visit, socket, _envelope.validate_json(message.data))
        except (ValidationError, LookupError, TypeError, AttributeError):
            await socket.close(code=_NONSENSE, message=b"that was nothing this server understands")
        finally:
            # However the visit ends, even by cancellation, its process does.
            leaving = asyncio.create_task(self._see_out(visit))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            await asyncio.shield(leaving)

    async def _see_out(self, visit: Visit) -> None:
        await visit.stop()
        self._downloads.forget(visit)

    async def all_gone(self) -> None:
        """Wait until no visitor's process is left: each has so long and no longer."""
        if self._leaving:
            await asyncio.wait(self._leaving)

    @needs(None)  # a browser fetches it without a token; nobody can guess the key
    async def download(self, request: web.Request) -> web.StreamResponse:
        """Give a browser the file that its cockpit offers under a key, once."""
        key = request.match_info["key"]
        try:
            offered = await self._downloads.get_download_metadata(key)
        except KeyError:
            raise NotFoundError("there is no such file; it is given once") from None
        name = quote(offered.file_name, safe="")
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
                "Cache-Control": "no-store",
            }
        )
        await response.prepare(request)
        async for chunk in self._downloads.download(key):
            await response.write(chunk)
        await response.write_eof()
        return response

    async def close(self) -> None:
        """The server stops: see everybody out."""
        message = b"The server restarts."
        closing = [each.close(code=_RESTART, message=message) for each in self._sockets]
        await asyncio.gather(*closing, return_exceptions=True)


async def _take(visit: Visit, socket: web.WebSocketResponse, said: list[Any]) -> None:
    """Pass on what the page says. Raises what is caught above for nonsense."""
    word = said[0]
    about: Any = said[1] if len(said) > 1 else None
    if word == "stdin":
        await visit.send_bytes(about.encode())
    elif word == "resize":
        width, height = _within(_WIDTH, about["width"], 80), _within(_HEIGHT, about["height"], 24)
        await visit.set_terminal_size(width, height)
    elif word == "ping":
        await socket.send_json(["pong", about])
    elif word == "blur":
        await visit.blur()
    elif word == "focus":
        await visit.focus()


def _within(bounds: range, given: Any, usual: int) -> int:
    """A number of characters, however wrong it was said."""
    try:
        return min(max(int(given), bounds.start), bounds.stop - 1)
    except (TypeError, ValueError, OverflowError):
        return usual
