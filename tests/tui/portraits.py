"""Portraits of the cockpit in a real browser, for the documentation."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp.test_utils import TestServer
from fake_server import FakeServer
from world import World, make

from pytq.server.api.page import pages
from pytq.server.ui.visits import Visits
from pytq.server.whereabouts import Whereabouts

sys.path.insert(0, str(Path(__file__).parent.parent / "ui"))

import browser

SIZE = "1280,800"
PORTRAITS = {"ui-overview": (), "ui-tasks-failed": ("4", "f"), "ui-workers": ("3", "j", "j")}
_STILL_SECONDS = 0.7  # ages count on; nothing else moves for so long
_PATIENCE_SECONDS = 60.0


@asynccontextmanager
async def _offered(world: World) -> AsyncIterator[str]:
    """The address of a fake server with that world, and with visitors' cockpits on top."""
    app, whereabouts = FakeServer(world).app(), Whereabouts()
    for path, handle in pages().items():
        app.router.add_get(path, handle)
    Visits(whereabouts).add_to(app)
    async with TestServer(app, host="127.0.0.1") as http:
        whereabouts.url = f"http://127.0.0.1:{http.port}"
        yield whereabouts.url


async def portrait(keys: tuple[str, ...], folder: Path) -> bytes:
    """What a browser shows after these keys, as PNG; its profile goes into `folder`."""
    async with (
        _offered(make()) as url,
        browser.open_page(folder, f"{url}/ui/", SIZE) as page,
    ):
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.until("document.body.classList.contains('-first-byte')")
        await _still(page)
        for key in keys:
            await page.call("Input.dispatchKeyEvent", type="keyDown", text=key, key=key)
        return await _still(page)


async def _still(page: browser.Page) -> bytes:
    """A picture that has stopped changing much, and is more than an empty page."""
    before = b""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            now = await page.screenshot()
            if len(now) > 12_000 and abs(len(now) - len(before)) < len(now) / 100:
                return now
            before = now
            await asyncio.sleep(_STILL_SECONDS)
