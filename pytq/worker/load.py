"""What this machine is, and how it is doing."""

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytq.schema.views import Load


@dataclass(frozen=True, slots=True)
class Machine:
    """What a worker tells of its machine when it says hello."""

    hostname: str
    boot: str
    cpus: int
    memory: int
    disk: int


def describe(home: Path) -> Machine:
    """Look once, at the start."""
    return Machine(
        hostname=socket.gethostname()[:200] or "unknown",
        boot=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        cpus=len(os.sched_getaffinity(0)),  # those that we may use
        memory=psutil.virtual_memory().total,
        disk=shutil.disk_usage(home).total,
    )


def measure(home: Path) -> Load:
    """Look now; percentages are since the last look. Slow: for a thread."""
    times = psutil.cpu_times_percent(interval=None)
    return Load(
        load=psutil.getloadavg()[0],
        cpu=round(max(0.0, 100.0 - times.idle - getattr(times, "iowait", 0.0)), 1),
        iowait=getattr(times, "iowait", 0.0),
        memory=psutil.virtual_memory().percent,
        swap=psutil.swap_memory().percent,
        disk_free=shutil.disk_usage(home).free,
    )
