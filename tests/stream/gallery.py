"""A server of one queue's event stream, and those who look at it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer
from rig import Rig

from pytq.client import Client
from pytq.schema.stream import Changes, Snapshot, Watched
from pytq.server.api import middlewares
from pytq.server.stream import PATH, Streams
from pytq.transport import Stream

SECONDS = 20.0


class Looker:
    """Somebody who looks, and puts together what they were told."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.frames: list[Snapshot | Changes] = []
        self.batches: dict[str, Any] = {}
        self.workers: dict[str, Any] = {}
        self.jobs: dict[int, Any] = {}
        self.events: dict[int, Any] = {}
        self.history: dict[int, Any] = {}
        self.watched: dict[int, Watched] = {}
        self._frames = stream.__aiter__()

    @property
    def snapshot(self) -> Snapshot:
        first = self.frames[0]
        assert isinstance(first, Snapshot)
        return first

    async def look(self) -> Snapshot | Changes:
        """The next frame, put to what was known."""
        async with asyncio.timeout(SECONDS):
            frame = await anext(self._frames)
        self.frames.append(frame)
        self.batches |= {batch.name: batch for batch in frame.batches}
        self.workers |= {worker.name: worker for worker in frame.workers}
        self.jobs |= {job.id: job for job in frame.jobs}
        self.events |= {event.id: event for event in frame.events}
        self.history |= {point.at: point for point in frame.history}
        if isinstance(frame, Changes):
            for name in frame.gone_batches:
                del self.batches[name]
            for name in frame.gone_workers:
                del self.workers[name]
            for job in frame.gone_jobs:
                del self.jobs[job]
            self.watched |= {one.id: one for one in frame.watched}
        return frame

    async def until(self, seen: Callable[[], Any]) -> None:
        """Look until something is seen."""
        async with asyncio.timeout(SECONDS):
            while not seen():
                await self.look()


class Gallery:
    """The server's side."""

    server: TestServer

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.streams = Streams(rig.dispatcher, rig.queue.recruiter.jobs, rig.queue.describe)
        self.app = web.Application(middlewares=middlewares(keyring=None))
        self.app.router.add_get(PATH, self.streams.serve)
        self.app.on_shutdown.append(lambda _: self.streams.close())
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.client = await self._open.enter_async_context(
            Client(f"127.0.0.1:{self.server.port}", token="", patience=0)
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._open.aclose()

    async def nobody_looks(self) -> None:
        """Wait until the last viewer's connection has been seen to end."""
        for _ in range(int(SECONDS / 0.02)):
            if not self.streams._viewers:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("somebody still looks")

    @asynccontextmanager
    async def looker(self) -> AsyncIterator[Looker]:
        """Somebody who has seen the snapshot."""
        async with self.client.stream() as stream:
            looker = Looker(stream)
            await looker.look()
            yield looker
