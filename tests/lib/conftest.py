"""What the library's tests share: a real server that can be started and stopped."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest


class RealServer:
    """A server on a port and a directory of its own."""

    def __init__(self, place: Path, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._place = place
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        port = self.address.rpartition(":")[2]
        with (self._place / "log").open("ab") as log:
            self._child = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pytq.cli.main", "server"),
                    *("--port", port, "--data-dir", str(self._place)),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._child.poll() is None:
            try:
                urllib.request.urlopen(f"http://{self.address}/healthz", timeout=5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self._place / "log").read_text())

    def stop(self) -> None:
        if self._child is not None:
            self._child.terminate()
            self._child.wait(20)
            self._child = None


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A running server, shared by a file's tests."""
    server = RealServer(tmp_path_factory.mktemp("real"), free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def absent(tmp_path: Path) -> Iterator[RealServer]:
    """A server that has not been started yet."""
    server = RealServer(tmp_path, free_port())
    yield server
    server.stop()
