"""Nobody can hold the server up for the others: each limit says so, and when to come back."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType
from door_parts import House, opened
from system import System

from pytq.client import Client
from pytq.schema import limits
from pytq.schema.access import Role
from pytq.schema.problems import TooManyError
from pytq.server import opening
from pytq.server.allowance import Allowance
from pytq.server.api.doors import KEYRING
from pytq.server.app import application
from pytq.server.keyring import Caller, Keyring, digest
from pytq.server.settings import ServerSettings

WRONG = "pytq_" + "x" * 43


async def test_guessing_is_slowed_down(small_house: House) -> None:
    """After ten wrong tokens a minute an address hears 429, until it has waited."""
    statuses = [(await small_house.ask("GET", "/me", WRONG))[0] for _ in range(12)]

    assert statuses == [401] * 10 + [429] * 2
    assert int(small_house.headers["Retry-After"]) == 6
    status, problem = await small_house.ask("GET", "/me", WRONG)
    assert (status, problem["code"]) == (429, "too_many")
    assert "too many wrong tokens" in problem["message"]


async def test_who_guesses_shuts_nobody_out(small_house: House) -> None:
    """From the very same address the right token is let in, and no token is told what to do."""
    for _ in range(15):
        await small_house.ask("GET", "/me", WRONG)

    assert (await small_house.ask("GET", "/me"))[0] == 200
    assert (await small_house.ask("GET", "/me", None))[0] == 401


async def test_guessing_codes_is_slowed_down_too(small_house: House) -> None:
    """Login codes are no easier to guess than tokens."""
    body = {"code": "guess"}
    ask = small_house.ask
    statuses = [(await ask("POST", "/logins/redeem", None, json=body))[0] for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2

    _, offered = await ask("POST", "/logins")
    right = {"code": offered["code"]}
    assert (await ask("POST", "/logins/redeem", None, json=right))[0] == 201


async def test_one_token_cannot_take_all(tmp_path: Path) -> None:
    """A program that asks without end is told to wait; others are not."""
    async with opened(tmp_path, f"sqlite:///{tmp_path}/x.db", requests_per_second=2) as house:
        busy, calm = await house.token("busy"), await house.token("calm")
        statuses = [(await house.ask("GET", "/me", busy))[0] for _ in range(15)]

        assert statuses[:10] == [200] * 10
        assert 429 in statuses[10:]
        while (await house.ask("GET", "/me", busy))[0] == 200:
            pass
        assert house.headers["Retry-After"] == "1"
        assert (await house.ask("GET", "/me", calm))[0] == 200


async def test_clients_wait_as_they_are_told(tmp_path: Path) -> None:
    """Our own client comes back after the pause it was asked for, instead of failing."""
    async with opened(tmp_path, f"sqlite:///{tmp_path}/x.db", requests_per_second=4) as house:
        token = await house.token("busy")
        place = f"127.0.0.1:{house.client.port}"
        async with Client(place, token=token) as client:
            answers = await asyncio.gather(*(client.get_caller() for _ in range(22)))
            assert {answer.name for answer in answers} == {"busy"}
            hasty = client.patient(0)
            with pytest.raises(TooManyError):
                await asyncio.gather(*(hasty.get_caller() for _ in range(30)))


def test_an_allowance_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at once, so many a second, and never more than the bucket holds."""
    now = [1000.0]
    monkeypatch.setattr("pytq.server.allowance.time.monotonic", lambda: now[0])
    allowance = Allowance(rate=2.0, most=3.0)

    assert [allowance.spend() for _ in range(4)] == [True, True, True, False]
    now[0] += 0.5
    assert [allowance.spend() for _ in range(2)] == [True, False]
    now[0] += 100
    assert allowance.is_full
    assert [allowance.spend() for _ in range(4)] == [True, True, True, False]


async def test_memory_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million addresses with wrong tokens cost no more memory than ten thousand."""
    monkeypatch.setattr("pytq.server.keyring._ADDRESSES", 100)
    keyring = Keyring()
    for number in range(1_000):
        with contextlib.suppress(Exception):
            keyring.admit(WRONG, f"address {number}")

    assert len(keyring._failures) <= 100


async def test_sessions_and_codes_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has expired is forgotten."""
    monkeypatch.setattr(limits, "LOGIN_CODE_SECONDS", -1.0)
    keyring = Keyring()
    caller = Caller("vera", Role.VIEWER)
    keyring.add(digest("hers"), caller)
    for _ in range(5):
        keyring.lend(caller, -1.0)
        keyring.offer_code(caller)

    await keyring.tidy()

    assert (len(keyring._keys), len(keyring._codes)) == (1, 0)


# --- connections


