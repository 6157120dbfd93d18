"""`pytq up` in a terminal: the cockpit, and what is left running when it is quit."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
    pytest.mark.timeout(300),
]
PYTQ = f"{sys.executable} -m pytq.cli.main"
WAIT_SECONDS = 90.0  # `pytq up` itself gives a server a minute to come up, and one to stop


class Terminal:
    """A terminal of our own, in which a command runs."""

    def __init__(self, folder: Path, command: str) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTQ_", "TMUX"))}
        size = ["-x", "100", "-y", "30"]
        subprocess.run(
            [*self._tmux, "new-session", "-d", *size, f"{command}; echo CODE $?; exec cat"],
            env=environment,
            check=True,
        )

    def text(self) -> str:
        shown = subprocess.run(
            [*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True
        )
        return shown.stdout

    def until(self, shown: str) -> str:
        deadline = time.monotonic() + WAIT_SECONDS
        while not re.search(shown, text := self.text()):
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        return text

    def press(self, key: str) -> None:
        subprocess.run([*self._tmux, "send-keys", key], check=True)

    @property
    def process(self) -> psutil.Process:
        """The command's own process."""
        shown = subprocess.run(
            [*self._tmux, "display", "-p", "#{pane_pid}"],
            capture_output=True,
            text=True,
            check=True,
        )
        [child] = psutil.Process(int(shown.stdout)).children()
        return child

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


def _serving(place: Path) -> list[psutil.Process]:
    """Servers, workers and holders that know of `place`."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if words and "tmux" not in words[0] and any(str(place) in word for word in words):
            found.append(process)
    return found


def _await_end(place: Path) -> None:
    """Wait until nothing knows of `place` any more; the terminal's shell may be the last."""
    deadline = time.monotonic() + WAIT_SECONDS
    while left := _serving(place):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


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
    _await_end(place)


def test_quitting_may_stop_everything(up: Terminal, place: Path) -> None:
    """Whoever quits and says so ends server, worker and all."""
    up.press("q")
    up.until("stop the server")
    up.press("s")

    assert "CODE 0" in up.until("CODE")
    assert "stopped" in up.text()
    _await_end(place)


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
    _await_end(place)
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

    _await_end(place)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_cockpit_that_is_ended_takes_all_along(
    up: Terminal, place: Path, ending: signal.Signals
) -> None:
    """Closed terminals, signals and even kill -9 leave neither server nor worker behind."""
    up.process.send_signal(ending)

    _await_end(place)


def test_a_server_that_dies_is_told(up: Terminal, place: Path) -> None:
    """When the server under the cockpit ends, `pytq up` ends too and says where to look."""
    [server] = [one for one in _serving(place) if "server" in one.cmdline()[3:4]]

    server.kill()

    assert "CODE 1" in up.until("CODE")
    assert "logs are in" in up.text()


def test_what_cannot_start_is_told(tmp_path: Path, place: Path, server: str) -> None:
    """A port that is taken is told in words, in a terminal too."""
    taken = server.rpartition(":")[2]
    terminal = Terminal(tmp_path, f"{PYTQ} up --port {taken} --data-dir {place}")
    try:
        text = terminal.until("CODE 1")
    finally:
        terminal.close()

    assert f"port {taken}" in text
    assert "Traceback" not in text
