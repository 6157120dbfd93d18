"""The cockpit in a real browser: seen, typed into, quit."""

import asyncio
import re
from pathlib import Path

import aiohttp
import browser
import pytest
from system import running

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="chromium is not installed")
PAINTED_BYTES = 12_000  # of a picture; an empty page has a third of that
# No graphics card here; and textual.js still tells of a lost focus when all is over.
_HARMLESS = re.compile(r"fallback to software WebGL|WebSocket is already in CLOSING")


async def login_code(url: str, headers: dict[str, str]) -> str:
    async with (
        aiohttp.ClientSession(url, headers=headers) as session,
        session.post("/api/v1/logins", json={}) as answer,
    ):
        return str((await answer.json())["code"])


async def painted(page: browser.Page) -> None:
    """Wait until the picture is more than a message on an empty page."""
    for _ in range(300):
        if len(await page.screenshot()) > PAINTED_BYTES:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the cockpit was not painted")


@pytest.mark.timeout(180)
async def test_the_cockpit_works_in_a_browser(tmp_path: Path) -> None:
    """A link logs in, the cockpit is painted, answers keys, and says when it has ended."""
    with running(tmp_path) as system:
        url = f"http://{system.address}"
        code = await login_code(url, system.headers())
        async with browser.open_page(tmp_path, f"{url}/ui/#login={code}") as page:
            await page.until("document.body.classList.contains('-first-byte')")
            assert await page.value("location.hash") == ""
            await painted(page)
            assert await page.value("document.getElementById('waiting').hidden")
            await page.call("Input.dispatchKeyEvent", type="keyDown", text="q", key="q")
            await page.until("!document.getElementById('over').hidden")
            assert await page.value("document.getElementById('why').textContent") == (
                "The session has ended."
            )
            assert {re.sub(r"^\w+://", "", each).split("/")[0] for each in page.requests} == {
                system.address
            }
            assert [each for each in page.complaints if not _HARMLESS.search(each)] == []


@pytest.mark.timeout(180)
async def test_who_is_not_logged_in_is_told_what_to_do(tmp_path: Path) -> None:
    """Without a token the page says how to get in, instead of trying for ever."""
    with running(tmp_path) as system:
        async with browser.open_page(tmp_path, f"http://{system.address}/ui/") as page:
            await page.until("document.querySelector('.pytq-door')")
            said = await page.value("document.querySelector('.pytq-door').textContent")

    assert "pytq token open" in said
