"""What a container uses, read from its cgroup: two small files, no question to dockerd."""

import contextlib
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
NANOSECONDS: Final = 1e9
MICROSECONDS: Final = 1e6


class Usage:
    """CPU seconds and the most memory, in bytes, that a container was seen to use."""

    def __init__(self) -> None:
        self.cpu = 0.0
        self.memory = 0
        self.asked = False
        self._cpu_file: Path | None = None
        self._memory_file: Path | None = None

    @property
    def found(self) -> bool:
        """Whether its cgroup is known."""
        return self._cpu_file is not None or self._memory_file is not None

    def find(self, pid: int) -> None:
        """Look up the cgroup of a container's first process."""
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines()
        except OSError:
            return
        for line in lines:
            _, controllers, path = line.split(":", 2)
            below = path.lstrip("/")
            if not controllers:  # cgroup v2
                self._choose(CGROUPS / below / "cpu.stat", CGROUPS / below / "memory.stat")
            if "cpuacct" in controllers.split(","):
                self._choose(CGROUPS / "cpuacct" / below / "cpuacct.usage", None)
            if "memory" in controllers.split(","):
                self._choose(None, CGROUPS / "memory" / below / "memory.stat")

    def look(self) -> None:
        """Take a sample; nothing where the container has ended."""
        with contextlib.suppress(OSError, ValueError):
            if self._cpu_file is not None:
                self.cpu = max(self.cpu, _cpu_seconds(self._cpu_file.read_text(encoding="ascii")))
        with contextlib.suppress(OSError, ValueError):
            if self._memory_file is not None:
                text = self._memory_file.read_text(encoding="ascii")
                self.memory = max(self.memory, _resident(text))

    def _choose(self, cpu: Path | None, memory: Path | None) -> None:
        if cpu is not None and cpu.exists():
            self._cpu_file = cpu
        if memory is not None and memory.exists():
            self._memory_file = memory


def _cpu_seconds(text: str) -> float:
    fields = text.split()
    if len(fields) == 1:  # cgroup v1: nanoseconds
        return int(fields[0]) / NANOSECONDS
    return int(fields[fields.index("usage_usec") + 1]) / MICROSECONDS


def _resident(text: str) -> int:
    """What programs hold, without what the kernel caches of files for them."""
    known = dict(line.split(" ", 1) for line in text.splitlines())
    return int(known["anon"] if "anon" in known else known["total_rss"])
