"""Visitors of `/ui/`: each has a cockpit in a process of its own, and leaves nothing behind."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from aiohttp.test_utils import TestClient, TestServer
from system import System

from pytq.schema import limits
from pytq.server.app import application
from pytq.server.settings import ServerSettings
from pytq.server.ui import visits
from pytq.server.ui.pages import pages
from pytq.server.ui.visit import Visit, environment
from pytq.server.whereabouts import WHEREABOUTS

TEXT, BINARY = aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY
SECONDS = 60.0
Visitors = list[aiohttp.ClientWebSocketResponse]


async def until(true: Any) -> None:
    for _ in range(int(SECONDS / 0.05)):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to that")


# --- against a real server


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path, None)
    system.env["OS_AUTH_URL"] = "https://cloud.example"
    try:
        system.start_server()
        yield system
    finally:
        system.stop()


@asynccontextmanager
async def session_at(system: System) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        f"http://{system.address}", headers=system.headers()
    ) as session:
        yield session


async def arrive(session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
    """A visitor who has seen that the cockpit is there."""
    socket = await session.ws_connect("/ui/ws?width=90&height=30", max_msg_size=0)
    seen = b""
    async with asyncio.timeout(SECONDS):
        while b"Overview" not in seen:
            message = await socket.receive()
            assert message.type is BINARY, message
            seen += message.data
    return socket


def server_of(system: System) -> psutil.Process:
    assert system.server is not None
    return psutil.Process(system.server.pid)


def cockpits(system: System) -> list[psutil.Process]:
    """Processes that show this server, wherever they hang in the tree."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if words[-2:] == ["tui", f"http://{system.address}"]:
                found.append(process)
    return found


@pytest.mark.timeout(300)
async def test_twenty_visitors_come_and_go(system: System) -> None:
    """However they leave (politely, abruptly, by quitting): no process, no socket is left."""
    server = server_of(system)
    async with session_at(system) as session:
        await (await session.get("/healthz")).read()
        before = server.num_fds()
        for _ in range(2):
            visitors = await asyncio.gather(*[arrive(session) for _ in range(10)])
            assert len(cockpits(system)) == 10
            for number, visitor in enumerate(visitors):
                if number % 3 == 0:
                    await visitor.close()
                elif number % 3 == 1:
                    response = visitor._response
                    assert response.connection is not None
                    assert response.connection.transport is not None
                    response.connection.transport.abort()
                else:
                    await visitor.send_json(["stdin", "q"])
                    async for message in visitor:
                        assert message.type in (TEXT, BINARY)
            await until(lambda: not server.children(recursive=True))
        await until(lambda: server.num_fds() <= before)

    assert cockpits(system) == []


async def test_a_cockpit_sees_little_of_the_environment(system: System) -> None:
    """The server's secrets are not for a process that shows things to people."""
    async with session_at(system) as session:
        visitor = await arrive(session)
        [cockpit] = cockpits(system)
        seen = cockpit.environ()
        await visitor.close()

    assert "OS_AUTH_URL" not in seen
    assert seen["PYTQ_TOKEN"] != system.headers()["Authorization"].removeprefix("Bearer ")
    assert set(seen) <= {*environment(os.environ, 1, 1), "PYTQ_TOKEN"}


async def test_what_was_lent_is_taken_back(system: System) -> None:
    """The token of a visitor's cockpit is good for as long as the visit lasts."""
    async with session_at(system) as session:
        visitor = await arrive(session)
        [cockpit] = cockpits(system)
        lent = {"Authorization": f"Bearer {cockpit.environ()['PYTQ_TOKEN']}"}
        async with session.get("/api/v1/server", headers=lent) as answer:
            assert answer.status == 200
        await visitor.close()
        await until(lambda: not cockpits(system))
        await asyncio.sleep(0.1)
        async with session.get("/api/v1/server", headers=lent) as answer:
            assert answer.status == 401


