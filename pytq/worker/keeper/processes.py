"""The processes of this machine, as /proc shows them."""

# pathlib would double what this process costs to start and to keep.
# ruff: noqa: PTH110, PTH123, PTH208

import contextlib
import ctypes
import os

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


def become_subreaper() -> None:
    """Inherit orphans. Where the kernel knows no subreapers, daemons of tasks escape."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


CHILDREN = "/proc/thread-self/children"
SEES_CHILDREN = os.path.exists(CHILDREN)


def children() -> set[int]:
    """The pids of this thread's children, zombies included."""
    try:
        fd = os.open(CHILDREN, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        me = os.getpid()
        return {pid for pid, (parent, _, _) in processes().items() if parent == me}
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    finally:
        os.close(fd)
    return set(map(int, b"".join(parts).split()))


def place_of(pid: int) -> tuple[int, int, int]:
    """The parent, process group and session of a process."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    return int(fields[1]), int(fields[2]), int(fields[3])


def processes() -> dict[int, tuple[int, int, int]]:
    """Every process of this machine with its parent, group and session."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                found[int(name)] = place_of(int(name))
    return found


def environment_of(pid: int) -> dict[bytes, bytes]:
    """What a process was started with; empty when it is not ours to see, or a zombie."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            words = environ.read().split(b"\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (word.partition(b"=") for word in words)}


def kill(pid: int, number: int) -> None:
    """Signal a process that may be gone already."""
    with contextlib.suppress(OSError):
        os.kill(pid, number)
