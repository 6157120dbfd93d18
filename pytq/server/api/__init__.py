"""REST: reads requests, asks the queue, shows answers. All that aiohttp.web means to PYTQ."""

from collections.abc import Iterable
from typing import Any, Final

from aiohttp.typedefs import Middleware

from pytq.server.api.doors import doorkeeper
from pytq.server.api.errors import show_problems
from pytq.server.api.guards import guard
from pytq.server.api.routes import add_routes
from pytq.server.keyring import Keyring

__all__ = ["HTTP", "add_routes", "middlewares"]

# How aiohttp is to read HTTP: `web.AppRunner(app, **HTTP)`. A query of a thousand ids is longer
# than aiohttp's usual 8 KiB, and packed bodies stay packed, so that none unpacks before `Body`
# has refused it.
HTTP: Final[dict[str, Any]] = {"auto_decompress": False, "max_line_size": 32 * 1024}


def middlewares(bound: Iterable[str] = (), *, keyring: Keyring | None) -> list[Middleware]:
    """What every request passes, outermost first; `bound` are the hosts the server listens on.

    Without a keyring nobody needs a token.
    """
    return [show_problems, guard(bound), doorkeeper(keyring)]
