"""A web page in somebody's browser cannot reach the server behind their back."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer
from api_client import Client
from fake_queue import FakeQueue

from pytq.schema.access import Role
from pytq.schema.problems import Problem
from pytq.server.api import add_routes, middlewares
from pytq.server.api.doors import needs
from pytq.server.keyring import Keyring

SERVER = "/api/v1/server"


@needs(Role.ADMIN)
async def link(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str("welcome")
    await socket.close()
    return socket


@pytest.fixture
def app(queue: FakeQueue, keyring: Keyring) -> web.Application:
    app = web.Application(middlewares=middlewares(["pytq.example"], keyring=keyring))
    add_routes(app, queue)
    app.router.add_get("/api/v1/link", link)
    return app


@pytest.fixture
async def open_client(queue: FakeQueue) -> AsyncIterator[Client]:
    names = ["0.0.0.0"]  # noqa: S104 - only a name here
    app = web.Application(middlewares=middlewares(names, keyring=None))
    add_routes(app, queue)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:5000",
        "localhost:1",
        "LOCALHOST",
        "localhost.",
        "[::1]:5000",
        "pytq.example:5000",
    ],
)
async def test_known_hosts_are_answered(client: Client, host: str) -> None:
    """Loopback, and the names the server was given, reach it on any forwarded port."""
    async with client.get(SERVER, headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:5000",
        "10.0.0.1",
        "[::2]",
        "localhost:5000:5000",
        "user@localhost",
        "localhost/",
        "",
    ],
)
async def test_strange_hosts_are_refused(client: Client, host: str) -> None:
    """A name made to point at 127.0.0.1 (DNS rebinding) gets a problem and nothing else."""
    async with client.get(SERVER, headers={"Host": host}) as response:
        shown = Problem.model_validate_json(await response.read())

    assert (shown.status, shown.code, shown.field) == (403, "forbidden", "Host")


@pytest.mark.parametrize(
    ("host", "status"), [("10.1.2.3:5000", 200), ("[fe80::1]", 200), ("evil.example", 403)]
)
async def test_a_server_on_every_address_answers_to_addresses(
    open_client: Client, host: str, status: int
) -> None:
    """A worker may use any address of an open server; a name that was not given stays refused."""
    async with open_client.get(SERVER, headers={"Host": host}) as response:
        assert status == response.status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "file://localhost:5000"},
        {"Origin": "http://["},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "banana"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_other_sites_pages_are_refused(
    client: Client, headers: dict[str, str], method: str
) -> None:
    """A page of another site, or of another port of this machine, can neither read nor act."""
    headers = {"Host": "localhost:5000", **headers}
    async with client.request(method, SERVER, headers=headers) as response:
        assert response.status == 403
        assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:5000"},
        {"Origin": "https://localhost:5000", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {},
    ],
)
async def test_our_own_page_and_programs_are_answered(
    client: Client, headers: dict[str, str]
) -> None:
    """The documentation page, an address typed by hand, and curl all work."""
    async with client.get(SERVER, headers={"Host": "localhost:5000", **headers}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("method", "mode", "status"),
    [("GET", "navigate", 200), ("GET", "no-cors", 403), ("POST", "navigate", 403)],
)
async def test_a_link_may_lead_to_the_page(
    client: Client, method: str, mode: str, status: int
) -> None:
    """A wiki may link to the documentation page, and to nothing else."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
    async with client.request(method, "/", headers=headers) as response:
        assert status == response.status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_other_sites_cannot_open_the_link(client: Client, headers: dict[str, str]) -> None:
    """WebSockets, which browsers open to any site, pass the same guard."""
    with pytest.raises(WSServerHandshakeError) as refusal:
        await client.ws_connect("/api/v1/link", headers=headers)

    assert refusal.value.status == 403


async def test_a_worker_can_open_the_link(client: Client) -> None:
    """A program, which sends no Origin, gets its WebSocket."""
    async with client.ws_connect("/api/v1/link") as socket:
        assert await socket.receive_str() == "welcome"


@pytest.mark.parametrize(
    "path", ["/", "/openapi.json", "/healthz", SERVER, "/api/v1/tasks/1", "/nowhere"]
)
async def test_every_answer_carries_the_browsers_orders(client: Client, path: str) -> None:
    """Errors included, no answer may be framed, sniffed, or run a script of another host."""
    async with client.get(path) as response:
        headers = response.headers

    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "script-src" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not path.startswith("/api/") or headers["Cache-Control"] == "no-store"
