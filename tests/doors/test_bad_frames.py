"""Whatever a worker says that makes no sense changes nothing, and hurts nobody else."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType
from door_parts import House, opened

from pytq.schema import limits

HELLO: dict[str, Any] = {
    "type": "hello",
    "protocol": 1,
    "version": "test",
    "name": "w1",
    "identity": "id-1",
    "incarnation": "one",
    "boot": "boot",
    "hostname": "host",
    "batch": "default",
    "concurrency": 2,
    "prefetch": 0,
    "cpus": 4,
    "memory": 10**9,
    "disk": 10**9,
}
REPORT: dict[str, Any] = {"type": "report", "seq": 1, "capacity": 1, "applied": 1}
MINE = {"task": 1, "attempt": 1}
HUGE = 2**70


@pytest.fixture
async def house(tmp_path: Any, database_uri: str) -> AsyncIterator[House]:
    async with opened(tmp_path, database_uri) as one:
        yield one


class Worker:
    """A worker that is played by the test, and says what no worker would."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, frame: Any) -> None:
        if isinstance(frame, bytes):
            await self.socket.send_bytes(frame)
        else:
            await self.socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def hears(self) -> list[dict[str, Any]]:
        """All that is said until the connection ends."""
        said = []
        while (message := await self.socket.receive(10)).type is WSMsgType.TEXT:
            said.append(json.loads(message.data))
        return [*said, {"type": "closed"}]

    async def hears_of(self, what: str) -> Any:
        """The first thing of a kind that is said."""
        async with asyncio.timeout(10):
            while True:
                frame = json.loads(await self.socket.receive_str())
                if frame.get(what) not in (None, []):
                    return frame[what]

    async def is_heard(self, seq: int) -> None:
        """Wait until a report was taken in."""
        while await self.hears_of("answers") < seq:
            pass


async def connect(house: House, token: str, hello: Any = HELLO) -> Worker:
    headers = {"Authorization": f"Bearer {token}"}
    worker = Worker(await house.client.ws_connect("/api/v1/link", headers=headers))
    await worker.say(hello)
    return worker


async def leased(house: House, token: str) -> Worker:
    """A worker that holds task 1."""
    worker = await connect(house, token)
    await worker.say(REPORT)
    await house.submit()
    await worker.hears_of("leases")
    return worker


