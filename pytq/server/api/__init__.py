"""REST: reads requests, asks the queue, shows answers. All that aiohttp.web means to PYTQ."""

from collections.abc import Iterable

from aiohttp.typedefs import Middleware

from pytq.server.api.errors import show_problems
from pytq.server.api.guards import guard
from pytq.server.api.routes import add_routes

__all__ = ["add_routes", "middlewares"]


def middlewares(bound: Iterable[str] = ()) -> list[Middleware]:
    """What every request passes, outermost first; `bound` are the hosts the server listens on."""
    # Tokens are to be checked between the guard and the handlers, as the last of these.
    return [show_problems, guard(bound)]
