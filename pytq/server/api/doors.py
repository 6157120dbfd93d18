"""Whom every route lets in. A route that says nothing lets in admins only.

    @needs(Role.VIEWER)          # or needs(None): everybody, token or not
    async def handle(request): …
    who(request).name            # who is calling

The token comes as `Authorization: Bearer …`. Browsers cannot put that on a WebSocket, so there it
may also be offered as a subprotocol, `pytq.bearer.…` beside `pytq`. It never stands in an address,
and there are no cookies: nothing that a browser would send along by itself.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from pytq.schema.access import Role, may
from pytq.schema.problems import ForbiddenError, UnauthorizedError
from pytq.server.keyring import Caller, Keyring, calling, is_calling

H = TypeVar("H", bound=Callable[..., object])

KEYRING: Final = web.AppKey("keyring", Keyring)
SUBPROTOCOL: Final = "pytq"
BEARER_SUBPROTOCOL: Final = "pytq.bearer."
_CALLER: Final = web.RequestKey("caller", Caller)
_SPEAKS_PYTQ: Final = web.RequestKey("speaks_pytq", bool)


def needs(role: Role | None) -> Callable[[H], H]:
    """Say which role a handler needs; None lets in everybody."""

    def mark(handler: H) -> H:
        handler.needs = role  # type: ignore[attr-defined] # a function takes any
        return handler

    return mark


def who(request: web.Request) -> Caller:
    """Who is calling; `LOCAL`, an admin, where tokens are not asked for."""
    del request  # each request is a task of its own, and so has a caller of its own
    return calling()


def lend(request: web.Request) -> str:
    """A token with the caller's rights for a process of ours; empty where none are asked for.

    Give it in its environment, and say `app[KEYRING].take_back(token)` when it ends.
    """
    keyring = request.config_dict.get(KEYRING)
    return "" if keyring is None else keyring.lend(who(request))


def doorkeeper(keyring: Keyring | None) -> Middleware:
    """The doorkeeper; without a keyring (`--insecure`) every door stands open."""

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        need = _need(request)
        if keyring is None or need is None:
            return await handler(request)
        secret, request = _shown(request)
        caller = keyring.admit(secret, request.remote or "")
        if not may(caller.role, need):
            raise _refusal(caller, need)
        is_calling(caller)
        request[_CALLER] = caller
        return await handler(request)

    return let_in


async def know_socket(request: web.Request, response: web.StreamResponse) -> None:
    """Remember an open WebSocket, to hang up when its token is revoked."""
    if isinstance(response, web.WebSocketResponse):
        if _CALLER in request:
            request[_CALLER].sockets.add(response)
        if _SPEAKS_PYTQ in request:  # a browser hangs up if its offer is left unanswered
            response.headers.setdefault(hdrs.SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)


def _need(request: web.Request) -> Role | None:
    match = request.match_info
    if match.http_exception is not None:
        return Role.VIEWER  # it will be 404; strangers need not know
    need: Role | None = getattr(match.handler, "needs", Role.ADMIN)
    return need


def _shown(request: web.Request) -> tuple[str, web.Request]:
    """The token a request shows, and the request without what must not get into a log."""
    shown = request.headers.getall(hdrs.AUTHORIZATION, ())
    if len(shown) > 1:
        raise UnauthorizedError("more than one Authorization header", field=hdrs.AUTHORIZATION)
    if shown:
        kind, _, secret = shown[0].partition(" ")
        if kind.lower() != "bearer":
            raise UnauthorizedError(
                "only bearer tokens are known here",
                field=hdrs.AUTHORIZATION,
                cure="send Authorization: Bearer TOKEN",
            )
        return secret.strip(), request
    offered = [
        each.strip() for each in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")
    ]
    for each in offered:
        if each.startswith(BEARER_SUBPROTOCOL):
            return each.removeprefix(BEARER_SUBPROTOCOL), _without_offer(request)
    raise UnauthorizedError(
        "this server wants a token",
        cure="set PYTQ_TOKEN, or give --token-file FILE; an admin makes tokens with"
        " `pytq token create NAME`",
    )


def _without_offer(request: web.Request) -> web.Request:
    """The same without the secret subprotocol: aiohttp would log that nobody serves it."""
    headers = request.headers.copy()
    headers.popall(hdrs.SEC_WEBSOCKET_PROTOCOL)
    clean = request.clone(headers=headers)
    clean[_SPEAKS_PYTQ] = True
    return clean


def _refusal(caller: Caller, need: Role) -> ForbiddenError:
    if Role.WORKER in (caller.role, need):
        return ForbiddenError(
            "this door is for workers"
            if need is Role.WORKER
            else "a worker's token opens the link only",
            cure=f"this token ({caller.name}) is a {caller.role}'s; use one that was made with"
            f" --role {need}",
        )
    return ForbiddenError(
        f"{caller.name} is a {caller.role}; this needs an {need}"
        if need[0] in "aeio"
        else f"{caller.name} is a {caller.role}; this needs a {need}",
        cure=f"use a token that was made with --role {need}",
    )
