"""What every contender can do, and all that is the same for those with a client process."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import procs

PEERS = Path(__file__).resolve().parent.parent / "peers"
WARM_TASKS = 1000


@dataclass(frozen=True)
class Settings:
    """What a run of the bench is made of."""

    n: int = 2000
    samples: int = 300
    single: int = 1000  # tasks submitted one by one
    bulk: int = 100_000  # tasks submitted in bulk, where the contender has a bulk submit
    loop: int = 2000  # tasks submitted "in bulk" by a contender whose bulk is a loop
    depth: int = 1_000_000
    python: Path = Path(sys.executable)
    pytq: Path = Path(sys.executable).parent / "pytq"
    peer_python: Path = Path(sys.executable)
    redis: Path | None = None
    postgres: Path | None = None


@dataclass
class RunResult:
    """One round's throughput. Seconds are wall time; CPU is in seconds, by role."""

    seconds: float
    tasks_per_second: float
    flow_seconds: float | None = None  # submit and run, the workers free from the start
    cpu_per_task: dict[str, float] = field(default_factory=dict)


class Contender:
    """A way to run many commands. Used as: start, run, latency, submit_rates, memory, stop."""

    name = ""  # short, for --only and the columns
    title = ""  # for people
    durable = ""  # what is safe against a crash, and when

    def __init__(self, settings):
        self.settings = settings

    def prepare(self):
        """Whatever is done once, before the first round."""

    def dispose(self):
        """Undo `prepare`."""

    def start(self):
        """Start it, warm. Should that fail, `stop` is called all the same."""

    def stop(self):
        """End what was started, and leave nothing behind."""

    def run(self, n):
        """Run `n` tasks; a RunResult."""
        raise NotImplementedError

    def latency(self, samples):  # noqa: ARG002 - those that can will use it
        """Seconds from submit to start, each on an idle system."""
        return []

    def submit_rates(self):
        """Tasks a second, "single" and "bulk"."""
        return {}

    def memory(self):
        """Bytes by role."""
        return {}

    def logs(self):
        """What its processes said last."""
        return ""


class Driven(Contender):
    """A contender with services, workers and a client, each in processes of their own."""

    driver = ""  # a file in peers/
    bulk_is_a_loop = True
    ending = signal.SIGKILL  # nothing of a peer is kept, and its slots may wait at a gate

    def __init__(self, settings):
        super().__init__(settings)
        self.room = None
        self.client = None
        self.roots = {}  # role -> processes
        self.services = []  # what the servers and workers lean on, and what ends in its own way

    def boot(self):
        """Start services and workers: fill `self.roots`, return the client's environment."""
        raise NotImplementedError

    def start(self):
        self.room = procs.make_room()
        self.client = Client(self.python, self.driver, self.room, self.boot())
        self.client.order("warm", count=WARM_TASKS)

    @property
    def python(self):
        """The interpreter of the client and, for peers, of their workers."""
        return self.settings.peer_python

    def launch(self, role, argv, extra=None):
        """Start a process that belongs to a role."""
        process = procs.launch(argv, self.room, self.environment(extra), name=role)
        self.roots.setdefault(role, []).append(process)
        return process

    def environment(self, extra):
        """The environment of everything that is launched, and of the client."""
        return {**os.environ, "PYTHONPATH": str(PEERS), **(extra or {})}

    def stop(self):
        if self.client:
            self.client.stop()
        for role in reversed(list(self.roots)):  # workers before servers
            self.end(role)
        for service in self.services:
            service.stop()
        self.client, self.services = None, []
        if self.room:
            procs.remove_room(self.room)
        self.room = None

    def end(self, role):
        """End the processes of a role."""
        procs.end(self.roots.pop(role, []), self.ending)

    def logs(self):
        """The last words of everybody, for when something went wrong."""
        files = sorted(self.room.glob("*.log")) if self.room else []
        return "\n".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in files)

    def processes(self):
        """All long-lived processes by role."""
        roots = {service.role: [service.process] for service in self.services} | self.roots
        roles = {role: procs.tree(found) for role, found in roots.items()}
        return {**roles, "client": [self.client.process]}

    def run(self, n):
        self.client.order("queue", count=n)
        before = self.cpu()
        drained = self.client.order("drain")
        after = self.cpu()
        flow = self.client.order("flow", count=n)
        cpu = {role: (after[role] - before.get(role, 0)) / drained["ran"] for role in after}
        return RunResult(drained["seconds"], n / drained["seconds"], flow, cpu)

    def cpu(self):
        """Processor seconds so far by role; what the processes reaped is the role "children"."""
        used = {role: procs.cpu(found) for role, found in self.processes().items()}
        seconds = {role: cpu.own for role, cpu in used.items()}
        seconds["children"] = sum(cpu.children for cpu in used.values())
        return seconds

    def latency(self, samples):
        return self.client.order("latency", samples=samples)

    def submit_rates(self):
        bulk = self.settings.loop if self.bulk_is_a_loop else self.settings.bulk
        return {
            "single": self.client.order("rate_single", count=self.settings.single),
            "bulk": self.client.order("rate_bulk", count=bulk),
        }

    def memory(self):
        return {role: procs.memory(found) for role, found in self.processes().items()}


class Client:
    """A driver of peers/, spoken to in JSON lines."""

    def __init__(self, python, driver, room, env):
        self.log = room / f"{driver}.log"
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [str(python), str(PEERS / driver)],
                cwd=room,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.process = procs.Started(self.popen)

    def order(self, name, **arguments):
        """Have something done; its value."""
        self.popen.stdin.write(json.dumps({"do": name, "with": arguments}) + "\n")
        self.popen.stdin.flush()
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{name}: the client ended\n{self.log.read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{name}: {answer['error']}")
        return answer["value"]

    def stop(self):
        """End the client."""
        procs.end([self.process])
        self.popen.stdin.close()
        self.popen.stdout.close()
