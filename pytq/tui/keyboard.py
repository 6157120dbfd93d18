"""Keys one at a time: what is typed ahead meets the page that the keys before it have led to."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from textual.app import App
from textual.dom import DOMNode
from textual.events import Event
from textual.message_pump import MessagePump

_ROUNDS: Final = 2  # a key, and the message it became: Enter is "submitted", which moves the focus
_LOOK_SECONDS: Final = 0.05  # a dialog that was answered may go without another word
_PATIENCE_SECONDS: Final = 1.0  # a page that is busy for longer does not lock the keyboard


class Keyboard:
    """Hands an application its keys, each when all that came of the one before it is done.

    Textual hands out keys as they come. While it is busy, a burst such as `/drill` goes to the
    table as a whole: the filter opens, and "d" ends a worker.
    """

    def __init__(self, app: App[object], hand_out: Callable[[Event], Awaitable[None]]) -> None:
        self._app = app
        self._hand_out = hand_out
        self._ahead: deque[Event] = deque()
        self._next: Event | None = None  # it is back in the application's queue: its turn now
        self._settling: asyncio.Task[None] | None = None

    async def typed(self, event: Event) -> None:
        """Hand out a key or a paste, or keep it until its turn comes."""
        busy = self._settling is not None or self._next is not None
        if busy and event is not self._next:
            self._ahead.append(event)
            return
        self._next = None
        app = self._app
        way = [node for node in (app.focused or app.screen).ancestors_with_self if node is not app]
        await self._hand_out(event)
        self._settling = asyncio.create_task(self._settle(way))

    async def _settle(self, way: list[DOMNode]) -> None:
        """Wait until a key has gone its way, from what had the focus up to the application."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                for _ in range(_ROUNDS):
                    for node in (*way, self._app):
                        await _caught_up(node)
                while self._app.is_running and not self._app.screen.stack_updates:
                    await _caught_up(self._app.screen)  # a page that opens has no focus yet
        except TimeoutError:
            pass
        self._settling = None
        if self._ahead:
            self._next = self._ahead.popleft()
            self._app.post_message(self._next)


async def _caught_up(node: MessagePump) -> None:
    """Wait until a node has handled all the messages that it has now, or is no more."""
    handled = asyncio.Event()
    if not node.call_later(handled.set):
        return
    while not handled.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(handled.wait(), _LOOK_SECONDS)
        if not node.is_running:
            return
