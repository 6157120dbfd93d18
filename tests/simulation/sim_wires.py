"""A bad network: connections that are slow, fall silent one way or both, break, or are late.

An `End` looks to the link's code, worker's and server's, like aiohttp's WebSocket.
"""

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any, Final

from aiohttp import WSMsgType
from sim_timeline import NodeLoop, Timeline

PING_SECONDS: Final = 5.0  # between two looks at who hears whom
SILENCE_SECONDS: Final = 15.0  # without a pong, and an end hangs up: aiohttp's heartbeat of 10 s
BUFFERED: Final = 8  # frames that fit into the buffers of a path that is blocked


class Path:
    """The way between one worker's machine and the server."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.least, self.most = 0.0005, 0.002  # seconds
        self.blocked = {"up": False, "down": False}  # to the server, to the worker
        self.ends: set[End] = set()

    def delay(self) -> float:
        """How long the next frame takes."""
        return self.timeline.between(self.least, self.most)

    def block(self, *directions: str) -> None:
        """Let nothing pass any more; nobody is told."""
        for direction in directions:
            self.blocked[direction] = True

    def unblock(self) -> None:
        """Let everything pass again, what was kept back first."""
        self.blocked = {"up": False, "down": False}
        for end in sorted(self.ends, key=lambda end: end.number):
            end.flow()

    def cut(self) -> None:
        """Reset every connection: what is on its way may or may not arrive."""
        for end in sorted(self.ends, key=lambda end: end.number):
            end.abort()


def connect(path: Path, worker: NodeLoop, server: NodeLoop) -> "tuple[End, End]":
    """A connection: the worker's end and the server's."""
    one, other = End(path, worker, "up"), End(path, server, "down")
    one.peer, other.peer = other, one
    for end in (one, other):
        path.ends.add(end)
        end.watch()
    return one, other


class End:
    """One end of a connection; what it sends goes in one direction of its path."""

    count = 0

    def __init__(self, path: Path, loop: NodeLoop, direction: str) -> None:
        End.count += 1
        self.number = End.count
        self.path, self.loop, self.direction = path, loop, direction
        self.timeline = path.timeline
        self.peer: End
        self.closed = False
        self._heard = self.timeline.now
        self._arrives = self.timeline.now  # of the frame before: frames keep their order
        self._kept: deque[str] = deque()  # sent, while the path was blocked
        self._came: deque[str | None] = deque()  # None: the connection has ended
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    # --- what aiohttp offers

    async def send_str(self, text: str) -> None:
        """Send a frame; ConnectionResetError when the connection is over."""
        if self.closed:
            raise ConnectionResetError("cannot write to a closing connection")
        if self.path.blocked[self.direction]:
            self._kept.append(text)
            if len(self._kept) > BUFFERED:
                self._room = self.loop.create_future()
                await self._room
                if self.closed:
                    raise ConnectionResetError("the connection broke")
        else:
            self._deliver_later(text)

    async def receive_str(self) -> str:
        """The next frame; TypeError when there will be none, as with aiohttp."""
        message = await self._next()
        if message is None:
            raise TypeError("received a close instead of text")
        return message

    def __aiter__(self) -> "End":
        return self

    async def __anext__(self) -> Any:
        message = await self._next()
        if message is None:
            raise StopAsyncIteration
        return SimpleNamespace(type=WSMsgType.TEXT, data=message)

    async def close(self, **_: Any) -> None:
        """Hang up: what was sent before still arrives."""
        if not self.closed:
            self._end()
            if not self.path.blocked[self.direction]:
                self._deliver_later(None)

    # --- what the network does

    def abort(self) -> None:
        """The connection broke here; the other end notices, if the path lets it."""
        if not self.closed:
            self._end()
            if not self.path.blocked[self.direction]:
                self._deliver_later(None)

    def flow(self) -> None:
        """The path is free: send what was kept back."""
        if self.path.blocked[self.direction]:
            return
        while self._kept:
            self._deliver_later(self._kept.popleft())
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def watch(self) -> None:
        """Ping the other end now and then; hang up when there is no pong for long."""
        if self.closed or self.loop.dead:
            self.abort()
            return
        if not self.loop.frozen:
            blocked = any(self.path.blocked.values())
            if not (blocked or self.peer.loop.frozen or self.peer.closed):
                self._heard = self.timeline.now
            elif self.timeline.now - self._heard > SILENCE_SECONDS:
                self.abort()
                return
        self.timeline.after(PING_SECONDS * self.timeline.between(0.8, 1.2), self.watch)

    def _deliver_later(self, text: str | None) -> None:
        self._arrives = max(self._arrives, self.timeline.now + self.path.delay())
        self.timeline.at(self._arrives, self.peer._arrive, text)

    def _arrive(self, text: str | None) -> None:
        if self.closed or self.loop.dead:
            return
        self._heard = self.timeline.now
        self._came.append(text)
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def _next(self) -> str | None:
        while not self._came:
            self._reader = self.loop.create_future()
            await self._reader
        message = self._came[0]
        if message is None:
            self.closed = True
            self.path.ends.discard(self)
        else:
            self._came.popleft()
        return message

    def _end(self) -> None:
        """Nothing can be sent any more; what has come may still be read, but for a reset."""
        self.closed = True
        self.path.ends.discard(self)
        if not self.timeline.chance(0.5):
            self._came.clear()
        self._came.append(None)
        self._wake()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
