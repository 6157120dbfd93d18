"""Each role may do what it needs, and nothing beyond."""

import re
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer
from door_parts import House, opened

from pytq.schema.access import Role, may
from pytq.schema.endpoints import ENDPOINTS
from pytq.server.api import middlewares
from pytq.server.api.doors import needs, who
from pytq.server.keyring import Keyring

PLACES = {"task": "1", "attempt": "1", "stream": "stdout", "name": "nobody", "job": "1"}
ROLES = [None, *Role]


def path_of(name: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: PLACES[found[1]], ENDPOINTS[name].path)


@pytest.fixture
async def people(small_house: House) -> dict[Role | None, str | None]:
    """A token of each role; None is somebody without one."""
    made: dict[Role | None, str | None] = {None: None}
    for role in Role:
        made[role] = await small_house.token(f"a-{role}", role)
    return made


async def test_every_endpoint_lets_in_its_role_and_those_above(
    small_house: House, people: dict[Role | None, str | None]
) -> None:
    """401 without a token, 403 with too small a role, anything else for who may come in."""
    wrong = []
    for name, endpoint in ENDPOINTS.items():
        for role, token in people.items():
            status, _ = await small_house.ask(endpoint.method, path_of(name), token)
            allowed = endpoint.role is None or (role is not None and may(role, endpoint.role))
            refused = 401 if role is None else 403
            if (status == refused) is allowed and name != "log_in":
                wrong.append((name, role, status))

    assert wrong == []


@pytest.mark.parametrize(
    ("role", "may_do"),
    [
        (Role.VIEWER, {"list_tasks", "get_output", "wait_for_tasks", "list_events", "get_server"}),
        (Role.SUBMITTER, {"submit_tasks", "cancel_task", "retry_task", "signal_execution"}),
        (Role.OPERATOR, {"update_worker", "delete_worker", "update_batch", "cancel_batch"}),
        (Role.ADMIN, {"create_token", "list_tokens", "revoke_token", "recruit"}),
    ],
)
def test_roles_are_what_the_docs_say(role: Role, may_do: set[str]) -> None:
    """What a role is for needs exactly that role."""
    assert {ENDPOINTS[name].role for name in may_do} == {role}


async def test_nothing_that_changes_anything_is_open_to_viewers() -> None:
    """Whoever may only look can change nothing: the one POST of theirs waits, one logs in."""
    changing = {n for n, e in ENDPOINTS.items() if e.method != "GET" and e.role is Role.VIEWER}

    assert changing == {"wait_for_tasks", "offer_login"}
    assert {n for n, e in ENDPOINTS.items() if e.role is None} == {"log_in"}


async def test_the_link_is_for_workers_alone(
    small_house: House, people: dict[Role | None, str | None]
) -> None:
    """Not even an admin may speak as a worker."""
    statuses = {}
    for role, token in people.items():
        statuses[role], _ = await small_house.ask("GET", "/link", token)

    # 400: let in, but this is no WebSocket.
    assert statuses == {
        role: 401 if role is None else 400 if role is Role.WORKER else 403 for role in ROLES
    }


# A page without data, what it loads, and what a stranger must be able to ask.
PUBLIC = re.compile(
    r"/|/favicon\.ico|/openapi\.json|/healthz|/swagger/.+|/ui|/ui/|/ui/static/.+"
    r"|/(ui/)?download/\{key\}|/api/v1/logins/redeem"
)


async def test_nothing_is_open_that_need_not_be(small_house: House) -> None:
    """Of all routes there are, only pages without data and logging in are open to strangers."""
    open_paths, shut = set(), set()
    for route in small_house.app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        (open_paths if getattr(route.handler, "needs", "") is None else shut).add(path)

    assert {path for path in open_paths if not PUBLIC.fullmatch(path)} == set()
    assert {"/api/v1/link", "/api/v1/stream", "/ui/ws", "/api/v1/tasks"} <= shut


