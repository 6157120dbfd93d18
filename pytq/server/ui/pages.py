"""The page at `/ui/` and what it loads: files of this package and of textual-serve's."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from pytq.server.api.assets import ASKED_AGAIN, KEPT, Asset, folder
from pytq.server.api.doors import needs

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OURS: Final = folder(__package__, "page")
_THEIRS: Final = folder("textual_serve", "static")
# xterm.js puts its sizes into style elements; scripts stay what we serve, and nothing else.
_POLICY: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    )
}


@needs(None)
async def _to_the_page(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=308, headers={"Location": "ui/"})


def pages() -> dict[str, Handle]:
    """Every address of the page and its handler."""
    return {
        "/ui": _to_the_page,
        "/ui/": Asset(_OURS / "index.html", "text/html", ASKED_AGAIN, _POLICY).serve,
        "/ui/static/ui.js": Asset(_OURS / "ui.js", "text/javascript", ASKED_AGAIN).serve,
        "/ui/static/ui.css": Asset(_OURS / "ui.css", "text/css", ASKED_AGAIN).serve,
        "/ui/static/xterm.css": Asset(_THEIRS / "css/xterm.css", "text/css", ASKED_AGAIN).serve,
        "/ui/static/textual.js": Asset(
            _THEIRS / "js/textual.js", "text/javascript", ASKED_AGAIN
        ).serve,
        "/ui/static/RobotoMono.ttf": Asset(
            _THEIRS / "fonts/RobotoMono-VariableFont_wght.ttf", "font/ttf", KEPT
        ).serve,
        "/ui/static/RobotoMono-Italic.ttf": Asset(
            _THEIRS / "fonts/RobotoMono-Italic-VariableFont_wght.ttf", "font/ttf", KEPT
        ).serve,
    }
