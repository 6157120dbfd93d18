"""A terminal of a test's own, in tmux: a command runs, keys are pressed, the screen is read."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PYTQ = f"{sys.executable} -m pytq.cli.main"
WAIT_SECONDS = 90.0  # `pytq up` itself gives a server a minute to come up, and one to stop
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """A terminal in which a command runs; when that has ended, `CODE n` stands below it."""

    def __init__(self, folder: Path, command: str, size: tuple[int, int] = (100, 30)) -> None:
        self._tmux = ["tmux", "-f", os.devnull, "-S", str(folder / "tmux")]
        # COLUMNS and LINES would be believed rather than the terminal.
        ours = ("PYTQ_", "TMUX", "COLUMNS", "LINES")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        subprocess.run(
            [
                *(*self._tmux, "new-session", "-d", "-x", str(size[0]), "-y", str(size[1])),
                f"{command}; echo CODE $?; exec cat",
            ],
            env=environment,
            check=True,
        )

    def text(self) -> str:
        return self._told("capture-pane", "-p")

    def until(self, shown: str) -> re.Match[str]:
        """Wait until the screen shows something: a regular expression."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := re.search(shown, text := self.text())):
            assert time.monotonic() < deadline, f"{shown!r} is not to be seen in:\n{text}"
            time.sleep(0.05)
        return found

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._told("send-keys", *keys)

    def types(self, text: str) -> None:
        """Type text as it is."""
        self._told("send-keys", "-l", text)

    @property
    def process(self) -> psutil.Process:
        """The command's own process."""
        shell = psutil.Process(int(self._told("display", "-p", "#{pane_pid}")))
        [child] = shell.children()
        return child

    def _told(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True)
        return done.stdout

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


def users_of(place: Path) -> list[psutil.Process]:
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


def await_end(place: Path) -> None:
    """Wait until nothing knows of `place` any more; the terminal's shell may be the last."""
    deadline = time.monotonic() + WAIT_SECONDS
    while left := users_of(place):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
