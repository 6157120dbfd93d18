"""Whatever is wrong with a request, the answer is a 4xx that names the field."""

import asyncio
import io
import json
import re
from typing import Any

import pytest
from api_client import Client, problem
from fake_queue import FakeQueue

from pytq.schema import limits
from pytq.schema.problems import Problem

JSON = {"Content-Type": "application/json"}
TASKS = "/api/v1/tasks"


async def refused(client: Client, body: Any) -> Problem:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await problem(client, "POST", TASKS, data=io.BytesIO(raw), headers=JSON)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"command": "a\0b"}, "command"),
        ({"command": ["a", "b\0"]}, "command.1"),
        ({"command": "x", "name": "a\0"}, "name"),
        ({"command": "x", "batch": "a\0"}, "batch"),
        ({"command": "x", "env": {"A": "\0"}}, "env.A"),
        ({"command": "x" * (limits.COMMAND_BYTES + 1)}, "command"),
        ({"command": ""}, "command"),
        ({"command": []}, "command"),
        ({"command": 7}, "command"),
        ({"command": {"a": 1}}, "command"),
        ({"command": "x", "name": "n" * 10_000}, "name"),
        ({"command": "x", "name": "evil\u202egpj.exe"}, "name"),
        ({"command": "x", "name": "zero\u200bwidth"}, "name"),
        ({"command": "x", "name": "\x1b]0;title\x07"}, "name"),
        ({"command": "x", "name": "two\nlines"}, "name"),
        ({"command": "x", "batch": "[@click=app.quit]"}, "batch"),
        ({"command": "x", "batch": "<script>alert(1)</script>"}, "batch"),
        ({"command": "x", "env": {"1=2": "x"}}, "env.1=2"),
        ({"command": "x", "tags": {"a": ""}}, "tags.a"),
        ({"command": "x", "container": "alpine --privileged"}, "container"),
        ({"command": "x", "container": "-v/:/host"}, "container"),
        ({"command": "x", "container": "alpine;id"}, "container"),
        ({"command": "x", "dokcer": "ubuntu"}, "dokcer"),
        ({"command": "x", "requirements": [1, "2"]}, "requirements.1"),
        ({"command": "x", "inputs": ["s3://b/k", 5]}, "inputs.1"),
        ({"command": "x", "timeouts": {"run": -1}}, "timeouts.run"),
        ({"command": "x", "request": {"cpu": 1}}, "request.cpu"),
        ({"steps": [{"command": "x", "stdin": "a"}]}, "steps.0.stdin"),
        ({"steps": [{}]}, "steps.0.command"),
        ([{"command": "x"}, {"command": "x", "inputs": [1]}], "1.inputs.0"),
        ([{"command": "x"}, {}], "1"),
        ([{"command": "x"}, 5], "1"),
        ([], None),
        ({}, None),
        ("text", None),
        (None, None),
    ],
)
async def test_bad_strings_are_refused_by_name(
    client: Client, body: Any, field: str | None
) -> None:
    """A string that would hurt the database, a terminal or a shell never gets past the door."""
    shown = await refused(client, body)

    assert (shown.status, shown.code, shown.field) == (422, "invalid", field)
    assert shown.errors[0].field == (field or "")
    assert not {"Input", "Value error", "constrained", "function-"} & {shown.message.split(" ")[0]}


@pytest.mark.parametrize(
    "value", [2**70, -1, "3", True, None, 1.5, 1e300, [], {}, limits.RETRIES + 1]
)
async def test_bad_numbers_are_refused_by_name(client: Client, value: Any) -> None:
    """Only an integer within its bounds is an integer."""
    shown = await refused(client, {"command": "x", "retries": value})

    assert (shown.status, shown.field) == (422, "retries")


@pytest.mark.parametrize("number", [b"5.0", b"5e0", b"5"])
async def test_whole_numbers_are_integers(client: Client, queue: FakeQueue, number: bytes) -> None:
    """A client whose language knows only floats can send integers."""
    raw = b'{"command":"x","retries":' + number + b"}"
    async with client.post(TASKS, data=raw, headers=JSON) as response:
        assert response.status == 201

    assert repr(queue.tasks[1].retries) == "5"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[",
        b"{'command': 1}",
        b'{"command": NaN}',
        b'{"command": "x", "timeouts": {"run": Infinity}}',
        b'{"command": "\\ud800"}',
        b'{"command": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"command": "x"}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"command": "x"} trailing',
        b"9" * 100_000,
    ],
)
async def test_what_is_not_json_is_malformed(client: Client, raw: bytes) -> None:
    """Broken JSON, broken text and endless nesting are the sender's mistake, not the server's."""
    shown = await refused(client, raw)

    assert (shown.status, shown.code) in {(400, "malformed"), (422, "invalid")}
    assert shown.status == 400 or raw[:1] in b"[9"


async def test_too_large_numbers_are_refused(client: Client) -> None:
    """1e400, which many readers take for infinity, is no duration."""
    shown = await refused(client, b'{"command":"x","timeouts":{"run":1e400}}')

    assert shown.status in {400, 422}


