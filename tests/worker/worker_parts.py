"""What the worker's tests are made of: a real keeper, and ways to look at processes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytq.worker

KEEPER = Path(pytq.worker.__file__).parent / "keeper"
PATH = "/usr/local/bin:/usr/bin:/bin"


def wait_for(what: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Poll until something is true; its value."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def alive(marker: str) -> list[int]:
    """Processes whose command line contains a marker, zombies not counted."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def end_keeper(home: Path) -> None:
    """Whatever a test left running goes now."""
    for pid in alive(f"keeper\0{home}"):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(f"keeper\0{home}"))


def keeper_of(home: Path) -> int:
    """The keeper's pid: its parent, the guardian, has the same command line."""
    pair = alive(f"keeper\0{home}")
    (keeper,) = [pid for pid in pair if parent(pid) in pair]
    return keeper


def parent(pid: int) -> int:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[1])


async def leave(task: "asyncio.Task[int]") -> None:
    """As SIGTERM does without --kill: tasks live on."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Keeper:
    """The real keeper, and this test as its agent."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "room").mkdir(exist_ok=True)
        self.guardian = subprocess.Popen([sys.executable, "-I", "-S", str(KEEPER), str(home)])
        self.connect()

    def connect(self) -> None:
        def door() -> socket.socket | None:
            end = socket.socket(socket.AF_UNIX)
            try:
                end.connect(str(self.home / "keeper.sock"))
            except OSError:
                end.close()
                return None
            return end

        self.socket = wait_for(door)
        self.socket.settimeout(10)
        self.lines = self.socket.makefile("rb")
        first = self.hear()
        self.pid, self.holding = first["pid"], {held["id"]: held for held in first["held"]}

    def hear(self) -> dict[str, Any]:
        line = self.lines.readline()
        assert line, "the keeper hung up"
        return json.loads(line)

    def hear_of(self, name: str, kind: str) -> dict[str, Any]:
        while True:
            message = self.hear()
            if message.get("id") == name and message["type"] == kind:
                return message

    def say(self, *messages: dict[str, Any]) -> None:
        self.socket.sendall("".join(json.dumps(m) + "\n" for m in messages).encode())

    def start(self, name: str, *argv: str, **more: Any) -> None:
        task, attempt, _ = name.split(".")
        room = self.home / "room"
        order = {
            "type": "start",
            "id": name,
            "argv": list(argv),
            "cwd": str(room),
            "env": {"PATH": PATH, "PYTQ_TASK": task, "PYTQ_ATTEMPT": attempt},
            "stdout": str(room / f"{name}.out"),
            "stderr": str(room / f"{name}.err"),
            "note": "a room",
        }
        self.say(order | more)

    def out(self, name: str) -> str:
        path = self.home / "room" / f"{name}.out"
        return path.read_text() if path.exists() else ""

    def hang_up(self) -> None:
        self.lines.close()
        self.socket.close()

    def close(self) -> None:
        self.hang_up()
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        self.guardian.wait(10)
