"""A real browser: logged in by a link, and helpless without it."""

import pytest
from chromium import PROGRAM, Page, browser
from system import System

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="Chromium is not installed: apt-get install chromium"
)


def link(system: System, *words: str) -> str:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        system.env.pop(name, None)
    return system.run("token", "open", *words).stdout.decode().strip()


ASK = "fetch('/api/v1/me', {headers: {Authorization: 'Bearer ' + pytqDoor.token()}})"


async def ready(page: Page) -> None:
    await page.until("!!window.pytqDoor")
    await page.value("pytqDoor.ready.then(() => true)")


async def test_a_link_logs_the_page_in(guest: System) -> None:
    """The page of a link works at once, and its address bar shows no secret."""
    async with browser() as page:
        url = link(guest)
        await page.open(url)
        await ready(page)
        assert await page.value(f"{ASK}.then(answer => answer.json())") == {
            "name": "local",
            "role": "admin",
        }
        assert await page.value("location.href") == f"http://{guest.address}/"
        assert await page.value("document.cookie") == ""
        # Swagger UI itself has it too.
        shown = "!!document.querySelector('.swagger-ui .btn.authorize.locked, .authorize .locked')"
        await page.until(shown)

        await page.open("about:blank")
        await page.open(f"http://{guest.address}/")
        await ready(page)
        assert await page.value(f"{ASK}.then(answer => answer.status)") == 200


async def test_a_used_link_logs_nobody_in(guest: System) -> None:
    """Whoever finds a used link in a history or over a shoulder reads why it is of no use."""
    url = link(guest)
    async with browser() as first:
        await first.open(url)
        await ready(first)
    async with browser() as second:
        await second.open(url)
        await ready(second)
        told = "[...document.querySelectorAll('.pytq-door')].map(p => p.textContent).join()"
        assert "good once" in await second.value(told)
        assert await second.value("pytqDoor.token()") == ""
        assert await second.value("fetch('/api/v1/tasks').then(answer => answer.status)") == 401


async def test_a_web_socket_of_the_page_is_let_in(guest: System) -> None:
    """A page's WebSocket shows the token by itself: the door asks only whether it is a worker's."""
    async with browser() as page:
        await page.open(f"http://{guest.address}/")
        await ready(page)
        opened = """new Promise(done => {
            const socket = new WebSocket(`ws://${location.host}/api/v1/link`);
            socket.onopen = () => done(socket.protocol);
            socket.onerror = () => done("refused");
        })"""
        assert await page.value(opened) == "refused"
        worker = guest.run("token", "create", "page", "--role", "worker").stdout.decode().strip()
        await page.value(f"localStorage.setItem('pytq.token', '{worker}')")
        assert await page.value(opened) == "pytq"


async def test_another_page_of_this_machine_can_do_nothing(guest: System, shared: System) -> None:
    """A page of another port of localhost gets neither the token nor an answer."""
    async with browser() as page:
        await page.open(link(guest))
        await ready(page)
        other = f"http://localhost:{guest.port}"
        await page.open(f"{other}/")  # another name of the same server is another site to browsers
        await ready(page)
        assert await page.value("pytqDoor.token()") == ""
        stolen = f"fetch('http://{guest.address}/api/v1/tasks', {{mode: 'no-cors'}})"
        outcome = "answer => answer.type, error => 'refused'"
        # An opaque answer tells nothing; the server has refused it as well (see test_guards).
        assert await page.value(f"{stolen}.then({outcome})") in {"opaque", "refused"}
        reading = f"fetch('http://{guest.address}/api/v1/tasks').then({outcome})"
        assert await page.value(reading) == "refused"
