"""Containers per second: PYTQ beside a loop of four `docker run`, round by round, by ratio.

    python bench/containers.py [--rounds 5] [--n 80] [--network none]

Both use the same private dockerd, the same image and the same kind of network, four at a time; the
worker has four more tasks at hand (`--prefetch 4`). PYTQ's clock runs from the release of its
paused batch until the last outcome is stored, the loops' until the last `docker run` has ended.
PYTQ's containers have five folders mounted, keep their output, and are removed meanwhile. Prints a
table in Markdown.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import procs
import psutil
import services
from private_docker import BUSYBOX, private_docker, program, why_not

from pytq import credentials
from pytq.schema import address

SLOTS = 4
WARM = 8
BATCH = "containers"
PATIENCE_SECONDS = 600.0


class Pytq:
    """A server and a worker of four slots, which has four more tasks at hand."""

    title = "PYTQ"

    def __init__(self, room, docker, network):
        self.room, self.docker, self.network = room, docker, network
        self.port = procs.free_port()
        self.address = address.parse(f"127.0.0.1:{self.port}")

    def start(self):
        pytq = [sys.executable, "-m", "pytq.cli.main"]
        env = {"DOCKER_HOST": self.docker.host, "SQLALCHEMY_DATABASE_URI": "", "PYTQ_TOKEN": ""}
        words = ["server", "--port", self.port, "--data-dir", self.room / "data"]
        self.server = procs.launch([*pytq, *words], self.room, env, name="server")
        services.wait_for(self.is_well, self.server)
        self.token = credentials.token_for(self.address)
        words = ["worker", f"127.0.0.1:{self.port}", SLOTS, "--batch", BATCH, "--kill"]
        words += ["--prefetch", SLOTS]  # so that the next is at hand when one has ended
        words += ["--work-dir", self.room / "work", "--name", "bench", "--data="]
        if self.network == "host":
            words += ["--allow-docker-option=network"]
        self.worker = procs.launch([*pytq, *words], self.room, env, name="worker")
        self.wait_for(self.submit(WARM))

    def stop(self):
        procs.end([self.worker, self.server], signal.SIGTERM)

    def is_well(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2):
                return True
        except OSError:
            return False

    def processes(self):
        """Who does the work of `docker run` here, and who keeps the queue."""
        keepers = [p for p in procs.tree([self.worker]) if p.pid != self.worker.pid]
        keepers += procs.find("keeper", str(self.room))
        mine = {p.pid: p for p in [self.worker, *keepers]}
        return {"client": list(mine.values()), "server": [self.server]}

    def run(self, n):
        """Run n containers; seconds."""
        self.ask("PATCH", f"/batches/{BATCH}", {"paused": True})
        ids = self.submit(n)
        begin = time.monotonic()
        self.ask("PATCH", f"/batches/{BATCH}", {"paused": False})
        self.wait_for(ids)
        return time.monotonic() - begin

    def submit(self, n):
        task = {"command": ["true"], "container": BUSYBOX, "batch": BATCH}
        task["container_options"] = [f"--network={self.network}"]
        return self.ask("POST", "/tasks", [task] * n)["ids"]

    def wait_for(self, ids):
        """Wait until all have succeeded."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            standing = self.ask("POST", "/tasks/wait", {"ids": ids, "timeout": 20.0})
            if standing["done"]:
                break
            if time.monotonic() > deadline:
                raise TimeoutError("PYTQ did not finish")
        if len(standing["statuses"].get("succeeded", ())) != len(ids):
            raise RuntimeError(f"not all succeeded: {standing['statuses']}")

    def ask(self, method, path, body):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        url = f"http://127.0.0.1:{self.port}/api/v1{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")


