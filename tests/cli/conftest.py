"""What the command line's tests share: the program itself, a real server, and a scripted one."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def _environment(server: str | None = None) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTQ_")}
    return clean if server is None else {**clean, "PYTQ_SERVER": server}


@pytest.fixture
def run() -> Run:
    """Run `pytq WORDS…` to its end."""

    def run(
        *words: str | bytes, server: str | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytq.cli.main", *words],
            env=_environment(server),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **more,
        )

    return run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server without workers."""
    place: Path = tmp_path_factory.mktemp("server")
    address = f"127.0.0.1:{free_port()}"
    log = (place / "log").open("wb")
    words = ["server", "--port", address.rpartition(":")[2], "--data-dir", str(place)]
    child = subprocess.Popen(
        [sys.executable, "-m", "pytq.cli.main", *words],
        env=_environment(),
        stdout=log,
        stderr=log,
    )
    try:
        _await_server(address, child, place / "log")
        yield address
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(20)
        log.close()


def _await_server(address: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and child.poll() is None:
        try:
            urllib.request.urlopen(f"http://{address}/healthz", timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())


HANG = "hang"


class Script:
    """A server that answers what it was told to: (status, JSON), HANG, or None to hang up."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any] | str | None] = []
        self.released = threading.Event()
        self.seen: list[dict[str, Any]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                script.seen.append(
                    {
                        "what": f"{self.command} {self.path}",
                        "key": self.headers.get("Idempotency-Key"),
                        "token": self.headers.get("Authorization"),
                        "body": json.loads(body) if body else None,
                    }
                )
                answer = script.answers.pop(0)
                if answer == HANG:
                    script.released.wait(30)
                    return
                if answer is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, content = answer
                data = json.dumps(content).encode()
                self.send_response(int(status))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer  # noqa: N815 - http.server's own names

            def log_message(self, *_args: object) -> None:
                """Be quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def script() -> Iterator[Script]:
    scripted = Script()
    yield scripted
    scripted.close()
