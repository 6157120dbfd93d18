"""A PostgreSQL of a test's own, to be stopped and started while it is used."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import postgres
from sites import Site

_HOLDER: Final = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Cluster:
    """One PostgreSQL server, ruled by pg_ctl."""

    def __init__(self, folder: Path) -> None:
        """`folder` is empty, and may be a disk of its own."""
        home = postgres.programs()
        assert home is not None
        self._home = home
        self._folder = folder
        self._user = postgres._as_nobody_special()
        if self._user:
            shutil.chown(self._folder, "postgres", "postgres")
        self.port = postgres.free_port()
        self.uri = f"postgresql://pytq@127.0.0.1:{self.port}/postgres"
        options = ["-U", "pytq", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"]
        self._run("initdb", "-D", str(self._data), *options)
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\n"
                "unix_socket_directories = ''\nshared_buffers = 64MB\nmax_connections = 40\n"
                "wal_writer_delay = 10s\n"  # so that who commits is who syncs
            )

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        self._control("start", "-l", str(self._folder / "log"))

    def stop(self, mode: str) -> None:
        self._control("stop", "-m", mode)

    def restart(self, mode: str) -> None:
        """Stop as `pg_ctl -m MODE` does, and start again."""
        self.stop(mode)
        self.start()

    async def ask(self, query: str) -> list[asyncpg.Record]:
        """Run a query as somebody else."""
        connection = await asyncpg.connect(self.uri)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    def dispose(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop", check=False)

    def _control(self, verb: str, *options: str) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", verb, *options)

    def _run(self, program: str, *words: str, check: bool = True) -> None:
        command = [*self._user, str(self._home / program), *words]
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=check, stdout=quiet, stderr=quiet, cwd="/", timeout=90)


@contextmanager
def folder() -> Iterator[Path]:
    """Where PostgreSQL's own user can get at."""
    place = Path(tempfile.mkdtemp(prefix="pytq-pg-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def cluster(place: Path) -> Iterator[Cluster]:
    """One that runs for as long as the block lasts."""
    one = Cluster(place)
    try:
        one.start()
        yield one
    finally:
        one.dispose()


def syncing(site: Site, uri: str | None) -> int:
    """The process that syncs what a server writes: itself, or PostgreSQL's for its writer."""
    if uri is None:
        assert site.server is not None
        return site.server.pid
    return asyncio.run(_holder(uri))


async def _holder(uri: str) -> int:
    connection = await asyncpg.connect(uri)
    try:
        return int(await connection.fetchval(_HOLDER))
    finally:
        await connection.close()
