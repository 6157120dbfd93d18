"""Driving the application without a terminal: press keys, wait for what they bring."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fake_server import FakeServer
from textual.message import Message
from textual.pilot import Pilot
from textual.screen import Screen

from pytq.client import Client
from pytq.tui.app import PytqApp
from pytq.tui.messages import Done, Refused
from pytq.tui.screens.tasks import TasksPage

T = TypeVar("T", bound=Message)


class Looking:
    """Somebody in front of the application."""

    def __init__(self, app: PytqApp, pilot: Pilot[Any], messages: list[Message]) -> None:
        self.app = app
        self.pilot = pilot
        self.messages = messages

    @property
    def screen(self) -> Screen[Any]:
        return self.app.screen

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()

    async def types(self, text: str) -> None:
        await self.press(*("space" if char == " " else char for char in text))

    async def until(self, holds: Callable[[], object], what: str = "") -> None:
        """Wait until something holds, or fail with what is on the screen."""
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, f"{what}\n{self.text}"
            await self.pilot.pause(0.01)

    async def sees(self, *texts: str) -> None:
        """Wait until these are on the screen."""
        for text in texts:
            await self.until(lambda text=text: text in self.text, f"{text!r} is not to be seen in:")

    async def unsees(self, text: str) -> None:
        await self.until(lambda: text not in self.text, f"{text!r} is still to be seen in:")

    async def hears(self, kind: type[T], amount: int = 1) -> T:
        """Wait for a message of a kind."""
        await self.until(lambda: len(self.heard(kind)) >= amount, f"no {kind.__name__}")
        return self.heard(kind)[amount - 1]

    def heard(self, kind: type[T]) -> list[T]:
        found: dict[int, T] = {id(m): m for m in self.messages if isinstance(m, kind)}
        return list(found.values())

    async def done(self, amount: int = 1) -> str:
        """Wait until the server has done what it was asked; what it said."""
        await self.until(lambda: self.heard(Done) or self.heard(Refused), "no answer")
        assert not self.heard(Refused), self.heard(Refused)[0].sentence
        return (await self.hears(Done, amount)).sentence

    @property
    def text(self) -> str:
        """The screen as a person reads it."""
        width, height = self.app.size
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text[:width] for strip in lines[:height])


@asynccontextmanager
async def looking(
    server: FakeServer | str,
    size: tuple[int, int] = (150, 44),
    *,
    now: Callable[[], float] = time.monotonic,
    live: bool = True,
    **more: Any,
) -> AsyncIterator[Looking]:
    """The application, in front of a server."""
    address = server if isinstance(server, str) else f"127.0.0.1:{server.http.port}"  # type: ignore[union-attr]
    messages: list[Message] = []
    async with Client(address, token="", patience=0) as client:
        app = PytqApp(client, now=now, **more)
        run = app.run_test(size=size, notifications=True, message_hook=messages.append)
        async with run as pilot:
            person = Looking(app, pilot, messages)
            if live:
                await person.until(lambda: app.store.link.state == "live", "never live")
                await pilot.pause()
            yield person
            app.workers.cancel_all()
            await asyncio.sleep(0)


async def among(person: Looking) -> TasksPage:
    """Somebody who has gone to the tasks."""
    await person.press("4")
    await person.sees("NAME AND COMMAND", "merge 400")
    assert isinstance(person.screen, TasksPage)
    return person.screen
