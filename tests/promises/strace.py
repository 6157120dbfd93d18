"""strace, to count what a process asks of the kernel and to have the kernel refuse it."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def traced(pid: int, calls: str, inject: str = "", path: str = "") -> Iterator[Callable[[], int]]:
    """Watch these system calls of a process; yields how many there were so far.

    `inject` is what becomes of them, as `error=EIO`; `path` names the only file that is meant.
    """
    if shutil.which("strace") is None:
        pytest.skip("not installed: strace; scripts/system-packages installs it")
    with tempfile.NamedTemporaryFile("rb", prefix="strace-") as seen:
        words = ["strace", "-f", "-qq", "-o", seen.name, "-p", str(pid), "-e", f"trace={calls}"]
        words += ["-e", f"inject={calls}:{inject}"] if inject else []
        words += ["-P", path] if path else []
        tracer = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        try:
            _wait_until_attached(pid, tracer)
            yield lambda: Path(seen.name).read_text().count("sync(")
        finally:
            tracer.terminate()
            tracer.wait(10)


def _wait_until_attached(pid: int, tracer: "subprocess.Popen[bytes]") -> None:
    """Every thread has to be watched."""
    deadline = time.monotonic() + 10
    while not all(_tracer(task) == tracer.pid for task in Path(f"/proc/{pid}/task").iterdir()):
        if tracer.poll() is not None:
            pytest.skip("this kernel lets nobody trace")
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _tracer(task: Path) -> int:
    for line in (task / "status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    return 0
