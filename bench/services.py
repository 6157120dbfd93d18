"""Redis and PostgreSQL, private to the bench: temporary directories, free ports, ended by pid."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import procs

START_SECONDS = 30.0
SHUTDOWN_SECONDS = 120.0


class Redis:
    """A Redis server that keeps everything in memory: no snapshots, no append-only file."""

    role = "server"

    def __init__(self, binary):
        self.binary = binary
        self.process = None

    def start(self, room):
        self.port = procs.free_port()
        options = {"port": self.port, "bind": "127.0.0.1", "dir": room, "appendonly": "no"}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.process = procs.launch([self.binary, *words, "--save", ""], room)
        wait_for_port(self.port, self.process)
        self.url = f"redis://127.0.0.1:{self.port}"

    def stop(self):
        if self.process:
            procs.end([self.process])


class Postgres:
    """A PostgreSQL cluster with the durability it comes with: fsync, synchronous_commit on."""

    role = "database"

    def __init__(self, bin_dir):
        self.bin_dir = bin_dir
        self.process = None
        self.user = "postgres" if os.geteuid() == 0 else None  # initdb refuses root

    def create(self, room):
        """Make an empty cluster in `room`."""
        self.room = room / "postgres"
        self.room.mkdir()
        if self.user:
            shutil.chown(self.room, self.user, self.user)
        initdb = [
            self.bin_dir / "initdb",
            "-D",
            self.room / "data",
            "-U",
            "postgres",
            "-A",
            "trust",
        ]
        initdb += ["--no-sync", "--encoding=UTF8", "--locale=C"]  # only initdb does not sync
        subprocess.run(
            initdb,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            cwd=self.room,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def start(self):
        """Start the cluster on a free port."""
        self.port = procs.free_port()
        argv = [self.bin_dir / "postgres", "-D", self.room / "data", "-p", self.port]
        argv += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.room}"]
        self.process = procs.launch(argv, self.room, user=self.user)
        ready = [self.bin_dir / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0, self.process)
        self.uri = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def stop(self):
        if self.process:  # "fast", with a checkpoint
            procs.end([self.process], signal.SIGINT, SHUTDOWN_SECONDS)


def wait_for(ready, process):
    """Wait until a service is ready; raise when it has ended instead."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.popen.poll() is not None:
            raise RuntimeError(f"{process.popen.args[0]} ended with {process.popen.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{process.popen.args[0]} did not become ready")
        time.sleep(0.05)


def wait_for_port(port, process):
    """Wait until somebody listens."""

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens, process)


def find_postgres():
    """The newest PostgreSQL of this machine: where its programs are. None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None
