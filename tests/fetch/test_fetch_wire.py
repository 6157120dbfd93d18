"""Small requests over connections that stay open: every way in which HTTP/1.1 ends a body."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fetch_parts import QUICK
from servers.s3 import free_port
from servers.threaded import serving
from yarl import URL

from pytq.fetch.bounds import Bounds
from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.web import Web
from pytq.fetch.wire import BODY_BYTES, Reply

OK = b"HTTP/1.1 200 OK\r\n"
GOOD = {
    "length": b"Content-Length: 5\r\n\r\nhello",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n",
    "to the end": b"\r\nhello",
}
BAD = {
    "noise": b"SSH-2.0-server\r\n\r\n",
    "cut": OK + b"Content-Length: 6\r\n\r\nhello",
    "half a head": OK + b"Content-Le",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhello",
    "no number": OK + b"Content-Length: five\r\n\r\nhello",
    "a negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "no header": OK + b"hello\r\n\r\n",
    "too much": OK + b"Content-Length: %d\r\n\r\n%s" % (BODY_BYTES + 1, bytes(BODY_BYTES + 1)),
    "nothing": b"",
}


class Server:
    """Answers every request with the next of `answers`; the last is given for ever."""

    def __init__(
        self, *answers: bytes, keep: bool = True, stray: bytes = b"", later: bool = False
    ) -> None:
        self.answers, self.keep = list(answers), keep
        self.stray, self.later = stray, later
        self.asked: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0] or 0)
            self.asked.append(head + await reader.readexactly(length))
            answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
            if self.later:
                writer.write(answer)
                await asyncio.sleep(0.01)
                answer = b""
            writer.write(answer + self.stray)
            await writer.drain()
            if not self.keep:
                return


@contextmanager
def standing(server: Server) -> Iterator[URL]:
    with serving(server.serve) as port:
        yield URL(f"http://127.0.0.1:{port}/")


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    made = Web(QUICK, Bounds(QUICK))
    yield made
    await made.close()


async def ask(web: Web, url: URL, body: bytes = b"", method: str = "GET") -> Reply:
    origin = web.direct(url, None)
    assert origin is not None
    return await web.ask_small("s3://a/b", origin, method, "/a%20b?c=d", {"Host": "me"}, body)


async def fails(web: Web, url: URL) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await ask(web, url)
    return caught.value


@pytest.mark.parametrize("rest", GOOD.values(), ids=GOOD)
async def test_every_way_to_end_a_body_is_known(web: Web, rest: bytes) -> None:
    """By its length, in chunks, or by hanging up: the body is what was sent."""
    server = Server(OK + b"ETag: x\r\n" + rest, keep=b"\r\n\r\n" in rest)
    with standing(server) as url:
        reply = await ask(web, url)

    assert (reply.status, reply.headers["etag"], reply.body) == (200, "x", b"hello")
    assert server.asked[0].startswith(b"GET /a%20b?c=d HTTP/1.1\r\n")
    assert b"\r\nHost: me\r\n" in server.asked[0]


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
async def test_what_is_no_answer_is_a_broken_connection(web: Web, answer: bytes) -> None:
    """Noise, half an answer and more than a small one are told as what may pass."""
    with standing(Server(answer, keep=False)) as url:
        error = await fails(web, url)

    assert error.kind is FetchFailure.BROKEN
    assert error.transient


async def test_a_connection_is_used_again(web: Web) -> None:
    """A hundred requests, one after the other, take one connection; a body goes whole."""
    body = bytes(range(256)) * 4_000
    server = Server(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n")
    with standing(server) as url:
        replies = [await ask(web, url, body, "PUT") for _ in range(100)]

    assert {reply.status for reply in replies} == {200}
    assert server.connections == 1
    assert all(one.endswith(b"\r\n\r\n" + body) for one in server.asked)


@pytest.mark.parametrize("says", [b"", b"Connection: close\r\n"], ids=["silently", "politely"])
async def test_a_connection_that_was_closed_is_no_failure(web: Web, says: bytes) -> None:
    """A server that hangs up after each answer is asked again over a new connection."""
    server = Server(OK + says + b"Content-Length: 5\r\n\r\nhello", keep=False)
    with standing(server) as url:
        bodies = [(await ask(web, url)).body for _ in range(20)]

    assert bodies == [b"hello"] * 20
    assert server.connections == 20


@pytest.mark.parametrize("later", [False, True], ids=["at once", "a moment later"])
async def test_what_nobody_asked_for_is_no_answer(web: Web, *, later: bool) -> None:
    """More than the answer spoils a connection: the next request never takes it for its own."""
    stray = OK + b"Content-Length: 5\r\n\r\nstray"
    right = OK + b"Content-Length: 5\r\n\r\nhello"
    server = Server(right, stray=stray, later=later)
    with standing(server) as url:
        bodies = []
        for _ in range(5):
            bodies.append((await ask(web, url)).body)
            await asyncio.sleep(0.05)  # the stray answer is here by then, or else it comes too late

    assert bodies == [b"hello"] * 5
    assert server.connections == 5


async def test_a_refusal_is_an_answer(web: Web) -> None:
    """A status that is no success comes with its text."""
    with standing(Server(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nwait")) as url:
        reply = await ask(web, url)

    assert (reply.status, reply.text) == (503, "wait")


async def test_silence_ends_a_request(web: Web) -> None:
    """A server that answers half and then nothing costs the patience for a stall, no more."""
    with standing(Server(OK + b"Content-Length: 6\r\n\r\nhello")) as url:
        error = await fails(web, url)

    assert error.kind is FetchFailure.STALLED


async def test_nobody_there_is_told_at_once(web: Web) -> None:
    """A closed port is told with its number."""
    port = free_port()
    error = await fails(web, URL(f"http://127.0.0.1:{port}/"))

    assert error.kind is FetchFailure.UNREACHABLE
    assert f"127.0.0.1:{port}: Connection refused" in str(error)


async def test_a_line_feed_in_a_header_is_refused(web: Web) -> None:
    """Nothing is smuggled into a request: a token of the environment may hold anything."""
    server = Server(OK + b"Content-Length: 0\r\n\r\n")
    with standing(server) as url:
        origin = web.direct(url, None)
        assert origin is not None
        with pytest.raises(ValueError, match="line feed"):
            await web.ask_small("s3://a/b", origin, "GET", "/", {"A": "b\r\nC: d"})

    assert server.asked == []


async def test_a_proxy_is_not_gone_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment names a proxy, small requests take the long way, too."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "near.example")
    web = Web(QUICK, Bounds(QUICK))

    assert web.direct(URL("http://far.example/"), None) is None
    assert web.direct(URL("http://near.example/"), None) is not None


async def test_small_requests_keep_the_bounds() -> None:
    """No more of them are under way at once than a host may have."""
    options = replace(QUICK, stall=20.0, per_host=3)
    web, most = Web(options, Bounds(options)), Watching()
    with serving(most.serve) as port:
        url = URL(f"http://127.0.0.1:{port}/")
        await asyncio.gather(*(ask(web, url) for _ in range(12)))
        await web.close()

    assert most.most == 3


class Watching:
    """Answers when three have asked, and counts how many ask at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.three = asyncio.Barrier(3)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            self.now += 1
            self.most = max(self.most, self.now)
            await self.three.wait()
            self.now -= 1
            writer.write(OK + b"Content-Length: 0\r\n\r\n")
