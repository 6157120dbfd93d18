"""The soak's own network: a namespace for each worker, joined to the server's by a pair of veths.

All of it lies in the network namespace that the soak was started in (`unshare --net`), so nothing
of it is seen from outside, and nothing remains.
"""

import subprocess
from typing import Final

TCP: Final = ["-p", "tcp"]
CUT: Final = ["-j", "DROP"]


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def make_hub() -> None:
    """Bring up the loopback of the server's side."""
    _do("ip", "link", "set", "lo", "up")


class Cable:
    """What joins one worker's namespace to the server's."""

    def __init__(self, number: int) -> None:
        self.near, self.far = f"hub{number}", f"far{number}"
        self.server, self.worker = f"10.9.{number}.1", f"10.9.{number}.2"
        self._rules: list[list[str]] = []
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()  # the namespace is there
        self._holder.stdout.close()
        pid = str(self._holder.pid)
        self.enter = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        _do("ip", "link", "add", self.near, "type", "veth", "peer", "name", self.far)
        _do("ip", "link", "set", self.far, "netns", pid)
        _do("ip", "addr", "add", f"{self.server}/30", "dev", self.near)
        _do("ip", "link", "set", self.near, "up")
        for words in (
            ["addr", "add", f"{self.worker}/30", "dev", self.far],
            ["link", "set", self.far, "up"],
            ["link", "set", "lo", "up"],
        ):
            _do(*self.enter, "ip", *words)

    def cut(self, *, up: bool = True, down: bool = True) -> None:
        """Let no packet through, from the worker (up), to it (down), or either."""
        if up:
            self._add("INPUT", "-i", self.near, *CUT)
        if down:
            self._add("OUTPUT", "-o", self.near, *CUT)

    def lose(self, part: float) -> None:
        """Lose a part of all packets, both ways."""
        by_chance = ["-m", "statistic", "--mode", "random", "--probability", str(part)]
        self._add("INPUT", "-i", self.near, *by_chance, *CUT)
        self._add("OUTPUT", "-o", self.near, *by_chance, *CUT)

    def reset(self) -> None:
        """Answer whatever comes with a reset."""
        self._add("INPUT", "-i", self.near, *TCP, "-j", "REJECT", "--reject-with", "tcp-reset")

    def mend(self) -> None:
        """All is as it was."""
        while self._rules:
            chain, *rule = self._rules.pop()
            _do("iptables", "-w", "-D", chain, *rule)

    def close(self) -> None:
        """Give the namespace up."""
        self._holder.kill()
        self._holder.wait()

    def _add(self, chain: str, *rule: str) -> None:
        _do("iptables", "-w", "-I", chain, *rule)
        self._rules.append([chain, *rule])
