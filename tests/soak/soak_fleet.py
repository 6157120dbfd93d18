"""The programs under test, each a process of its own: a server, its database, four workers.

What ends by itself is started again, as systemd would, and counted.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import postgres
import psutil
import soak_net

from pytq.client import Client
from pytq.schema.access import Role, TokenOrder

PYTQ: Final = [sys.executable, "-m", "pytq.cli.main"]
PORT: Final = 5000
SERVER: Final = f"127.0.0.1:{PORT}"
LEASE_SECONDS: Final = 30
RESTART_SECONDS: Final = 1.0
START_SECONDS: Final = 60.0
SERVER_DISK, WORKER_DISK = "1g", "192m"


class Keeper:
    """Starts one program, and starts it again when it ends without having been told to."""

    def __init__(self, name: str, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.name, self.command, self.env = name, command, env
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        self.surprises: Counter[str] = Counter()  # ends that nobody asked for

    def start(self) -> None:
        """Start it, unless it runs."""
        self.wanted = True
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )

    def end(self, number: int, seconds: float = 60.0) -> int:
        """End it for good, or until it is started; its exit code."""
        self.wanted = False
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def signal(self, number: int) -> None:
        """Send a signal, and leave it to its fate."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def look_after(self) -> None:
        """Start it again, if it ended by itself."""
        if self.wanted and self.process is not None and self.process.poll() is not None:
            self.surprises[f"{self.name} ended with {self.process.returncode}"] += 1
            self.start()


class Worker(Keeper):
    """A worker behind a cable of its own, with a small disk of its own."""

    def __init__(self, number: int, folder: Path, env: dict[str, str], batch: str) -> None:
        self.cable = soak_net.Cable(number)
        self.home = folder / f"w{number}"
        self.home.mkdir()
        mount(self.home, WORKER_DISK)
        words = ["worker", f"{self.cable.server}:{PORT}", "24", "--name", f"w{number}"]
        words += ["--batch", batch, "--work-dir", str(self.home), "--prefetch", "4"]
        super().__init__(f"w{number}", [*self.cable.enter, *PYTQ, *words], folder, env)

    def keepers(self) -> list[psutil.Process]:
        """The processes that hold this worker's tasks: guardians before the keepers they guard."""
        return [one for one in processes() if _is_keeper(one, str(self.home))]

    def everything(self) -> list[psutil.Process]:
        """The agent, its keeper and all that runs below them."""
        roots = self.keepers()
        if self.process is not None and self.process.poll() is None:
            roots.append(psutil.Process(self.process.pid))
        found = {root.pid: root for root in roots}
        for root in roots:
            with contextlib.suppress(psutil.Error):
                found |= {one.pid: one for one in root.children(recursive=True)}
        return list(found.values())


class Fleet:
    """Everything that runs."""

    def __init__(self, folder: Path, database: str | None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        mount(self.data, SERVER_DISK)
        self.token = secrets.token_hex(24)
        (folder / "token").write_text(self.token)
        (folder / "token").chmod(0o600)
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTQ_")}
        env |= {"PYTQ_LEASE_SECONDS": str(LEASE_SECONDS), "PYTQ_REQUESTS_PER_SECOND": "10000"}
        env["XDG_DATA_HOME"] = str(folder / "home")
        hosts = [f"10.9.{number}.1" for number in range(1, 5)]
        env["PYTQ_ALLOWED_HOSTS"] = ",".join(hosts)
        if database is not None:
            env["SQLALCHEMY_DATABASE_URI"] = database
        words = ["server", "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 - in a namespace
        words += ["--data-dir", str(self.data), "--admin-token-file", str(folder / "token")]
        self.env = env
        self.server = Keeper("server", [*PYTQ, *words], folder, env)
        self.workers: list[Worker] = []
        self._over = False

    def client(self, patience: float = 0.0, server: str = SERVER) -> Client:
        """A client with all rights."""
        return Client(server, token=self.token, patience=patience)

    async def begin(self) -> None:
        """Start the server, then the workers."""
        self.server.start()
        async with self.client(START_SECONDS) as client:
            await client.get_server()
            made = await client.create_token(TokenOrder(name="soak", role=Role.WORKER))
        env = {**self.env, "PYTQ_TOKEN": made.token}
        for number in range(1, 5):
            worker = Worker(number, self.folder, env, "odd" if number % 2 else "even")
            self.workers.append(worker)
            worker.start()

    async def look_after(self) -> None:
        """Start again what ended by itself, for ever."""
        while True:
            await asyncio.sleep(RESTART_SECONDS)
            for one in (self.server, *self.workers):
                one.look_after()

    @property
    def surprises(self) -> Counter[str]:
        """Programs that ended though nobody had asked them to."""
        return sum((one.surprises for one in (self.server, *self.workers)), Counter())

    def dispose(self) -> None:
        """End whatever still runs."""
        for one in (*self.workers, self.server):
            one.wanted = False
            one.signal(signal.SIGKILL)
        for worker in self.workers:
            for process in worker.everything():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            worker.cable.close()
            subprocess.run(["umount", "--lazy", worker.home], check=False)
        subprocess.run(["umount", "--lazy", self.data], check=False)


class Postgres:
    """A PostgreSQL of the soak's own, that can be stopped in all the ways there are."""

    def __init__(self, folder: Path) -> None:
        home = postgres.programs()
        assert home is not None, "PostgreSQL is not installed: apt-get install postgresql"
        self.home, self.place, self.port = home, folder / "pg", 5432
        self.place.mkdir()
        shutil.chown(self.place, "postgres", "postgres")
        self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self.uri = f"postgresql://pytq@127.0.0.1:{self.port}/postgres"
        words = ["-D", self.place / "data", "-U", "pytq", "-A", "trust", "--no-locale", "-N"]
        self._run("initdb", *words, "-E", "UTF8")
        with (self.place / "data/postgresql.conf").open("a") as conf:
            conf.write("listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\n")
            conf.write("max_connections = 60\n")

    def start(self) -> None:
        """Start it; returns when it answers."""
        self._run("pg_ctl", "-D", self.place / "data", "-l", self.place / "log", "-w", "start")

    def stop(self, mode: str) -> None:
        """End it: "fast", or "immediate" as a crash would."""
        self._run("pg_ctl", "-D", self.place / "data", "-m", mode, "-w", "stop")

    def terminate_backends(self, which: str = "") -> None:
        """Cut the connections of its clients."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pytq'"
        words = ["-h", "127.0.0.1", "-U", "pytq", "-d", "postgres", "-c"]
        self._run("psql", *words, f"{query} AND pid <> pg_backend_pid() {which}")

    def _run(self, program: str, *words: object) -> None:
        subprocess.run(
            [*self.user, str(self.home / program), *map(str, words)],
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def mount(place: Path, size: str) -> None:
    """Put a small disk there."""
    words = ["-t", "tmpfs", "-o", f"size={size},mode=755", "soak", str(place)]
    subprocess.run(["mount", *words], check=True)


def fill(place: Path) -> Path:
    """Take all room that a disk has left; the file that takes it."""
    ballast = place / "ballast-of-the-soak"
    piece = bytes(1 << 20)
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(piece)
    return ballast


def processes() -> Iterator[psutil.Process]:
    """Every process here."""
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if one.status() != psutil.STATUS_ZOMBIE:
                yield one


def wait_until_gone(found: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that are still there after so long."""
    until = time.monotonic() + seconds
    while (left := [one for one in found if one.is_running()]) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def _is_keeper(process: psutil.Process, home: str) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return words[-1:] == [home] and words[-2].endswith("keeper")