class Served:
    """A server that listens for real, in this process."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.token = token

    @contextlib.asynccontextmanager
    async def knock(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def head(self, line: str, *more: str) -> bytes:
        head = [line, f"Host: 127.0.0.1:{self.port}", f"Authorization: Bearer {self.token}", *more]
        return "\r\n".join([*head, "", ""]).encode()


@contextlib.asynccontextmanager
async def listening(folder: Path, **about: Any) -> AsyncIterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ServerSettings(data_dir=folder / "data", port=port, **about)
    settings.database_uri = f"sqlite:///{folder}/served.db"
    async with application(settings) as app:
        keyring = app[KEYRING]
        async with opening.open_to_callers(app, settings, keyring):
            yield Served(port, keyring.hand_out("tester", Role.ADMIN))


async def answer(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(-1), 10)


async def head_of_answer(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)


@contextlib.asynccontextmanager
async def dripping(writer: asyncio.StreamWriter, drop: bytes) -> AsyncIterator[None]:
    """Send a little again and again for as long as the block lasts."""

    async def drip() -> None:
        while True:
            writer.write(drop)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(drip())
    try:
        yield
    finally:
        task.cancel()


async def test_connections_of_one_address_are_bounded(tmp_path: Path) -> None:
    """The fourth of three connections is told 429; when one ends there is room again."""
    async with listening(tmp_path, connections_per_address=3) as served:
        async with contextlib.AsyncExitStack() as held:
            for _ in range(3):
                await held.enter_async_context(served.knock())
            async with served.knock() as (reader, _):
                said = await answer(reader)
        assert said.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert b"Retry-After: 5" in said
        assert b'"too many connections from your address"' in said

        async with asyncio.timeout(5):
            while not said.startswith(b"HTTP/1.1 200 "):
                async with served.knock() as (reader, writer):
                    writer.write(served.head("GET /api/v1/me HTTP/1.1", "Connection: close"))
                    said = await answer(reader)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /api/v1/me HTTP/1.1\r\nHost: loc",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /",
    ],
)
async def test_who_never_finishes_asking_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A connection that sends its head drop by drop, or nothing, is closed after its time."""
    monkeypatch.setitem(opening._HOW, "keepalive_timeout", 0.3)
    said = b""
    async with listening(tmp_path) as served, served.knock() as (reader, writer):
        writer.write(sent)
        async with dripping(writer, b"X" if sent else b""):
            with contextlib.suppress(ConnectionResetError):
                said = await answer(reader)

    assert said == b"" or said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"HTTP/1.1") <= 1


async def test_a_body_that_stalls_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stops in the middle of a body is told 408."""
    monkeypatch.setattr(limits, "BODY_STALL_SECONDS", 0.2)
    head = ("Content-Type: application/json", "Content-Length: 100", "Connection: close")
    async with listening(tmp_path) as served, served.knock() as (reader, writer):
        writer.write(served.head("POST /api/v1/tasks HTTP/1.1", *head) + b'{"command":')
        said = await head_of_answer(reader)

    assert said.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_drips_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who keeps a body coming byte by byte is told 408 when the time for all of it is up."""
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.4)
    head = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    async with listening(tmp_path) as served, served.knock() as (reader, writer):
        writer.write(served.head("POST /api/v1/tasks HTTP/1.1", *head))
        async with dripping(writer, b"1\r\n \r\n"):
            said = await head_of_answer(reader)

    assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /api/v1/me HTTP/1.1", "X-Long: " + "x" * 9_000],
        ["GET /api/v1/me HTTP/1.1", *[f"X-{number}: x" for number in range(200)]],
        ["GET /api/v1/" + "x" * 40_000 + " HTTP/1.1"],
        ["GET /api/v1/me HTTP/1.1", "X: Bearer " + "x" * 1_000_000],
    ],
)
async def test_heads_are_bounded(tmp_path: Path, lines: list[str]) -> None:
    """Endless addresses, headers and tokens are refused as 4xx, unread."""
    async with listening(tmp_path) as served, served.knock() as (reader, writer):
        writer.write(served.head(lines[0], *lines[1:]))
        said = await head_of_answer(reader)

    assert re.match(rb"HTTP/1\.[01] 4\d\d ", said)


async def test_frames_on_the_link_are_bounded(
    small_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that sends one endless frame is cut off; the server lives on."""
    monkeypatch.setattr(limits, "FRAME_BYTES", 10_000)
    token = await small_house.token("w", "worker")
    headers = {"Authorization": f"Bearer {token}"}
    async with small_house.client.ws_connect("/api/v1/link", headers=headers) as socket_:
        await socket_.send_str("x" * 20_000)
        said = await socket_.receive(10)

    assert said.type in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.TEXT}
    assert (await small_house.ask("GET", "/me"))[0] == 200


def test_a_flood_of_connections_stops_no_worker(tmp_path: Path) -> None:
    """While one address holds all it may, a worker that is connected goes on."""
    system = System(tmp_path, None)
    system.env["PYTQ_CONNECTIONS_PER_ADDRESS"] = "6"
    try:
        system.start_server()
        system.start_worker()
        system.run("launch", "--wait", "true")
        task = system.run("launch", "sh", "-c", "sleep 0.5").stdout.decode().strip()
        with contextlib.ExitStack() as held:
            for _ in range(10):
                held.enter_context(socket.create_connection(("127.0.0.1", system.port)))
            refused = system.run("task", "list")
        assert b"too many connections" in refused.stderr
        assert system.run("launch", "-R", task, "--wait", "true").returncode == 0
        assert b"offline" not in system.run("worker", "list").stdout
    finally:
        system.stop()
