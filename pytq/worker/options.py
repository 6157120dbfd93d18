"""What a worker is told when it starts."""

import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import platformdirs

from pytq.schema import limits

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SHARED: Final = Path("/data")  # where workers have a file system in common, most of the time


class WorkerError(Exception):
    """Why a worker cannot work; the text says what to do about it."""


def default_name() -> str:
    """This machine's name, made to fit."""
    name = re.sub(r"[^A-Za-z0-9_.+@-]", "-", socket.gethostname()).lstrip("_.+@-")
    return name[: limits.NAME_CHARS] or "worker"


def default_work_dir(name: str) -> Path:
    """Where a worker keeps its journal and its rooms."""
    given = os.environ.get("PYTQ_WORK_DIR")
    return Path(given) if given else platformdirs.user_data_path("pytq") / "worker" / name


def default_data_dir() -> Path | None:
    """What containers see as /data, unless something else is given: this machine's own, if any."""
    return SHARED if SHARED.is_dir() else None


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How to run a worker. Concurrency, prefetch and batch: until the server knows better."""

    server: str
    concurrency: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    batch: str = "default"
    name: str = field(default_factory=default_name)
    prefetch: int = 0
    work_dir: Path | None = None
    path: str = DEFAULT_PATH  # PATH of steps that run without a container
    token: str | None = None
    kill_on_exit: bool = False
    file_roots: tuple[Path, ...] = (Path("/"),)  # below these file:// may read and write
    transfers: int = 32  # files under way at once
    transfers_per_host: int = 16  # of them from or to one host
    data_dir: Path | None = field(default_factory=default_data_dir)  # /data of containers
    docker_options: tuple[str, ...] = ()  # guarded ones that tasks may use here all the same
    disk_high: float = 0.9  # of the work directory's disk: beyond, what nobody uses goes

    @property
    def home(self) -> Path:
        """The work directory."""
        return (self.work_dir or default_work_dir(self.name)).absolute()
