"""Two machines on one: network namespaces with a cable between them that can be cut."""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest
from sites import Site, until
from system import PYTQ

SERVER, WORKER = "10.213.0.1", "10.213.0.2"
NEW_NET: Final = 0x40000000  # CLONE_NEWNET


class Machine:
    """A network of its own, kept by a process that does nothing else."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])

    @property
    def pid(self) -> int:
        return self._holder.pid

    @property
    def prefix(self) -> list[str]:
        """A command's beginning: run what follows on this machine."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net"]

    def run(self, *words: str) -> None:
        done = subprocess.run([*self.prefix, *words], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"{' '.join(words)}: {done.stderr.decode()}")

    def enter(self) -> None:
        """Take the calling thread there, for good."""
        with Path(f"/proc/{self.pid}/ns/net").open("rb") as door:
            if ctypes.CDLL(None, use_errno=True).setns(door.fileno(), NEW_NET):
                raise OSError(ctypes.get_errno(), "setns")

    def is_apart(self) -> bool:
        """Whether its network is not ours any more."""
        return Path(f"/proc/{self.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait(10)


class Cable:
    """What is between the two, as iptables on the server's machine rules it."""

    def __init__(self, here: Machine) -> None:
        self._here = here

    def cut(self) -> None:
        """Nothing comes through; nobody is told."""
        self._rule("INPUT", "-j", "DROP")
        self._rule("OUTPUT", "-j", "DROP")

    def cut_half(self) -> None:
        """What the worker says arrives; nothing that the server says does."""
        self._rule("OUTPUT", "-j", "DROP")

    def refuse(self) -> None:
        """Every connection is reset."""
        self._rule("INPUT", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")

    def lose(self, share: float) -> None:
        """So many packets are lost, in both directions."""
        chance = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
        self._rule("INPUT", *chance, "-j", "DROP")
        self._rule("OUTPUT", *chance, "-j", "DROP")

    def mend(self) -> None:
        self._here.run("iptables", "-F")

    def _rule(self, chain: str, *words: str) -> None:
        other = ["-s", WORKER] if chain == "INPUT" else ["-d", WORKER]
        self._here.run("iptables", "-A", chain, *other, *words)


class FarSite(Site):
    """A site whose server is on a machine of its own; it is asked from there."""

    def __init__(self, folder: Path, here: Machine, there: Machine) -> None:
        super().__init__(folder)
        self.address = f"{SERVER}:{self.port}"
        self.env["PYTQ_SERVER"] = self.address
        self.here, self.there = here, there
        self._thread = ThreadPoolExecutor(1, initializer=here.enter)

    def start_server(self, *options: object) -> None:
        words = [*self.here.prefix, *PYTQ, "server", "--host", SERVER, "--port", self.port]
        words += ["--data-dir", self.folder / "data"]
        self.server = self._start([*words, *options], "server")
        until(self._answers, 60, lambda: self.log("server"))

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.call("GET", "/server", timeout=2)[0] == HTTPStatus.OK
        return False

    def call(self, *words: Any, **more: Any) -> tuple[int, Any, dict[str, str]]:
        return self._thread.submit(super().call, *words, **more).result(120)

    def stop(self) -> None:
        super().stop()
        self._thread.shutdown()


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine, Cable]]:
    """The server's, the worker's, and the cable; skips where that cannot be made."""
    missing = [name for name in ("unshare", "nsenter", "ip", "iptables") if not shutil.which(name)]
    if missing or os.getuid():
        pytest.skip(f"needs root, and: {', '.join(missing)}; scripts/system-packages installs them")
    here, there = Machine(), Machine()
    try:
        until(here.is_apart, 10)
        until(there.is_apart, 10)
        link = ["ip", "link", "add", "name", "pytqa", "type", "veth", "peer", "name", "pytqb"]
        here.run(*link, "netns", str(there.pid))
        for machine, name, address in ((here, "pytqa", SERVER), (there, "pytqb", WORKER)):
            machine.run("ip", "addr", "add", f"{address}/24", "dev", name)
            machine.run("ip", "link", "set", name, "up")
            machine.run("ip", "link", "set", "lo", "up")
        yield here, there, Cable(here)
    finally:
        here.close()
        there.close()
