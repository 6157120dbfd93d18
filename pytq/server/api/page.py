"""The documentation page at `/`: Swagger UI, served from this package, asking no other host."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from pytq.server.api.assets import ASKED_AGAIN, KEPT, Asset, folder
from pytq.server.api.doors import needs
from pytq.server.api.openapi import document

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION: Final = "5.35.0"  # of swagger-ui-dist; it is in the addresses, so they may be kept
_SWAGGER: Final = folder(__package__, "swagger")


@needs(None)
async def _openapi(_request: web.Request) -> web.Response:
    return web.Response(
        body=document(),
        content_type="application/json",
        headers={"Cache-Control": ASKED_AGAIN},
    )


def pages() -> dict[str, Handle]:
    """Every address of the page and its handler."""
    return {
        "/": Asset(_SWAGGER / "index.html", "text/html", ASKED_AGAIN).serve,
        "/favicon.ico": Asset(_SWAGGER / "favicon-32x32.png", "image/png", ASKED_AGAIN).serve,
        "/openapi.json": _openapi,
        "/swagger/page.css": Asset(_SWAGGER / "page.css", "text/css", ASKED_AGAIN).serve,
        "/swagger/door.js": Asset(_SWAGGER / "door.js", "text/javascript", ASKED_AGAIN).serve,
        "/swagger/start.js": Asset(_SWAGGER / "start.js", "text/javascript", ASKED_AGAIN).serve,
        f"/swagger/{VERSION}/swagger-ui-bundle.js": Asset(
            _SWAGGER / "swagger-ui-bundle.js", "text/javascript", KEPT
        ).serve,
        f"/swagger/{VERSION}/swagger-ui.css": Asset(
            _SWAGGER / "swagger-ui.css", "text/css", KEPT
        ).serve,
    }
