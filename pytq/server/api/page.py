"""The documentation page at `/`: Swagger UI, served from this package, asking no other host."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from aiohttp import web

from pytq.server.api.doors import needs
from pytq.server.api.openapi import document

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION: Final = "5.35.0"  # of swagger-ui-dist; it is in the addresses, so they may be kept
KEPT: Final = "public, max-age=31536000, immutable"
ASKED_AGAIN: Final = "no-cache"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    file: str
    content_type: str
    caching: str

    @needs(None)
    async def serve(self, request: web.Request) -> web.Response:
        """Answer with the file, packed if the browser can unpack it."""
        response = web.Response(
            content_type=self.content_type,
            charset="utf-8" if self.content_type.startswith("text/") else None,
            headers={"Cache-Control": self.caching, "Vary": "Accept-Encoding"},
        )
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.body = await asyncio.to_thread(_packed, self.file)
            response.headers["Content-Encoding"] = "gzip"
        else:
            response.body = _content(self.file)
        return response


@cache
def _content(file: str) -> bytes:
    return files(__package__).joinpath("swagger", file).read_bytes()


@cache
def _packed(file: str) -> bytes:
    return gzip.compress(_content(file), mtime=0)


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
        "/": Asset("index.html", "text/html", ASKED_AGAIN).serve,
        "/favicon.ico": Asset("favicon-32x32.png", "image/png", ASKED_AGAIN).serve,
        "/openapi.json": _openapi,
        "/swagger/page.css": Asset("page.css", "text/css", ASKED_AGAIN).serve,
        "/swagger/door.js": Asset("door.js", "text/javascript", ASKED_AGAIN).serve,
        "/swagger/start.js": Asset("start.js", "text/javascript", ASKED_AGAIN).serve,
        f"/swagger/{VERSION}/swagger-ui-bundle.js": Asset(
            "swagger-ui-bundle.js", "text/javascript", KEPT
        ).serve,
        f"/swagger/{VERSION}/swagger-ui.css": Asset("swagger-ui.css", "text/css", KEPT).serve,
    }
