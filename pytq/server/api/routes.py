"""The routes: one per declared endpoint. A handler reads, calls one method, renders."""

import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from multidict import MultiDict
from pydantic import TypeAdapter

from pytq.schema.access import Role
from pytq.schema.endpoints import ENDPOINTS, PREFIX, Endpoint
from pytq.server.api import doors, guards, page
from pytq.server.api.body import Body, raw_body
from pytq.server.api.contract import QueueContract
from pytq.server.api.doors import needs
from pytq.server.api.strings import NoQuery, Strings, idempotency_key

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]
Arguments = Callable[[web.Request], Awaitable[list[Any]]]

OFFSET_HEADER: Final = "X-PYTQ-Offset"
SIZE_HEADER: Final = "X-PYTQ-Size"


def add_routes(app: web.Application, queue: QueueContract) -> None:
    """Give an application every REST endpoint, the documentation page and the health check."""
    by_path: dict[str, dict[str, Handle]] = defaultdict(dict)
    for name, endpoint in ENDPOINTS.items():
        by_path[PREFIX + endpoint.path][endpoint.method] = _handler(name, endpoint, queue)
    by_path["/healthz"]["GET"] = _healthz
    for path, handle in page.pages().items():
        by_path[path]["GET"] = handle
    # /{stream} would take /signal for a stream: of two paths the more literal one comes first.
    for path, handlers in sorted(by_path.items(), key=lambda item: item[0].count("{")):
        _add_path(app, path, handlers)
    app.on_response_prepare.append(guards.add_security_headers)
    app.on_response_prepare.append(doors.know_socket)


def _add_path(app: web.Application, path: str, handlers: dict[str, Handle]) -> None:
    """Every method has an answer here, so that /tasks/wait is never taken for a task `wait`."""
    resource = app.router.add_resource(path)
    for method, handle in handlers.items():
        resource.add_route(method, handle)
    if "GET" in handlers:
        resource.add_route("HEAD", handlers["GET"])
    allowed = {route.method for route in resource}
    resource.add_route("*", _not_allowed(allowed))


def _not_allowed(allowed: set[str]) -> Handle:
    @needs(Role.VIEWER)
    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    return refuse


@needs(None)
async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def _handler(name: str, endpoint: Endpoint, queue: QueueContract) -> Handle:
    verb = getattr(queue, name)
    render = _renderer(endpoint)
    arguments = _submission(endpoint) if endpoint.idempotent_by_key else _arguments(endpoint)

    @needs(endpoint.role)
    async def handle(request: web.Request) -> web.StreamResponse:
        return render(await verb(*await arguments(request)))

    return handle


def _from_url(endpoint: Endpoint) -> Callable[[web.Request], list[Any]]:
    place = Strings(endpoint.place) if endpoint.place else None
    query = Strings(endpoint.query or NoQuery)

    def read(request: web.Request) -> list[Any]:
        found: list[Any] = []
        if place:
            found += dict(place.read(MultiDict(request.match_info))).values()
        asked = query.read(request.query)
        return [*found, asked] if endpoint.query else found

    return read


def _arguments(endpoint: Endpoint) -> Arguments:
    from_url = _from_url(endpoint)
    body = Body(endpoint.body) if endpoint.body else None

    async def read(request: web.Request) -> list[Any]:
        found = from_url(request)
        if body:
            found.append(body.read(await raw_body(request)))
        return found

    return read


def _submission(endpoint: Endpoint) -> Arguments:
    from_url = _from_url(endpoint)
    body = Body(endpoint.body)

    async def read(request: web.Request) -> list[Any]:
        found = from_url(request)
        key = idempotency_key(request)
        raw = await raw_body(request)
        given = body.read(raw)
        tasks = given if isinstance(given, list) else [given]
        return [*found, tasks, key, hashlib.sha256(raw).hexdigest()]

    return read


def _renderer(endpoint: Endpoint) -> Callable[[Any], web.Response]:
    if endpoint.raw:
        return _raw
    if endpoint.answer is None:
        return lambda _: web.Response(status=endpoint.status)
    adapter: TypeAdapter[Any] = TypeAdapter(endpoint.answer)

    def render(value: Any) -> web.Response:
        return web.Response(
            status=endpoint.status,
            body=adapter.dump_json(value),
            content_type="application/json",
        )

    return render


def _raw(value: tuple[int, bytes, int]) -> web.Response:
    offset, data, size = value
    return web.Response(
        body=data,
        content_type="application/octet-stream",
        headers={OFFSET_HEADER: str(offset), SIZE_HEADER: str(size)},
    )
