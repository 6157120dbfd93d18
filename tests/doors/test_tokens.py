"""Tokens: shown once, kept as a hash, good until they expire or are revoked."""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer
from door_parts import House, everything_in, opened

from pytq.schema.access import Role
from pytq.server.api import middlewares
from pytq.server.api.doors import KEYRING, know_socket, lend, needs
from pytq.server.keyring import POLICY, Caller, Keyring, digest


async def test_only_a_hash_is_kept(house: House) -> None:
    """Whoever steals the database has stolen no token."""
    token = await house.token("anna")

    kept = await everything_in(house.database_uri)

    assert repr(hashlib.sha256(token.encode()).digest()) in kept["tokens"][0]
    assert token not in repr(kept)
    assert re.fullmatch(r"pytq_[A-Za-z0-9_-]{43}", token)


async def test_tokens_are_listed_without_what_they_are(house: House) -> None:
    """Names, roles, who made them and when they were used; never the tokens."""
    token = await house.token("anna", "operator", expires_in=3600.0)
    await house.token("idle", "viewer")
    await house.ask("GET", "/me", token)

    status, (anna, idle) = await house.ask("GET", "/tokens")

    assert status == 200
    assert (anna["name"], anna["role"], anna["created_by"]) == ("anna", "operator", "local")
    assert anna["expires_at"] > anna["created_at"]
    assert anna["used_at"] >= anna["created_at"]
    assert (idle["used_at"], idle["expires_at"]) == (None, None)
    assert token not in repr((anna, idle))


async def test_a_token_survives_the_server(tmp_path: Path, database_uri: str) -> None:
    """What was made before a restart is good after it; what was revoked stays so."""
    async with opened(tmp_path, database_uri) as house:
        kept, revoked = await house.token("kept", "viewer"), await house.token("revoked")
        await house.ask("DELETE", "/tokens/revoked")
        local = house.admin
    async with opened(tmp_path, database_uri) as house:
        assert (await house.ask("GET", "/me", kept))[1] == {"name": "kept", "role": "viewer"}
        assert (await house.ask("GET", "/me", revoked))[0] == 401
        assert (await house.ask("GET", "/me", local))[0] == 401


async def test_a_revoked_token_is_worthless_at_once(house: House) -> None:
    """The very next request is refused, and its name may be given again."""
    token = await house.token("anna")
    assert (await house.ask("GET", "/me", token))[0] == 200

    assert (await house.ask("DELETE", "/tokens/anna"))[0] == 204

    assert (await house.ask("GET", "/me", token))[0] == 401
    assert (await house.ask("DELETE", "/tokens/anna"))[0] == 404
    again = await house.token("anna")
    assert again != token
    assert (await house.ask("GET", "/me", again))[0] == 200


async def test_making_and_revoking_are_events(house: House) -> None:
    """Who handed out which right stays to be read, without the token."""
    token = await house.token("anna", "operator")
    await house.ask("DELETE", "/tokens/anna")

    _, events = await house.ask("GET", "/events")

    told = [(event["kind"], event["actor"], event["detail"]) for event in events["items"]]
    assert told[:2] == [
        ("token revoked", "local", "anna, operator"),
        ("token made", "local", "anna, operator"),
    ]
    assert token not in repr(events)


@pytest.mark.parametrize(
    ("order", "status", "field"),
    [
        ({"name": "taken"}, 409, "name"),
        ({"name": "local"}, 422, "name"),
        ({"name": "-x"}, 422, "name"),
        ({"name": ""}, 422, "name"),
        ({"name": "a\nb"}, 422, "name"),
        ({"name": "x" * 201}, 422, "name"),
        ({"name": "x", "role": "root"}, 422, "role"),
        ({"name": "x", "role": None}, 422, "role"),
        ({"name": "x", "expires_in": 0}, 422, "expires_in"),
        ({"name": "x", "expires_in": -5}, 422, "expires_in"),
        ({"name": "x", "expires_in": 1e12}, 422, "expires_in"),
        ({"name": "x", "token": "pytq_mine"}, 422, "token"),
        ({}, 422, "name"),
    ],
)
async def test_a_senseless_order_is_refused_by_name(
    small_house: House, order: dict[str, object], status: int, field: str
) -> None:
    """A token is never made half understood."""
    await small_house.token("taken")

    assert (await small_house.ask("POST", "/tokens", json=order))[0] == status
    assert (await small_house.ask("POST", "/tokens", json=order))[1]["field"] == field
    assert len((await small_house.ask("GET", "/tokens"))[1]) == 1


async def test_an_expired_token_is_worthless(small_house: House) -> None:
    """A token is good until its time, also if nobody looks."""
    token = await small_house.token("brief", expires_in=0.2)
    assert (await small_house.ask("GET", "/me", token))[0] == 200

    async with asyncio.timeout(5):
        while (await small_house.ask("GET", "/me", token))[0] == 200:  # noqa: ASYNC110 - its end is no event
            await asyncio.sleep(0.05)

    assert (await small_house.ask("GET", "/me", token))[0] == 401