class Loop:
    """`xargs -P4 docker run`."""

    def __init__(self, docker, network, *, remove):
        self.title = "docker run --rm, 4 at a time" if remove else "docker run, 4 at a time"
        self.docker = docker
        words = ["docker", "run", *(["--rm"] if remove else []), "--network", network]
        self.argv = [*words, BUSYBOX, "true"]
        self.argv[0] = program("docker")

    def run(self, n):
        begin = time.monotonic()
        argv = ["xargs", f"-P{SLOTS}", "-I{}", *self.argv]
        numbers = "".join(f"{number}\n" for number in range(n)).encode()
        subprocess.run(
            argv,
            input=numbers,
            env={**os.environ, "DOCKER_HOST": self.docker.host},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.monotonic() - begin

    def tidy(self):
        """Away with what is left, while no clock runs."""
        left = self.docker.cli("ps", "--all", "--quiet").split()
        if left:
            self.docker.cli("rm", "--force", *left)


def measure_pytq(pytq, docker, n):
    """Containers a second, and milliseconds of CPU per container by role."""
    before = {role: procs.cpu(found) for role, found in pytq.processes().items()}
    daemon = daemon_cpu(docker)
    seconds = pytq.run(n)
    after = {role: procs.cpu(found) for role, found in pytq.processes().items()}
    spent = {role: 1000 * (after[role].own - before[role].own) / n for role in before}
    spent["docker"] = 1000 * (daemon_cpu(docker) - daemon) / n
    return {"rate": n / seconds, **spent}


def measure_loop(loop, docker, n):
    """The same of `docker run`, whose own CPU is that of our children."""
    before, daemon = resource.getrusage(resource.RUSAGE_CHILDREN), daemon_cpu(docker)
    seconds = loop.run(n)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    daemon = 1000 * (daemon_cpu(docker) - daemon) / n
    loop.tidy()
    return {"rate": n / seconds, "client": 1000 * spent / n, "server": 0.0, "docker": daemon}


def daemon_cpu(docker):
    """Processor seconds of dockerd and containerd, with all that they have reaped."""
    spent = 0.0
    for pid in docker.pids:
        times = psutil.Process(pid).cpu_times()
        spent += times.user + times.system + times.children_user + times.children_system
    return spent


def main():
    """Prepare, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n", type=int, default=80, help="containers a round (80)")
    parser.add_argument("--network", default="none", help="none, host or bridge (none)")
    options = parser.parse_args()
    if why_not():
        sys.exit(f"bench: no dockerd: {why_not()}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    room = procs.make_room()
    try:
        with private_docker() as docker:
            rounds = measure_all(room, docker, options)
    finally:
        procs.remove_room(room)
    print(table(rounds, options))


def measure_all(room, docker, options):
    """Every round: {title: measures}, in turns."""
    pytq = Pytq(room, docker, options.network)
    loops = [Loop(docker, options.network, remove=remove) for remove in (False, True)]
    rounds = []
    pytq.start()
    try:
        for loop in loops:
            loop.run(WARM)
            loop.tidy()
        for number in range(options.rounds):
            found = {}
            contenders = [pytq, *loops]
            turn = number % len(contenders)
            for one in contenders[turn:] + contenders[:turn]:
                measure = measure_pytq if one is pytq else measure_loop
                found[one.title] = measure(one, docker, options.n)
                print(
                    f"round {number + 1}: {one.title}: {found[one.title]['rate']:.2f}/s",
                    file=sys.stderr,
                )
            rounds.append(found)
    finally:
        pytq.stop()
    return rounds


def table(rounds, options):
    """What came of it, in Markdown."""
    lines = [
        f"\n`{BUSYBOX} true`, {options.n} containers a round, {len(rounds)} rounds in turns,",
        f"{SLOTS} at a time, network {options.network}. Ratio: PYTQ's containers/s divided by the",
        "loop's of the same round; median, smallest and largest. CPU in ms per container: client",
        "is PYTQ's worker and keeper, or the `docker run` processes.\n",
        "|  | containers/s (min-max) | PYTQ ÷ it | client CPU | server CPU | dockerd's CPU |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for title in rounds[0]:
        rates = [one[title]["rate"] for one in rounds]
        ratios = [one[Pytq.title]["rate"] / one[title]["rate"] for one in rounds]
        cpu = {
            role: median(one[title][role] for one in rounds)
            for role in ("client", "server", "docker")
        }
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        lines.append(
            f"| {title} | {median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f})"
            f" | {'-' if title == Pytq.title else ratio}"
            f" | {cpu['client']:.1f} | {cpu['server'] or 0:.1f} | {cpu['docker']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
