"""What keeps a web page in somebody's browser from reaching a server on their own machine.

A page may send requests to 127.0.0.1, and a name of its own may be made to point there. So the
server answers only to names it knows, and only to pages it has served itself.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from pytq.schema.endpoints import PREFIX
from pytq.schema.problems import ForbiddenError

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - recognised, not bound to

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'; object-src 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_PAGES: Final = frozenset({"/", "/ui", "/ui/"})  # to which others may link

_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")


def guard(bound: Iterable[str] = ()) -> Middleware:
    """The guard of a server that is known by loopback names and those it is bound to.

    A server bound to every address also answers to bare addresses: only a name can be rebound.
    """
    names = {_plain(name) for name in bound}
    known = (LOOPBACK | names) - WILDCARDS
    any_address = bool(names & WILDCARDS)

    @web.middleware
    async def refuse_strangers(request: web.Request, handler: Handler) -> web.StreamResponse:
        _check_host(request, known, any_address=any_address)
        _check_origin(request)
        return await handler(request)

    return refuse_strangers


def _plain(name: str) -> str:
    return name.lower().strip("[]").rstrip(".")


def _check_host(request: web.Request, known: frozenset[str], *, any_address: bool) -> None:
    hosts = request.headers.getall("Host", [])
    shape = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
    name = _plain(shape["six"] or shape["name"]) if shape else ""
    if name in known or (any_address and _is_address(name)):
        return
    raise ForbiddenError(
        "this server does not answer to that host name",
        field="Host",
        cure="use a name or address that `pytq server` was given by --host or PYTQ_ALLOWED_HOSTS",
    )


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def _check_origin(request: web.Request) -> None:
    origin = request.headers.get("Origin")
    if origin is not None and not _is_own(origin, request.headers["Host"]):
        raise ForbiddenError("this comes from another web site's page", field="Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in {"same-origin", "none"} and not _is_link_to_the_page(request):
        raise ForbiddenError("this comes from another web site's page", field="Sec-Fetch-Site")


def _is_own(origin: str, host: str) -> bool:
    # The scheme is not compared: behind a TLS proxy the page's is https and ours is http.
    with suppress(ValueError):
        parts = urlsplit(origin)
        return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()
    return False


def _is_link_to_the_page(request: web.Request) -> bool:
    return (
        request.method in {"GET", "HEAD"}
        and request.path in _PAGES
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
    )


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Put the browser's orders on every answer; a page may have set stricter ones itself."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.path.startswith(PREFIX):
        response.headers.setdefault("Cache-Control", "no-store")
