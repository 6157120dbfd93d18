"""Where this server is reached from its own machine: known once it listens."""

from typing import Final

from aiohttp import web

from pytq.schema.address import Address
from pytq.server.settings import ServerSettings

_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - recognised, not bound to


class Whereabouts:
    """A server's own address."""

    def __init__(self) -> None:
        self.url: str | None = None

    def found(self, settings: ServerSettings, port: int) -> None:
        """It listens on this port."""
        host = "127.0.0.1" if settings.host in _EVERYWHERE else settings.host
        own = Address(host, port, secure=settings.tls_cert is not None)
        self.url = settings.reached_at or own.url


WHEREABOUTS: Final = web.AppKey("whereabouts", Whereabouts)
