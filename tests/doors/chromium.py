"""A real browser, steered over its own debugging protocol."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from door_parts import eventually

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-port=0",
)


class Page:
    """One page of a browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser something."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(30):
            while True:
                said = await self._socket.receive_json()
                if said.get("id") == number:
                    assert "error" not in said, said
                    return dict(said["result"])

    async def open(self, url: str) -> None:
        """Go somewhere."""
        await self.call("Page.enable")
        await self.call("Page.navigate", url=url)

    async def value(self, script: str) -> Any:
        """What a script comes to; promises are awaited."""
        found = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str, seconds: float = 30.0) -> Any:
        """The first true value that a script comes to."""
        async with asyncio.timeout(seconds):
            while not (found := await self.value(script)):  # noqa: ASYNC110 - pages tell nobody
                await asyncio.sleep(0.05)
        return found


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A browser with one page and a profile of its own, for as long as the block lasts."""
    assert PROGRAM
    profile = Path(tempfile.mkdtemp(prefix="pytq-chromium-"))
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *QUIET,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session:
            place = await _page_of(session, profile / "DevToolsActivePort")
            async with session.ws_connect(place, max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _page_of(session: aiohttp.ClientSession, file: Path) -> str:
    port = await asyncio.to_thread(eventually, lambda: _first_line(file), 60.0)
    async with asyncio.timeout(60):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [each for each in json.loads(await answer.text()) if each["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)


def _first_line(file: Path) -> str:
    text = file.read_text() if file.exists() else ""
    return text.partition("\n")[0] if "\n" in text else ""
