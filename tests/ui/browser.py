"""A headless Chromium, spoken to over its DevTools protocol."""

import asyncio
import base64
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """One page: what it asked for, and what went wrong there, is written down."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if not answer.done():
                    answer.set_result(said.get("result", said.get("error")))
            else:
                self._note(said["method"], said["params"])

    def _note(self, method: str, about: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(about["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"]))

    async def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._answers[self._number] = asyncio.get_running_loop().create_future()
        asked = {"id": self._number, "method": method, "params": parameters}
        answer = self._answers[self._number]
        await self._socket.send_json(asked)
        return await asyncio.wait_for(answer, 20)

    async def value(self, script: str) -> Any:
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True)
        return found.get("result", {}).get("value")  # nothing, while the page changes

    async def until(self, script: str, seconds: float = 60.0) -> None:
        """Wait until a condition of the page's holds; the page may still be on its way."""
        for _ in range(int(seconds / 0.1)):
            if await self.value(f"Boolean({script})"):
                return
            await asyncio.sleep(0.1)
        shown = await self.value("document.body.innerText")
        raise AssertionError(f"{script}; the page shows {shown!r}, complained {self.complaints}")

    async def screenshot(self) -> bytes:
        picture = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(picture["data"])


@contextlib.asynccontextmanager
async def open_page(folder: Path, url: str, size: str = "1200,800") -> AsyncIterator[Page]:
    """A page at `url`, in a browser of its own."""
    assert PROGRAM
    profile = folder / "chromium"
    browser = await asyncio.create_subprocess_exec(
        *[
            *(PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", f"--window-size={size}"),
            *("--disable-background-networking", "--disable-dev-shm-usage", "about:blank"),
        ],
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session:
            port = await _port(profile, browser)
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                [target] = [each for each in await answer.json() if each["type"] == "page"]
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                for domain in ("Page", "Network", "Log", "Runtime"):
                    await page.call(f"{domain}.enable")
                await page.call("Page.navigate", url=url)
                yield page
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        browser.terminate()
        await asyncio.wait_for(browser.wait(), 20)


async def _port(profile: Path, browser: asyncio.subprocess.Process) -> int:
    said = profile / "DevToolsActivePort"
    for _ in range(600):
        assert browser.returncode is None
        if said.exists() and "\n" in said.read_text():
            return int(said.read_text().splitlines()[0])
        await asyncio.sleep(0.05)
    raise AssertionError("the browser does not listen")
