"""Real servers and workers as subprocesses, each on a free port, stopped by pid."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import postgres

from pytq import credentials
from pytq.schema import address

PYTQ = [sys.executable, "-m", "pytq.cli.main"]


class System:
    """A server, and the workers that were started beside it."""

    def __init__(self, folder: Path, database_uri: str | None) -> None:
        self.folder = folder
        self.port = postgres.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PYTQ_")}
        self.env["PYTQ_SERVER"] = self.address
        if database_uri is not None:
            self.env["SQLALCHEMY_DATABASE_URI"] = database_uri
        self.server: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def headers(self) -> dict[str, str]:
        """What lets in who runs the tests; another after each start of the server."""
        token = credentials.token_for(address.parse(self.address))
        return {"Authorization": f"Bearer {token}"}

    def start_server(self, *options: object) -> None:
        command = [*PYTQ, "server", "--port", str(self.port), "--data-dir", self.folder / "data"]
        self.server = self._start([*command, *options], "server")
        self._wait_until_healthy()

    def start_worker(
        self,
        concurrency: int = 4,
        name: str = "w",
        *options: object,
        work_dir: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        command = [*PYTQ, "worker", self.address, str(concurrency), "--name", name, "--kill"]
        command += ["--work-dir", work_dir or self.folder / name]
        worker = self._start([*command, *options], name)
        self.workers.append(worker)
        return worker

    def kill_server(self) -> None:
        """As a power cut would: no goodbye."""
        assert self.server is not None
        self.server.kill()
        self.server.wait(10)

    def run(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*PYTQ, *words], env=self.env, capture_output=True, timeout=timeout, check=False
        )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in (*self.workers, self.server):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (*self.workers, self.server):
            if process is not None:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)

    def _start(self, command: list[object], name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [str(word) for word in command], env=self.env, stdout=log, stderr=log
            )

    def _wait_until_healthy(self) -> None:
        for _ in range(1200):
            assert self.server is not None
            assert self.server.poll() is None, self.log("server")
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://{self.address}/healthz", timeout=2)
                return
            time.sleep(0.05)
        raise AssertionError(self.log("server"))


@contextlib.contextmanager
def running(folder: Path, database_uri: str | None = None) -> Iterator[System]:
    """A system with its server up."""
    system = System(folder, database_uri)
    try:
        system.start_server()
        yield system
    finally:
        system.stop()
