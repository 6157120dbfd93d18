"""The machine a table was made on."""

import datetime as dt
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil


def describe(settings):
    """Facts by name, in the order to show them."""
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "disk of the temporary directory": _file_system(tempfile.gettempdir()),
        "an append and its fsync there": f"{_fsync_seconds() * 1e3:.2f} ms (median of 200)",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PYTQ": _output(
            [
                "git",
                "--no-optional-locks",
                "-C",
                Path(__file__).parent,
                "describe",
                "--always",
                "--dirty",
            ]
        ),
        "peers": ", ".join((Path(__file__).parent / "requirements.txt").read_text().split()),
        "Redis": _output([settings.redis, "--version"]) if settings.redis else "not used",
        "PostgreSQL": _postgres(settings),
        "load at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(path):
    inside = [part for part in psutil.disk_partitions(all=True) if path.startswith(part.mountpoint)]
    best = max(inside, key=lambda part: len(part.mountpoint), default=None)
    return f"{best.fstype} ({best.device})" if best else "unknown"


def _fsync_seconds():
    """What durability costs on this disk: the floor of every commit."""
    times = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(200):
            begin = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begin)
    return median(times)


def _postgres(settings):
    if settings.postgres is None:
        return "not used"
    return _output([settings.postgres / "postgres", "--version"])


def _output(argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