@pytest.mark.parametrize("path", ["/api/v1/link", "/api/v1/stream", "/ui/ws"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_no_other_sites_page_opens_a_web_socket(
    small_house: House,
    people: dict[Role | None, str | None],
    path: str,
    headers: dict[str, str],
) -> None:
    """Even with the right token: a page of another site, or under another name, gets 403."""
    role = Role.WORKER if path.endswith("link") else Role.ADMIN
    headers = {**headers, "Authorization": f"Bearer {people[role]}"}

    with pytest.raises(WSServerHandshakeError) as refusal:
        await small_house.client.ws_connect(path, headers=headers)

    assert refusal.value.status == 403


@pytest.mark.parametrize("path", ["/api/v1/link", "/api/v1/stream", "/ui/ws"])
async def test_web_sockets_ask_for_a_token(small_house: House, path: str) -> None:
    """Nobody listens, speaks or steers without one."""
    with pytest.raises(WSServerHandshakeError) as refusal:
        await small_house.client.ws_connect(path)

    assert refusal.value.status == 401


async def test_a_route_that_says_nothing_is_for_admins(tmp_path: Any) -> None:
    """Whoever forgets to say whom a route lets in has opened it to nobody."""

    async def forgotten(request: web.Request) -> web.Response:
        return web.json_response({"name": who(request).name})

    @needs(Role.VIEWER)
    async def said(request: web.Request) -> web.Response:
        return await forgotten(request)

    inner = web.Application()
    inner.router.add_get("/x", forgotten)
    keyring = Keyring()
    app = web.Application(middlewares=middlewares(keyring=keyring))
    app.router.add_get("/forgotten", forgotten)
    app.router.add_get("/said", said)
    app.router.add_static("/files", tmp_path, show_index=True)
    app.add_subapp("/inner", inner)
    token = keyring.hand_out("vera", Role.VIEWER)
    async with TestClient(TestServer(app)) as client:
        client.session.headers["Authorization"] = f"Bearer {token}"
        statuses = {}
        for path in ("/forgotten", "/inner/x", "/files/", "/said", "/nowhere"):
            async with client.get(path) as answer:
                statuses[path] = answer.status
        async with client.get("/said") as answer:
            assert await answer.json() == {"name": "vera"}

    assert statuses == {
        "/forgotten": 403,
        "/inner/x": 403,
        "/files/": 403,
        "/said": 200,
        "/nowhere": 404,
    }


async def test_everything_is_open_without_tokens_where_that_is_wanted(tmp_path: Any) -> None:
    """`--insecure` asks nobody who they are; events tell of `local`."""
    async with opened(tmp_path, f"sqlite:///{tmp_path}/x.db", insecure=True) as house:
        assert (await house.ask("GET", "/me", None)) == (200, {"name": "local", "role": "admin"})
        assert (await house.ask("POST", "/tasks", None, json={"command": "x"}))[0] == 201
        assert (await house.ask("GET", "/link", None))[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/tasks/{}/cancel", None),
        ("POST", "/tasks/{}/retry", None),
        ("PATCH", "/tasks/{}", {"priority": 7}),
        ("DELETE", "/tasks/{}", None),
        ("POST", "/executions/{}.1/signal", {"signal": "kill"}),
    ],
)
async def test_submitters_change_only_what_is_theirs(
    house: House, method: str, path: str, body: Any
) -> None:
    """Anna cannot touch Bert's task, an operator can, and Bert himself can."""
    anna, bert = await house.token("anna"), await house.token("bert")
    oscar = await house.token("oscar", "operator")
    task = await house.submit(bert)

    status, said = await house.ask(method, path.format(task), anna, json=body)
    assert (status, said["field"]) == (403, "task")
    assert "bert" in said["message"]
    for token in (oscar, bert):
        status, said = await house.ask(method, path.format(task), token, json=body)
        assert status not in {401, 403}, said


async def test_a_task_tells_whose_it_is_and_so_do_events(house: House) -> None:
    """What was done is told by the name of the token it was done with."""
    anna = await house.token("anna", "operator")
    task = await house.submit(anna)
    await house.ask("POST", f"/tasks/{task}/cancel", anna)

    _, shown = await house.ask("GET", f"/tasks/{task}")
    _, events = await house.ask("GET", f"/events?task={task}")

    assert shown["owner"] == "anna"
    assert {event["actor"] for event in events["items"]} == {"anna"}
    assert shown["reason"]["detail"] == "cancelled by anna"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Authorization": ""}, "only bearer"),
        ({"Authorization": "Bearer"}, "not known"),
        ({"Authorization": "Bearer "}, "not known"),
        ({"Authorization": "Basic bG9jYWw6eA=="}, "only bearer"),
        ({"Authorization": "Bearer pytq_" + "x" * 43}, "not known"),
        ({"Authorization": "Bearer \udcff\udcfe"}, "not known"),
        ({"Authorization": "Bearer " + "x" * 8_000}, "not known"),
        ({"Cookie": "pytq.token=TOKEN"}, "wants a token"),
        ({"X-Token": "TOKEN"}, "wants a token"),
    ],
)
async def test_what_is_no_token_is_told_so(
    small_house: House, headers: dict[str, str], said: str
) -> None:
    """401, with a sentence, a cure and how to do it right; cookies and queries never count."""
    headers = {name: value.replace("TOKEN", small_house.admin) for name, value in headers.items()}

    status, problem = await small_house.ask("GET", "/server", None, headers=headers)

    assert (status, problem["code"]) == (401, "unauthorized")
    assert said in problem["message"]
    assert problem["cure"]
    assert small_house.headers["WWW-Authenticate"].startswith("Bearer")


async def test_two_tokens_or_one_in_the_address_are_refused(small_house: House) -> None:
    """It is never left to chance which of two tokens counts, and none is read from an address."""
    token = small_house.admin
    async with small_house.client.get(
        "/api/v1/server", headers=[("Authorization", f"Bearer {token}")] * 2
    ) as answer:
        assert answer.status == 401
        assert (await answer.json())["field"] == "Authorization"
    for name in ("token", "access_token", "api_key"):
        status, _ = await small_house.ask("GET", f"/server?{name}={token}", None)
        assert status == 401


@pytest.mark.parametrize("path", ["/", "/healthz", "/openapi.json", "/swagger/door.js"])
async def test_pages_without_data_are_open(small_house: House, path: str) -> None:
    """What a browser needs before it can log in, and what a load balancer asks, needs no token."""
    async with small_house.client.get(path) as answer:
        assert answer.status == 200
