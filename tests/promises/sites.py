"""A server with its workers, to be asked over HTTP and to be ill-treated."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from system import PYTQ, System
from worker_parts import alive, end_keeper, parent

LONG: Final = bool(os.environ.get("PYTQ_LONG"))  # set by `make soak`
LEASE: Final = 10.0  # the shortest that a server gives
OVER: Final = ("succeeded", "failed", "cancelled")


def until(what: Callable[[], Any], seconds: float = 30.0, say: Callable[[], Any] = str) -> Any:
    """Wait until something is true; its value."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"waited in vain {say()}"
        time.sleep(0.05)
    return value


class Site(System):
    """A system whose server is asked in this process, with a connection for each request."""

    def __init__(self, folder: Path, database_uri: str | None = None) -> None:
        super().__init__(folder, database_uri)
        self.runs = folder / "runs"  # where tasks leave a line when they begin

    # --- asking

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        key: str | None = None,
        timeout: float = 30.0,
        address: str | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers of an answer; OSError or HTTPException where there is none."""
        host, _, port = (address or self.address).rpartition(":")
        line = http.client.HTTPConnection(host, int(port), timeout=timeout)
        headers = self.headers() | {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            text = None if body is None else json.dumps(body)
            line.request(method, f"/api/v1{path}", text, headers)
            reply = line.getresponse()
            data = reply.read()
            is_json = "json" in reply.getheader("Content-Type", "")
            return reply.status, json.loads(data) if is_json else data, dict(reply.getheaders())
        finally:
            line.close()

    def get(self, path: str) -> Any:
        status, body, _ = self.call("GET", path)
        assert status == 200, body
        return body

    def submit(self, *commands: str | dict[str, Any], key: str | None = None) -> list[int]:
        """Submit tasks; shell text becomes a task of its own."""
        tasks = [{"command": one} if isinstance(one, str) else one for one in commands]
        status, body, _ = self.call("POST", "/tasks", tasks, key)
        assert status == 201, body
        return list(body["ids"])

    def task(self, number: int) -> Any:
        return self.get(f"/tasks/{number}")

    def tries(self, number: int) -> list[Any]:
        """The executions of a task, the oldest first."""
        return list(reversed(self.get(f"/executions?task={number}")["items"]))

    def phase(self, number: int) -> str:
        """Of its newest execution; empty before there is one."""
        tries = self.tries(number)
        return str(tries[-1]["phase"]) if tries else ""

    def output(self, number: int, stream: str = "stdout") -> str:
        """What the newest execution has written."""
        newest = self.tries(number)[-1]["id"]
        _, body, _ = self.call("GET", f"/executions/{newest}/{stream}")
        return bytes(body).decode()

    def ended(self, tasks: Iterable[int], seconds: float = 60.0) -> list[Any]:
        """These tasks, once all have ended."""
        wanted, deadline = list(tasks), time.monotonic() + seconds
        while True:
            body = {"ids": wanted, "timeout": 5.0}
            status, standing, _ = self.call("POST", "/tasks/wait", body)
            assert status == 200, standing
            if standing["done"]:
                return [self.task(number) for number in wanted]
            assert time.monotonic() < deadline, standing["statuses"]

    def crew(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.get("/workers")}

    def trace(self, more: str = "true") -> str:
        """Shell text of a task that tells in `runs` that it has begun."""
        return f"echo $PYTQ_TASK.$PYTQ_ATTEMPT >> {self.runs}; {more}"

    def traces(self) -> Counter[str]:
        """How often each execution has begun."""
        return Counter(self.runs.read_text().split()) if self.runs.exists() else Counter()

    def begun_once(self, tasks: Iterable[int]) -> bool:
        """Whether each of these tasks has begun exactly once, and no other; as which try, is open.

        A lease that never reached its worker, or was handed back untouched, counts as a try.
        """
        begun = Counter(ref.partition(".")[0] for ref in self.traces().elements())
        return begun == Counter(map(str, tasks))

    def pulse(self, first: str = "true") -> str:
        """Shell text of a task that shows when it lives, ten times a second, until `let_go`."""
        line = 'echo "$PYTQ_ATTEMPT $(cut -d" " -f1 /proc/uptime)"'
        beat = f"{line} >> {self.folder}/pulses; sleep 0.1"
        return f"{first}\n while [ ! -e {self.folder}/go ]; do {beat}; done"

    def pulses(self) -> dict[int, list[float]]:
        """By attempt, when it was alive: seconds since boot."""
        path, found = self.folder / "pulses", dict[int, list[float]]()
        for line in path.read_text().splitlines() if path.exists() else ():
            attempt, at = line.split()
            found.setdefault(int(attempt), []).append(float(at))
        return found

    def let_go(self) -> None:
        """Let tasks that pulse end well."""
        (self.folder / "go").touch()

    # --- ill-treating

    def start_agent(
        self,
        concurrency: int = 4,
        name: str = "w",
        *options: object,
        words: Iterable[str] = PYTQ,
        address: str | None = None,
        prefix: Iterable[str] = (),
    ) -> subprocess.Popen[bytes]:
        """A worker as people start it: when it ends, its tasks go on."""
        command = [*prefix, *words, "worker", address or self.address, str(concurrency)]
        command += ["--name", name, "--work-dir", str(self.home(name))]
        worker = self._start([*command, *options], name)
        self.workers.append(worker)
        return worker

    def home(self, name: str = "w") -> Path:
        """A worker's work directory."""
        return self.folder / name

    def online(self, name: str = "w", seconds: float = 30.0) -> Any:
        """Wait until the server sees this worker."""
        return until(
            lambda: self.crew().get(name, {}).get("status") == "online",
            seconds,
            lambda: self.log(name),
        )

    def pids_of(self, name: str = "w") -> list[int]:
        """Guardian and keeper of a worker."""
        return alive(f"keeper\0{self.home(name)}")

    def keeper_of(self, name: str = "w") -> int:
        """The keeper's own pid: the guardian is its parent."""
        pair = self.pids_of(name)
        (keeper,) = [pid for pid in pair if parent(pid) in pair]
        return keeper

    def restart_server(self, *options: object) -> None:
        """End it as a power cut would, and at once start another one."""
        self.kill_server()
        self.start_server(*options)

    def stop(self) -> None:
        """End all of it, however it was left; keepers, and what a failed test left running, too."""
        self.let_go()
        for process in self.workers:
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(10)
        if self.server is not None:
            with contextlib.suppress(OSError):
                self.server.send_signal(signal.SIGCONT)
        super().stop()
        for journal in self.folder.glob("*/journal.sqlite"):
            end_keeper(journal.parent)