async def test_a_cockpit_that_hangs_is_killed(system: System) -> None:
    """A visitor who leaves takes even a cockpit along that does not answer."""
    async with session_at(system) as session:
        visitor = await arrive(session)
        [cockpit] = cockpits(system)
        cockpit.send_signal(signal.SIGSTOP)
        await visitor.close()

        await until(lambda: not cockpits(system))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_visitors_do_not_outlive_the_server(system: System, ending: signal.Signals) -> None:
    """When the server stops, or is killed, every visitor is seen out."""
    async with session_at(system) as session:
        visitors = [await arrive(session) for _ in range(2)]
        assert system.server is not None
        system.server.send_signal(ending)
        for visitor in visitors:
            async with asyncio.timeout(SECONDS):
                async for message in visitor:
                    assert message.type in (TEXT, BINARY)
        system.server.wait(30)

        await until(lambda: not cockpits(system))


async def test_strangers_are_not_let_in(system: System) -> None:
    """Without a token there is a page, and nothing behind it; nor for other sites' pages."""
    async with aiohttp.ClientSession(f"http://{system.address}") as session:
        async with session.get("/ui/") as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect("/ui/ws")
        assert refusal.value.status == 401
    async with session_at(system) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect("/ui/ws", headers={"Origin": "http://evil.example"})
        assert refusal.value.status == 403
    assert cockpits(system) == []


# --- with a small program in the cockpit's place


@pytest.fixture
async def client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TestClient[Any, Any]]:
    monkeypatch.delenv("SQLALCHEMY_DATABASE_URI", raising=False)
    offering = str(Path(__file__).with_name("offering.py"))
    monkeypatch.setattr(Visit, "program", (sys.executable, offering))
    settings = ServerSettings(data_dir=tmp_path / "data", insecure=True)
    async with application(settings) as app:
        app[WHEREABOUTS].url = "http://127.0.0.1:1"
        async with TestClient(TestServer(app)) as client:
            yield client


def cockpits_here() -> list[psutil.Process]:
    """Programs in a cockpit's place that this very process has started."""
    found = []
    for one in psutil.Process().children():
        with suppress(psutil.Error):
            if "http://127.0.0.1:1" in one.cmdline():
                found.append(one)
    return found


async def offered(socket: Any) -> str:
    """The key under which a file is offered."""
    await socket.send_json(["stdin", "d"])
    async with asyncio.timeout(SECONDS):
        async for message in socket:
            if message.type is TEXT:
                word, key = json.loads(message.data)
                assert word == "deliver_file_start"
                return str(key)
    raise AssertionError("nothing was offered")


async def test_a_file_can_be_downloaded_once(client: TestClient[Any, Any]) -> None:
    """What a cockpit saves goes to the browser's own disk: whole, harmless, and once."""
    async with client.ws_connect("/ui/ws") as socket:
        await socket.receive()
        key = await offered(socket)
        async with client.get(f"/download/{key}") as answer:
            assert await answer.text() == "task;status\n" * 20_000
            assert answer.content_type == "application/octet-stream"
            assert answer.headers["Content-Disposition"] == (
                "attachment; filename*=UTF-8''tasks%20%227%22.csv"
            )
        async with client.get(f"/download/{key}") as answer:
            assert answer.status == 404


async def test_an_offer_ends_with_the_visit(client: TestClient[Any, Any]) -> None:
    """Nothing of a visit is kept after it."""
    async with client.ws_connect("/ui/ws") as socket:
        await socket.receive()
        key = await offered(socket)
    for _ in range(100):
        async with client.get(f"/download/{key}") as answer:
            if answer.status == 404:
                return
        await asyncio.sleep(0.05)
    raise AssertionError("it is still offered")