async def unharmed(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """The server answers, and has made no mistake."""
    assert (await house.ask("GET", "/server"))[0] == 200
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert [record for record in caplog.records if record.exc_info] == []


BAD_HELLOS: list[Any] = [
    "",
    "{",
    "null",
    "[]",
    "7",
    b"\x00\xff",
    "[" * 50_000,
    REPORT,
    {"type": "welcome"},
    {**HELLO, "protocol": 99},
    {**HELLO, "protocol": -1},
    {**HELLO, "protocol": HUGE},
    {**HELLO, "protocol": "1"},
    {**HELLO, "name": "-x"},
    {**HELLO, "name": "x" * 300},
    {**HELLO, "name": "w\u0456"},
    {**HELLO, "name": "a\nb"},
    {**HELLO, "name": ""},
    {**HELLO, "identity": "\x00"},
    {**HELLO, "hostname": "\x1b]0;x\x07"},
    {**HELLO, "batch": "../x"},
    {**HELLO, "concurrency": -1},
    {**HELLO, "concurrency": 10_000},
    {**HELLO, "concurrency": True},
    {**HELLO, "prefetch": 10**9},
    {**HELLO, "memory": HUGE},
    {**HELLO, "cpus": 1.5},
    {**HELLO, "held": [{"task": 0, "attempt": 1, "phase": "running"}]},
    {**HELLO, "held": [{"task": 1, "attempt": -1, "phase": "running"}]},
    {**HELLO, "held": [{"task": 1, "attempt": 1, "phase": "banana"}]},
    {**HELLO, "extra": 1},
    {name: value for name, value in HELLO.items() if name != "boot"},
]


async def test_a_senseless_hello_is_turned_away(
    small_house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Who does not introduce themselves properly hears why, and never becomes a worker."""
    token = await small_house.token("w", "worker")
    for hello in BAD_HELLOS:
        said = await (await connect(small_house, token, hello)).hears()

        assert [each["type"] for each in said] == ["turned", "closed"], hello
        assert said[0]["message"]
    assert (await small_house.ask("GET", "/workers"))[1] == []
    await unharmed(small_house, caplog)


async def test_silence_is_no_hello(
    small_house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who connects and says nothing is turned away."""
    monkeypatch.setattr("pytq.server.link._HELLO_SECONDS", 0.1)
    headers = {"Authorization": f"Bearer {await small_house.token('w', 'worker')}"}
    worker = Worker(await small_house.client.ws_connect("/api/v1/link", headers=headers))

    assert [each["type"] for each in await worker.hears()] == ["turned", "closed"]
    await unharmed(small_house, caplog)


ENDED = {**MINE, "outcome": "succeeded", "ended": 0.0}


BAD_REPORTS: list[Any] = [
    "{",
    "null",
    b"\x00",
    HELLO,
    {"type": "orders"},
    {**REPORT, "seq": -1},
    {**REPORT, "seq": HUGE},
    {**REPORT, "capacity": HUGE},
    {**REPORT, "capacity": "1"},
    {**REPORT, "extra": 1},
    {**REPORT, "progress": [{**MINE, "phase": "banana"}]},
    {**REPORT, "progress": [{**MINE, "phase": "running", "ago": -1.0}]},
    {**REPORT, "progress": [{**MINE, "phase": "running", "ago": 1e300}]},
    {**REPORT, "progress": [{"task": 0, "attempt": 1, "phase": "running"}]},
    {**REPORT, "progress": [{"task": HUGE, "attempt": 1, "phase": "running"}]},
    {**REPORT, "ended": [{**ENDED, "outcome": "banana"}]},
    {**REPORT, "ended": [{**ENDED, "attempt": 0}]},
    {**REPORT, "ended": [{**ENDED, "attempt": -1}]},
    {**REPORT, "ended": [{**ENDED, "exit_code": HUGE}]},
    {**REPORT, "ended": [{**ENDED, "memory": HUGE}]},
    {**REPORT, "ended": [{**ENDED, "cpu_seconds": -1.0}]},
    {**REPORT, "ended": [{**ENDED, "ended": 1e300}]},
    {**REPORT, "ended": [{**ENDED, "running": 1e18}]},
    {**REPORT, "ended": [{**ENDED, "stdout_bytes": HUGE}]},
    {**REPORT, "ended": [{**ENDED, "detail": "a\x00b"}]},
    {**REPORT, "ended": [{**ENDED, "detail": "x" * 10_000}]},
    {**REPORT, "chunks": [{**MINE, "stream": "stdin", "offset": 0, "data": ""}]},
    {**REPORT, "chunks": [{**MINE, "stream": "stdout", "offset": -1, "data": ""}]},
    {**REPORT, "chunks": [{**MINE, "stream": "stdout", "offset": HUGE, "data": ""}]},
    {**REPORT, "chunks": [{**MINE, "stream": "stdout", "offset": 0, "data": "a" * 10**6}]},
    {**REPORT, "load": {"cpu": "hot"}},
    {**REPORT, "resources": [{"kind": "resource", "uri": "a\nb", "bytes": 1}]},
    '{"type":"report","seq":1,"capacity":1,"applied":1,"load":{"cpu":NaN}}',
    '{"type":"report","seq":1,"capacity":1,"applied":1,"ended":' + "[" * 5_000,
]


async def test_a_senseless_report_changes_nothing(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Who says nonsense is hung up on; what they held waits for their return, unharmed."""
    token = await house.token("w", "worker")
    await (await leased(house, token)).socket.close()
    for frame in BAD_REPORTS:
        worker = await connect(house, token)
        await worker.say(REPORT)
        await worker.hears_of("leases")  # the same one again

        await worker.say(frame)

        assert (await worker.hears())[-1] == {"type": "closed"}, frame
        _, view = await house.ask("GET", "/executions/1.1")
        assert (view["phase"], view["outcome"]) == ("assigned", None), frame
    await unharmed(house, caplog)


@pytest.mark.parametrize(
    "refs",
    [{"task": 1, "attempt": 2}, {"task": 2, "attempt": 1}, {"task": limits.ID_MAX, "attempt": 7}],
)
@pytest.mark.parametrize("outcome", ["succeeded", "lost"])
async def test_who_speaks_for_what_they_do_not_hold_is_fenced(
    house: House, caplog: pytest.LogCaptureFixture, refs: dict[str, int], outcome: str
) -> None:
    """Another attempt, another worker's task, no task at all: fenced, and nothing changed."""
    token = await house.token("w", "worker")
    worker = await leased(house, token)
    await house.submit()  # waits: the worker takes one
    chunk = {**refs, "stream": "stdout", "offset": 0, "data": "b3VjaA=="}
    await worker.say(
        {
            **REPORT,
            "seq": 2,
            "ended": [{**refs, "outcome": outcome}],
            "progress": [{**refs, "phase": "running"}],
            "chunks": [chunk],
        }
    )

    assert await worker.hears_of("fenced") == [list(refs.values())]
    _, tasks = await house.ask("GET", "/tasks?oldest_first=true")
    assert [task["status"] for task in tasks["items"]] == ["active", "pending"]
    status, _ = await house.ask("GET", f"/executions/{refs['task']}.{refs['attempt']}")
    assert status == 404
    await unharmed(house, caplog)


async def test_a_worker_cannot_speak_for_another(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Worker B says that worker A's execution has ended: fenced. A's own word counts."""
    token = await house.token("w", "worker")
    anna = await leased(house, token)
    bert = await connect(house, token, {**HELLO, "name": "w2", "identity": "id-2"})
    await bert.say({**REPORT, "ended": [ENDED]})

    assert await bert.hears_of("fenced") == [[1, 1]]
    assert (await house.ask("GET", "/tasks/1"))[1]["status"] == "active"
    await anna.say({**REPORT, "seq": 2, "ended": [{**ENDED, "outcome": "failed"}]})
    assert await anna.hears_of("settled") == [[1, 1]]
    assert (await house.ask("GET", "/tasks/1"))[1]["status"] == "failed"
    await unharmed(house, caplog)


async def test_a_worker_cannot_take_anothers_name(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """B says hello as A, who holds something: turned away, and A goes on."""
    token = await house.token("w", "worker")
    await leased(house, token)
    impostor = await connect(house, token, {**HELLO, "identity": "id-2", "hostname": "else"})

    [turned, closed] = await impostor.hears()

    assert (turned["type"], turned["final"], closed["type"]) == ("turned", True, "closed")
    assert "still holds 1 execution" in turned["message"]
    assert (await house.ask("GET", "/workers"))[1][0]["hostname"] == "host"
    await unharmed(house, caplog)


@pytest.mark.parametrize("phase", ["assigned", "downloading"])
async def test_phases_only_go_forward(
    house: House, caplog: pytest.LogCaptureFixture, phase: str
) -> None:
    """A report that comes late does not take an execution back."""
    worker = await leased(house, await house.token("w", "worker"))
    await worker.say({**REPORT, "seq": 2, "progress": [{**MINE, "phase": "running"}]})
    await worker.say({**REPORT, "seq": 3, "progress": [{**MINE, "phase": phase}]})
    await worker.is_heard(3)

    assert (await house.ask("GET", "/executions/1.1"))[1]["phase"] == "running"
    await unharmed(house, caplog)


@pytest.mark.parametrize("data", ["!!", "\u00e9", "abc", "a=bc", "\x00"])
async def test_a_broken_stretch_is_a_gap(
    house: House, caplog: pytest.LogCaptureFixture, data: str
) -> None:
    """What cannot be decoded is missing, and takes nothing else with it."""
    worker = await leased(house, await house.token("w", "worker"))
    chunks = [(0, data), (10, "aGVsbG8=")]
    said = [{**MINE, "stream": "stdout", "offset": at, "data": part} for at, part in chunks]
    await worker.say({**REPORT, "seq": 2, "chunks": said})
    await worker.is_heard(2)

    assert (await house.ask("GET", "/executions/1.1/stdout?offset=0"))[1] == b"hello"
    assert house.headers["X-PYTQ-Offset"] == "10"
    await unharmed(house, caplog)


async def test_output_may_overlap_and_have_holes(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Stretches that overlap, repeat or leave a hole never make more output than there is."""
    worker = await leased(house, await house.token("w", "worker"))
    for seq, (offset, data) in enumerate(
        [(0, "aGVsbG8="), (2, "bGxv"), (0, "aGVsbG8="), (9, "IQ==")], 2
    ):
        chunk = {**MINE, "stream": "stdout", "offset": offset, "data": data}
        await worker.say({**REPORT, "seq": seq, "chunks": [chunk]})
    await worker.is_heard(5)

    status, body = await house.ask("GET", "/executions/1.1/stdout?offset=0")
    assert (status, body, house.headers["X-PYTQ-Size"]) == (200, b"hello", "10")
    status, body = await house.ask("GET", "/executions/1.1/stdout?offset=500")
    assert (status, body) == (200, b"")
    await unharmed(house, caplog)
