"""A private PostgreSQL for the tests: its own cluster on a free port of 127.0.0.1, no fsync."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def programs() -> Path | None:
    """Where initdb and postgres are; None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[-3])
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _as_nobody_special() -> list[str]:
    """PostgreSQL refuses to run as root: Debian's package made a user for it."""
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        if (os.geteuid() == 0)
        else []
    )


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Run a cluster; yields the URI of its server, without a database name."""
    home = programs()
    assert home is not None
    folder = Path(tempfile.mkdtemp(prefix="pytq-pg-"))
    data, port, user = folder / "data", free_port(), _as_nobody_special()
    if user:
        shutil.chown(folder, "postgres", "postgres")
    subprocess.run(
        [
            *user,
            home / "initdb",
            "-D",
            data,
            "-U",
            "pytq",
            "-A",
            "trust",
            "-N",
            "--no-locale",
            "-E",
            "UTF8",
        ],
        check=True,
        capture_output=True,
        cwd="/",
    )
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(
            f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
            "fsync = off\nshared_buffers = 64MB\nmax_connections = 60\n"
        )
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [*user, home / "postgres", "-D", data], stdout=log, stderr=log, cwd="/"
    )
    try:
        _wait(port, server, folder / "log")
        yield f"postgresql://pytq@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # SIGTERM would wait for whoever forgot to say goodbye
        server.wait(30)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    home = programs()
    assert home is not None
    for _ in range(100):
        ready = subprocess.run(
            [home / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "5"],
            capture_output=True,
            check=False,
        )
        if ready.returncode == 0:
            return
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.1)
    raise AssertionError(log.read_text())
