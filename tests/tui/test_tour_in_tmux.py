"""The tour: a day with `pytq up` in a real terminal, from the first task to the last key."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import PYTQ, Terminal, await_end, needs_tmux

from pytq.lib import Server

pytestmark = [needs_tmux, pytest.mark.timeout(400)]
TASKS = 500
SECOND = 20  # of them in a batch that has no worker yet


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def screen(tmp_path: Path, address: str) -> Iterator[Terminal]:
    """A terminal in which `pytq up` shows the cockpit; nothing of it is left afterwards."""
    place, port = tmp_path / "d", address.rpartition(":")[2]
    command = f"{PYTQ} up --port {port} --concurrency 2 --data-dir {place}"
    terminal = Terminal(tmp_path, command, (120, 36))
    try:
        terminal.until("Overview.*● live")
        yield terminal
    finally:
        terminal.close()
        await_end(place)


def mixed() -> Iterator[dict[str, object]]:
    """Quick tasks, slow ones, failing ones of two kinds, and some for which nobody is there."""
    for number in range(TASKS - SECOND):
        sample = f"sample-{number}"
        if number == 7:
            yield {"name": "needle", "command": "cat haystack.txt", "priority": 9}
        elif number % 50 == 0:
            yield {"name": sample, "command": f"echo {sample}: no reads >&2; exit 3"}
        elif number % 3 == 0:
            yield {"name": sample, "command": f"echo {sample}; sleep 1"}
        else:
            yield {"name": sample, "command": f"echo {sample}"}
    for number in range(SECOND):
        yield {"name": f"later-{number}", "command": "echo late", "batch": "second"}


def row(screen: Terminal, name: str, shows: str) -> re.Match[str]:
    """Wait until the row of a table that begins with a name shows something."""
    return screen.until(rf"(?m)^[ ▌◆]*{name} .*{shows}")


def test_the_tour(screen: Terminal, address: str, tmp_path: Path) -> None:
    """Launch, tune, find what failed, mend it, recruit, move, drain, quit: all from the keys."""
    with Server(address) as server:
        [*_, last] = server.task_create_many(mixed())
        assert last.id == TASKS

    _raise_concurrency(screen)
    _find_read_and_mend(screen)
    _recruit_move_and_drain(screen)

    screen.press("q")
    screen.until("stop the server")
    screen.press("s")
    screen.until("CODE 0")
    await_end(tmp_path / "d")


def _look_for(screen: Terminal, words: str) -> None:
    """Filter a table, and go back to it."""
    screen.press("/")
    screen.until("esc clear")
    screen.types(words)
    screen.until(f"/ {words}")
    screen.press("Enter")
    screen.until("⏎ open")


def _raise_concurrency(screen: Terminal) -> None:
    screen.press("3")
    row(screen, r"\S+", r"● online +default +2 +2 ")
    screen.press(*["+"] * 6)
    row(screen, r"\S+", r"● online +default +8 +8 ")
    screen.until("✓✓✓ effective")


def _find_read_and_mend(screen: Terminal) -> None:
    screen.press("4")
    _look_for(screen, "status:failed needle")
    row(screen, "8", "✗ failed +needle")
    screen.press("Enter")
    screen.until("task 8 · needle · ✗ failed")
    screen.until("stderr: 1 line")
    screen.until("│ cat: haystack.txt: No such file or directory")

    screen.press("e")
    screen.until("Change task 8")
    screen.press("C-k")  # away with the line
    screen.types("echo found the needle")
    screen.until("echo found the needle")
    screen.press("C-r")
    screen.until("task 8 · needle · ✓ succeeded")
    screen.until("2 executions")
    screen.until("│ found the needle +│")


def _recruit_move_and_drain(screen: Terminal) -> None:
    screen.press("2")
    row(screen, "second", "none!")
    _look_for(screen, "second")
    screen.press("r")
    screen.until("1 worker into second")
    screen.press("C-r")
    screen.until("succeeded.*recruit 1")

    screen.press("3")
    _look_for(screen, "local")
    row(screen, r"local-\S+", "● online +second")
    screen.press("b")
    screen.until("Move worker local-.* to which batch")
    screen.press("C-u")
    screen.types("default")
    screen.press("Enter")
    row(screen, r"local-\S+", "● online +default")
    screen.until("✓✓✓ effective")
    screen.press("D")
    row(screen, r"local-\S+", "▽ draining +default")
