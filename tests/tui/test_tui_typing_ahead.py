"""Keys that come faster than the screen: each does what it says, where its forerunners led."""

import os
import pty
from collections.abc import Callable

from cockpits import Looking, looking
from fake_server import FakeServer
from textual.events import Key, Paste

from pytq.tui.app import PytqApp
from pytq.tui.driver import LastingFile
from pytq.tui.screens.asking import Ask
from pytq.tui.screens.listpage import ListPage
from pytq.tui.widgets.filterbar import FilterBar


def burst(app: PytqApp, *keys: str) -> None:
    """Keys as a terminal brings them in one piece: the application has had no moment for any."""
    for key in keys:
        app.post_message(Key(key, key if len(key) == 1 else None))


def filtered(person: Looking, words: str) -> Callable[[], bool]:
    """Whether a table has the keys, and is filtered by these words."""

    def holds() -> bool:
        screen = person.screen
        return (
            isinstance(screen, ListPage)
            and screen.query_one(FilterBar).text == words
            and screen.table.has_focus
        )

    return holds


async def test_a_filter_typed_ahead_is_a_filter(server: FakeServer) -> None:
    """Letters right behind the slash are words to look for: none of them moves or ends a worker."""
    async with looking(server) as person:
        burst(person.app, "3", "slash", *"drpill", "enter")
        await person.until(filtered(person, "drpill"))
        assert not server.made("update_worker")


async def test_an_answer_typed_ahead_reaches_its_question(server: FakeServer) -> None:
    """A filter, a key and the answer to what that key asks, all in one piece: the worker moves."""
    async with looking(server) as person:
        burst(person.app, "3", "slash", *"vm-07", "enter", "b", "ctrl+u", *"night", "enter")
        assert await person.done() == "vm-07: batch night"
        assert not isinstance(person.screen, Ask)


async def test_a_paste_typed_ahead_reaches_its_place(server: FakeServer) -> None:
    """What is pasted right behind a key goes where that key leads."""
    async with looking(server) as person:
        burst(person.app, "3", "slash")
        person.app.post_message(Paste("vm-07"))
        burst(person.app, "enter")
        await person.until(filtered(person, "vm-07"))


async def test_answers_one_after_the_other(server: FakeServer) -> None:
    """Two questions and their answers in one piece: both are answered, neither key is held up."""
    async with looking(server) as person:
        burst(person.app, "3", "slash", *"vm-07", "enter")
        burst(person.app, "b", "ctrl+u", *"one", "enter", "b", "ctrl+u", *"two", "enter")
        await person.until(lambda: len(server.made("update_worker")) > 0)
        await person.until(lambda: server.made("update_worker")[-1][1].batch == "two")
        assert not isinstance(person.screen, Ask)


def test_a_terminal_that_is_gone_takes_what_is_written() -> None:
    """Writing to a closed terminal neither fails nor waits, or the cockpit could never end."""
    theirs, ours = pty.openpty()
    with os.fdopen(ours, "w") as terminal:
        lasting = LastingFile(terminal)
        assert lasting.write("hello\n") == len("hello\n")
        lasting.flush()
        os.close(theirs)
        for _ in range(100):
            assert lasting.write("x" * 10_000) == 10_000
            lasting.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)  # closing writes what is still held back
        os.dup2(nowhere, terminal.fileno())
        os.close(nowhere)
