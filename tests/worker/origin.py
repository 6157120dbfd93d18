"""Where inputs come from: a web server that can be made to wait half-way."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator

from aiohttp import web


class Origin:
    """Serves bytes by name; `hold` a name, and it stops in the middle until it is let go."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.half_way: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.broken_off: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.silent: set[str] = set()  # names whose size is not told
        self._gates: dict[str, asyncio.Event] = {}
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{name}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        for gate in self._gates.values():
            gate.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def add(self, name: str, data: bytes, *, held: bool = False) -> str:
        """Offer a file; its URI."""
        self.files[name] = data
        if held:
            self.hold(name)
        return f"{self.url}/{name}"

    def hold(self, name: str) -> None:
        self._gates[name] = asyncio.Event()
        self.half_way[name].clear()

    def let_go(self, name: str) -> None:
        self._gates.pop(name).set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self.files:
            raise web.HTTPNotFound
        self.asked[name] += 1
        data = self.files[name]
        answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        if name in self.silent:
            answer.enable_chunked_encoding()
        else:
            answer.content_length = len(data)
        try:
            await answer.prepare(request)
            await answer.write(data[: len(data) // 2])
            if name in self._gates:
                self.half_way[name].set()
                await self._gates[name].wait()
            await answer.write(data[len(data) // 2 :])
        except (asyncio.CancelledError, ConnectionError):
            self.broken_off[name].set()
            raise
        return answer


@contextlib.asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    """An origin that is up."""
    one = Origin()
    await one.start()
    try:
        yield one
    finally:
        await one.stop()