@needs(Role.VIEWER)
async def listen(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str(lend(request))
    await socket.receive()
    return socket


@pytest.fixture
async def hall(keyring: Keyring) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application(middlewares=middlewares(keyring=keyring))
    app[KEYRING] = keyring
    app.router.add_get("/listen", listen)
    app.on_response_prepare.append(know_socket)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
def keyring() -> Keyring:
    return Keyring()


async def test_revoking_hangs_up(
    keyring: Keyring, hall: TestClient[web.Request, web.Application]
) -> None:
    """Whoever listens with a token hears nothing more once it is revoked, nor do its children."""
    anna, bert = Caller("anna", Role.VIEWER, 1), Caller("bert", Role.VIEWER, 2)
    keyring.add(digest("anna's"), anna)
    keyring.add(digest("bert's"), bert)
    hers = await hall.ws_connect("/listen", headers={"Authorization": "Bearer anna's"})
    lent = await hers.receive_str()
    child = await hall.ws_connect("/listen", headers={"Authorization": f"Bearer {lent}"})
    await child.receive_str()
    his = await hall.ws_connect("/listen", headers={"Authorization": "Bearer bert's"})
    await his.receive_str()

    await keyring.revoke(1)

    for socket in (hers, child):
        said = await socket.receive(5)
        assert (said.type, said.data, said.extra) == (
            WSMsgType.CLOSE,
            POLICY,
            "the token was revoked",
        )
    assert not his.closed
    await his.send_str("still here")
    assert not await is_known(keyring, lent)


async def is_known(keyring: Keyring, secret: str) -> bool:
    from pytq.schema.problems import UnauthorizedError

    try:
        keyring.admit(secret, "test")
    except UnauthorizedError:
        return False
    return True


async def test_expiry_hangs_up(
    keyring: Keyring, hall: TestClient[web.Request, web.Application]
) -> None:
    """An open connection does not outlive its token by long."""
    brief = Caller("brief", Role.VIEWER, 1, until=2e9)
    keyring.add(digest("brief"), brief)
    socket = await hall.ws_connect("/listen", headers={"Authorization": "Bearer brief"})
    await socket.receive_str()

    brief.until = 1.0
    await keyring.tidy()

    said = await socket.receive(5)
    assert (said.type, said.extra) == (WSMsgType.CLOSE, "the token has expired")
    assert not await is_known(keyring, "brief")


async def test_a_browser_offers_its_token_as_a_subprotocol(
    keyring: Keyring,
    hall: TestClient[web.Request, web.Application],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A page's WebSocket is let in, answered as browsers demand, and its token not logged."""
    caplog.set_level(logging.DEBUG)
    token = keyring.hand_out("vera", Role.VIEWER)
    socket = await hall.ws_connect("/listen", protocols=["pytq", f"pytq.bearer.{token}"])

    assert socket.protocol == "pytq"
    assert (await socket.receive_str()).startswith("pytq_")
    await socket.close()
    assert token not in caplog.text


async def test_what_was_lent_can_be_taken_back(keyring: Keyring) -> None:
    """A token that was lent to a process of ours ends with that process."""
    lent = keyring.lend(Caller("vera", Role.VIEWER))
    assert await is_known(keyring, lent)

    keyring.take_back(lent)

    assert not await is_known(keyring, lent)


async def test_a_login_code_is_good_once(small_house: House) -> None:
    """A browser is logged in with the rights of who made the code, and nobody after it."""
    vera = await small_house.token("vera", "viewer")
    status, offered = await small_house.ask("POST", "/logins", vera)
    assert (status, offered["seconds"]) == (201, 300)
    code = {"code": offered["code"]}

    status, session = await small_house.ask("POST", "/logins/redeem", None, json=code)
    again, problem = await small_house.ask("POST", "/logins/redeem", None, json=code)

    assert (status, again, problem["field"]) == (201, 401, "code")
    assert (await small_house.ask("GET", "/me", session["token"]))[1] == {
        "name": "vera",
        "role": "viewer",
    }
    await small_house.ask("DELETE", "/tokens/vera")
    assert (await small_house.ask("GET", "/me", session["token"]))[0] == 401


async def test_a_login_code_of_a_revoked_token_is_worthless(small_house: House) -> None:
    """A code does not outlive the right it stands for."""
    vera = await small_house.token("vera", "viewer")
    _, offered = await small_house.ask("POST", "/logins", vera)
    await small_house.ask("DELETE", "/tokens/vera")

    code = {"code": offered["code"]}
    assert (await small_house.ask("POST", "/logins/redeem", None, json=code))[0] == 401
