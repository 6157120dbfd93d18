"""What this machine is, and how it is doing."""

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from pytq.schema.views import Disk, Load

# What else may fill up. No shared folder: one that hangs must not take the heartbeat along.
_FULL_SOMETIMES: Final = (Path("/"), Path("/var/lib/docker"))
_INTERFACES: Final = Path("/sys/class/net")


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
    """Look now; percentages and rates are since the last look. Slow: for a thread."""
    times = psutil.cpu_times_percent(interval=None)
    counted = count()
    before, _last[:] = _last[-1], [counted]
    return Load(
        load=psutil.getloadavg()[0],
        cpu=round(max(0.0, 100.0 - times.idle - getattr(times, "iowait", 0.0)), 1),
        iowait=getattr(times, "iowait", 0.0),
        memory=psutil.virtual_memory().percent,
        swap=psutil.swap_memory().percent,
        disk_free=shutil.disk_usage(home).free,
        disks=list(disks(home)),
        **rates(before, counted),
    )


class Counted(NamedTuple):
    """Bytes moved until a moment, in monotonic seconds."""

    at: float
    received: int
    sent: int
    read: int
    written: int


def count() -> Counted:
    """Look at the machine's counters: of interfaces that are devices, and of whole disks."""
    nets = psutil.net_io_counters(pernic=True)
    # What goes over bridges, bonds and their like goes over a device too, or over none.
    real = [net for name, net in nets.items() if (_INTERFACES / name / "device").exists()]
    disk = psutil.disk_io_counters()
    return Counted(
        at=time.monotonic(),
        received=sum(net.bytes_recv for net in real),
        sent=sum(net.bytes_sent for net in real),
        read=disk.read_bytes if disk else 0,
        written=disk.write_bytes if disk else 0,
    )


def rates(before: Counted, now: Counted) -> dict[str, int]:
    """Bytes a second between two looks; nothing where a counter began anew."""
    seconds = now.at - before.at
    if seconds <= 0:
        return {}
    pairs = zip(Counted._fields[1:], before[1:], now[1:], strict=True)
    return {name: max(0, round((new - old) / seconds)) for name, old, new in pairs}


_last: Final = [count()]  # as psutil keeps its own last look at the processor


def disks(home: Path) -> Iterator[Disk]:
    """The file systems that a worker can fill, each once, the one it works on first."""
    seen: set[int] = set()
    for path in (home, *_FULL_SOMETIMES):
        with suppress(OSError, ValueError):
            device = path.stat().st_dev
            if device not in seen:
                seen.add(device)
                usage = shutil.disk_usage(path)
                yield Disk(path=str(_mount(path)), free=usage.free, total=usage.total)


def _mount(path: Path) -> Path:
    """Where the file system of a path begins."""
    path = path.resolve()
    while not path.is_mount() and path != path.parent:
        path = path.parent
    return path