async def test_the_last_of_two_equal_keys_counts(client: Client, queue: FakeQueue) -> None:
    """What is checked of a doubled key is what is kept of it."""
    raw = b'{"command": "\\u0000", "command": "good"}'
    async with client.post(TASKS, data=raw, headers=JSON) as response:
        assert response.status in {201, 422}

    assert [task.spec.steps[0].command for task in queue.tasks.values()] in ([], ["good"])


@pytest.mark.parametrize(
    ("sent", "cure"),
    [
        ("comand", "did you mean `command`?"),
        ("docker", "did you mean `container`?"),
        ("dokcer", "did you mean `container`?"),
        ("depends_on", "did you mean `requirements`?"),
    ],
)
async def test_a_misspelt_field_is_guessed(client: Client, sent: str, cure: str) -> None:
    """Whoever misspells a field, or knows it by another queue's word, is told ours."""
    shown = await refused(client, {"command": "x", sent: "y"})

    assert (shown.cure, shown.message) == (cure, f"there is no field `{sent}`")


async def test_a_misspelt_field_deep_inside_is_guessed(client: Client) -> None:
    """The guess is among the fields of the very object that was misspelt."""
    shown = await refused(client, [{"steps": [{"command": "x", "ignore_err": True}]}])

    assert (shown.field, shown.cure) == (
        "0.steps.0.ignore_err",
        "did you mean `ignore_error`?",
    )


async def test_up_to_twenty_errors_are_told(client: Client) -> None:
    """Several mistakes are told at once, in the order of the tasks, but not thousands."""
    shown = await refused(client, [{"command": "x"}, *[{"command": 1}] * 500])

    assert [f"{number}.command" for number in range(1, 21)] == [each.field for each in shown.errors]
    assert shown.message == "`1.command` should be a list or a string"


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b"{}," * 1_000_000 + b"{}]",
        b'[{"command":[' + b"1," * 900_000 + b"1]}]",
        b'{"command":[' + b"1," * 90_000 + b"1]}",
        b'[{"command":"x","env":{' + b'"":1,' * 900_000 + b'"":1}}]',
        b'{"command":[' + b"1," * 1_500_000 + b"1]}",
        b'{"command":"x","env":{' + b'"":1,' * 99_000 + b'"":1}}',
        b"[" + b",".join([b'{"command":"x"}'] * (limits.TASKS_PER_REQUEST + 1)) + b"]",
    ],
)
async def test_a_body_made_of_mistakes_is_cheap(client: Client, raw: bytes) -> None:
    """Megabytes of mistakes cost a refusal, not minutes or gigabytes."""
    async with asyncio.timeout(10):
        shown = await refused(client, raw)

    assert shown.status in {413, 422}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "nonsense"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 201),
        ({"Content-Type": "Application/JSON"}, 201),
        (JSON | {"Content-Encoding": "identity"}, 201),
    ],
)
async def test_only_json_is_read(client: Client, headers: dict[str, str], status: int) -> None:
    """A form on another site cannot submit: its media types are refused."""
    async with client.post(
        TASKS, data=b'{"command":"x"}', headers=headers, skip_auto_headers=["Content-Type"]
    ) as response:
        assert status == response.status


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x"])
async def test_packed_bodies_are_refused(client: Client, encoding: str) -> None:
    """A small body cannot unpack into a large one."""
    headers = JSON | {"Content-Encoding": encoding, "Content-Length": "4"}
    async with client.post(TASKS, data=b"{}{}", headers=headers) as response:
        assert response.status in {400, 415}


async def test_a_body_beyond_the_limit_is_refused_unread(client: Client) -> None:
    """A declared length beyond the limit is refused before the body has come."""
    answer = await raw_exchange(
        client,
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {limits.BODY_BYTES + 1}\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer


async def test_an_endless_body_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunked body is counted while it comes."""
    monkeypatch.setattr(limits, "BODY_BYTES", 1_000)

    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 100

    async with client.post(TASKS, data=endless(), headers=JSON) as response:
        assert response.status == 413


@pytest.mark.parametrize(
    "head",
    [
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /api/v1/tasks HTTP/1.1\r\nHost: a\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        "GET /api/v1/tasks?batch=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/v1/tasks?batch=%ED%A0%80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/v1/batches/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/v1/batches/%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/v1/batches/a%2f..%2fb HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /api/v1/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET http://evil.example/api/v1/tasks HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: \xff\r\n\r\n",
        "GET /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\n\r\n",
        "GET /api/v1/tasks/1 HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\n\r\n",
    ],
)
async def test_broken_http_is_the_senders_mistake(client: Client, head: str) -> None:
    """Bytes that no well-meaning client sends are answered with 4xx."""
    answer = await raw_exchange(client, head)

    assert re.match(rb"HTTP/1\.[01] 4", answer), answer
    assert not answer.startswith(b"HTTP/1.1 401 ")


async def raw_exchange(client: Client, head: str) -> bytes:
    line, _, headers = head.partition("\r\n")
    head = f"{line}\r\nAuthorization: {client.session.headers['Authorization']}\r\n{headers}"
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(head.encode("latin-1"))
    await writer.drain()
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    answer += await asyncio.wait_for(reader.read(10_000), 5)
    writer.close()
    return answer
