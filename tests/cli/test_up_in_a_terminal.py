"""`pytq up` in a terminal: the cockpit, and what is left running when it is quit."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminal import PYTQ, Terminal, await_end, needs_tmux, users_of

pytestmark = [needs_tmux, pytest.mark.timeout(300)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "d"


@pytest.fixture
def up(tmp_path: Path, place: Path, port: int, run: Any) -> Iterator[Terminal]:
    """A terminal in which `pytq up` shows the cockpit."""
    command = f"{PYTQ} up --port {port} --concurrency 2 --data-dir {place}"
    terminal = Terminal(tmp_path, command)
    terminal.until("Overview")
    yield terminal
    terminal.close()
    run("down", "--data-dir", str(place))
    await_end(place)


def test_quitting_may_stop_everything(up: Terminal, place: Path) -> None:
    """Whoever quits and says so ends server, worker and all."""
    up.press("q")
    up.until("stop the server")
    up.press("s")

    up.until("CODE 0")
    assert "stopped" in up.text()
    await_end(place)


def test_quitting_may_leave_it_running(up: Terminal, place: Path, port: int, run: Any) -> None:
    """What is left goes on without a terminal, can be come back to, and `pytq down` stops it."""
    server = f"127.0.0.1:{port}"
    up.press("q")
    up.until("leave them running")
    up.press("l")
    up.until("CODE 0")

    assert "pytq down" in up.text()
    up.close()
    assert run("launch", "-w", "echo", "still here", server=server).stdout == "still here\n"
    again = run("up", "--data-dir", str(place))
    assert again.returncode == 1
    assert f"up already, at {server}" in again.stderr
    down = run("down", "--data-dir", str(place))
    assert down.returncode == 0
    await_end(place)
    assert run("down", "--data-dir", str(place)).returncode == 1


def test_what_was_left_can_be_come_back_to(
    up: Terminal, tmp_path: Path, place: Path, port: int
) -> None:
    """`pytq up` over what was left running shows that, and can stop it."""
    up.press("q")
    up.until("leave them running")
    up.press("l")
    up.until("CODE 0")
    (again := tmp_path / "again").mkdir()
    second = Terminal(again, f"{PYTQ} up --data-dir {place}")
    try:
        second.until(f"Overview.*:{port}")
        second.press("q")
        second.until("stop the server")
        second.press("s")
        second.until("CODE 0")
    finally:
        second.close()

    await_end(place)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_cockpit_that_is_ended_takes_all_along(
    up: Terminal, place: Path, ending: signal.Signals
) -> None:
    """Closed terminals, signals and even kill -9 leave neither server nor worker behind."""
    up.process.send_signal(ending)

    await_end(place)


def test_a_server_that_dies_is_told(up: Terminal, place: Path) -> None:
    """When the server under the cockpit ends, `pytq up` ends too and says where to look."""
    [server] = [one for one in users_of(place) if "server" in one.cmdline()[3:4]]

    server.kill()

    up.until("CODE 1")
    assert "logs are in" in up.text()


def test_what_cannot_start_is_told(tmp_path: Path, place: Path, server: str) -> None:
    """A port that is taken is told in words, in a terminal too."""
    taken = server.rpartition(":")[2]
    terminal = Terminal(tmp_path, f"{PYTQ} up --port {taken} --data-dir {place}")
    try:
        terminal.until("CODE 1")
        text = terminal.text()
    finally:
        terminal.close()

    assert f"port {taken}" in text
    assert "Traceback" not in text