@pytest.mark.parametrize(
    "said",
    ["", "{", "[]", '["stdin"]', '["stdin",7]', '["resize"]', '["resize",{"width":1}]', '{"a":1}'],
)
async def test_nonsense_ends_a_visit(client: TestClient[Any, Any], said: str) -> None:
    """A page that says what is not understood is shown the door, and its process ends."""
    async with client.ws_connect("/ui/ws") as socket:
        await socket.receive()
        await socket.send_str(said)
        async with asyncio.timeout(SECONDS):
            async for message in socket:
                assert message.type in (TEXT, BINARY)

        assert socket.close_code == 1007
    await until(lambda: not cockpits_here())


@pytest.mark.parametrize("size", ["width=-5&height=0", "width=x", "width=99999999999999999999"])
async def test_any_size_will_do(client: TestClient[Any, Any], size: str) -> None:
    """A window of an impossible size gets one that is possible."""
    async with client.ws_connect(f"/ui/ws?{size}") as socket:
        assert (await socket.receive()).type is BINARY
        await socket.send_json(["resize", {"width": 1e308, "height": None}])
        await socket.send_json(["focus"])
        await socket.send_json(["blur"])
        await socket.send_json(["something new", 1])
        await socket.send_json(["ping", "x"])
        async with asyncio.timeout(SECONDS):
            while (message := await socket.receive()).type is not TEXT:
                assert message.type is BINARY
        assert json.loads(message.data) == ["pong", "x"]


async def test_there_is_a_bound_to_visitors(
    client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One visitor too many is told so, in words that the page shows."""
    monkeypatch.setattr(limits, "VISITORS", 1)
    async with client.ws_connect("/ui/ws") as first:
        await first.receive()
        async with client.ws_connect("/ui/ws") as second:
            message = await second.receive()

            assert message.type is aiohttp.WSMsgType.CLOSE
            assert second.close_code == 1013
            assert "close one of the windows" in message.extra
    await until(lambda: not cockpits_here())
    async with client.ws_connect("/ui/ws") as third:
        assert (await third.receive()).type is BINARY


async def test_a_cockpit_that_cannot_start_is_seen_out(
    client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that ends at once ends the visit, and the log tells what it said."""
    script = "import sys; print('no theme', file=sys.stderr); sys.exit(3)"
    monkeypatch.setattr(Visit, "program", (sys.executable, "-c", script))
    async with client.ws_connect("/ui/ws") as socket:
        async with asyncio.timeout(SECONDS):
            async for message in socket:
                assert message.type in (TEXT, BINARY)
        assert socket.close_code == 1000
    await until(lambda: "no theme" in caplog.text)


# --- the page


async def test_everything_the_page_loads_comes_from_here(client: TestClient[Any, Any]) -> None:
    """The page works without any other host, under a strict policy, also below a prefix."""
    async with client.get("/ui", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (308, "ui/")
    async with client.get("/ui/") as answer:
        html = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy
    found = re.findall(r'(?:src|href)="([^"]+)"', html)
    script = await (await client.get("/ui/static/ui.js")).text()
    found += re.findall(r'(?<!\.)load\("([^"]+)"\)', script)
    style = await (await client.get("/ui/static/ui.css")).text()
    found += [f"static/{name}" for name in re.findall(r'url\("([^"]+)"\)', style)]

    assert len(found) == 9
    for address in found:
        assert not address.startswith(("/", "http"))
        async with client.get(f"/ui/{address}") as part:
            assert part.status == 200, address
    assert not re.findall(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|\sstyle=", html)
    assert "://" not in html + script + style


def test_what_comes_with_textual_serve_is_there() -> None:
    """The files that we serve from the installed package exist in it."""
    for handle in pages().values():
        asset = getattr(handle, "__self__", None)
        if asset is not None:
            assert asset.file.is_file()


def test_sizes_are_bounded() -> None:
    """What a browser says of its size is taken with a grain of salt."""
    assert visits._within(range(10, 101), "50", 80) == 50
    assert visits._within(range(10, 101), 1e9, 80) == 100
    assert visits._within(range(10, 101), -3, 80) == 10
    assert visits._within(range(10, 101), "wide", 80) == 80
