"""Many workers in one process: they say hello and report, and run nothing."""

import asyncio
import contextlib
import time
from types import TracebackType
from typing import Any, Self

import aiohttp
from sites import Site

from pytq import credentials
from pytq.schema import address, frames


class Swarm:
    """Workers that come back whenever their connection breaks."""

    def __init__(self, site: Site, count: int) -> None:
        self._site = site
        self._welcomed = [asyncio.Event() for _ in range(count)]
        self._sockets: dict[int, aiohttp.ClientWebSocketResponse] = {}
        self._answered: dict[tuple[int, int], asyncio.Future[float]] = {}
        self._lives: list[asyncio.Task[None]] = []
        self._seq = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        self._lives = [asyncio.create_task(self._live(n)) for n in range(len(self._welcomed))]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await self._session.close()

    async def all_welcome(self, seconds: float = 60.0) -> None:
        """Wait until the server has welcomed every one."""
        async with asyncio.timeout(seconds):
            for event in self._welcomed:
                await event.wait()

    async def beat(self, rounds: int) -> list[float]:
        """Report from everybody so many times; the seconds until each was answered."""
        took: list[float] = []
        for _ in range(rounds):
            took += await asyncio.gather(*(self._beat(n) for n in range(len(self._welcomed))))
        return took

    async def _beat(self, number: int) -> float:
        self._seq += 1
        seq = self._seq
        answered = self._answered[number, seq] = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        report = {"type": "report", "seq": seq, "capacity": 1, "applied": 1}
        await self._sockets[number].send_json(report)
        async with asyncio.timeout(30):
            return await answered - began

    async def _live(self, number: int) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await self._talk(number)
            self._welcomed[number].clear()
            await asyncio.sleep(0.05)

    async def _talk(self, number: int) -> None:
        token = credentials.token_for(address.parse(self._site.address), credentials.WORKER)
        url = f"ws://{self._site.address}/api/v1/link"
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.ws_connect(url, headers=headers) as socket:
            await socket.send_json(_hello(number))
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                self._hear(number, socket, frames.from_server.validate_json(message.data))

    def _hear(self, number: int, socket: aiohttp.ClientWebSocketResponse, frame: Any) -> None:
        if isinstance(frame, frames.Welcome):
            self._sockets[number] = socket
            self._welcomed[number].set()
        elif isinstance(frame, frames.Orders) and frame.answers is not None:
            answered = self._answered.pop((number, frame.answers), None)
            if answered is not None:
                answered.set_result(time.monotonic())


def _hello(number: int) -> dict[str, Any]:
    who = {"name": f"s{number}", "identity": f"i{number}", "incarnation": f"n{number}"}
    what = {"cpus": 1, "memory": 2**30, "disk": 2**30, "concurrency": 1, "prefetch": 0}
    where = {"boot": "b", "hostname": "h", "batch": "default", "version": "test"}
    return {"type": "hello", "protocol": frames.PROTOCOL, **who, **what, **where}
