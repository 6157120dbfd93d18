"""Listening: sockets, TLS, and how many connections one address may hold."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from pytq.schema import limits
from pytq.schema.problems import InvalidError

BACKLOG: Final = 1024
_REFUSAL: Final = (
    b'{"status":429,"code":"too_many","message":"too many connections from your address",'
    b'"field":null,"cure":"use one connection for many requests","errors":[]}'
)
_TOO_MANY: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_REFUSAL), _REFUSAL)
)


class _Connection(web.RequestHandler):
    """A connection that counts as one of its address's."""

    def __init__(self, counts: Counter[str], most: int, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._counts, self._most = counts, most
        self._from = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        peer = transport.get_extra_info("peername")
        self._from = peer[0] if peer else ""
        self._counts[self._from] += 1
        super().connection_made(transport)
        if self._counts[self._from] > self._most and isinstance(transport, asyncio.Transport):
            transport.write(_TOO_MANY)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._counts[self._from] -= 1
        if not self._counts[self._from]:
            del self._counts[self._from]
        super().connection_lost(exc)


class Listener(web.BaseSite):
    """A listening socket of the server's."""

    def __init__(
        self,
        runner: web.AppRunner,
        door: socket.socket,
        tls: ssl.SSLContext | None,
        how: dict[str, Any],
        most: int = limits.CONNECTIONS_PER_ADDRESS,
    ) -> None:
        super().__init__(runner, ssl_context=tls, backlog=BACKLOG)
        self._door, self._how = door, how
        self._counts: Counter[str] = Counter()
        self._most = most

    @property
    def name(self) -> str:
        """Its URL."""
        return url_of(self._door, secure=self._ssl_context is not None)

    async def start(self) -> None:
        """Listen."""
        await super().start()
        loop = asyncio.get_running_loop()
        manager = self._runner.server

        def connection() -> _Connection:
            return _Connection(self._counts, self._most, manager, loop=loop, **self._how)

        patience = None if self._ssl_context is None else limits.BODY_STALL_SECONDS
        self._server = await loop.create_server(
            connection,
            sock=self._door,
            ssl=self._ssl_context,
            ssl_handshake_timeout=patience,
            backlog=BACKLOG,
        )


def bind(host: str, port: int) -> list[socket.socket]:
    """Take the port on every address of `host`, without letting anybody in yet."""
    found: list[socket.socket] = []
    try:
        places = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, place in dict.fromkeys(places):
            door = socket.socket(family, kind, protocol)
            found.append(door)
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            door.bind(place)
    except OSError as error:
        for door in found:
            door.close()
        raise InvalidError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            field="port",
            cure="another program may use it: choose another with --port, or stop that one",
        ) from error
    return found


def url_of(door: socket.socket, *, secure: bool) -> str:
    """The URL of a socket that is bound."""
    host, port = door.getsockname()[:2]
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


async def start(listeners: Sequence[Listener]) -> None:
    """Let people in."""
    for listener in listeners:
        await listener.start()
