"""The client of PYTQ: its REST contract over one keep-alive connection, standard library only."""

import http.client
import json
import os
import time

from driver import PATIENCE_SECONDS, TRUE, Peer, serve, wait_until

BATCH = os.environ["BENCH_BATCH"]
TOKEN = os.environ["BENCH_TOKEN"]
CHUNK = 10_000  # tasks a request
LONG_POLL_SECONDS = 20.0


class Pytq(Peer):
    """A handle is a task's id.

    What is held back is a paused batch, not a gate: nothing is prefetched when the clock starts.
    Outcomes are waited for by a long poll, by id. A batch that also holds a deep queue of lower
    priority (`BENCH_DEEP`) is paused again once they are there.
    """

    def __init__(self):
        port = int(os.environ["BENCH_PORT"])
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        self.deep = bool(os.environ.get("BENCH_DEEP"))
        self.orders = {"fill": self.fill, "delete": self.delete}

    def ask(self, method, path, body=None):
        """One request; its answer. Anything but success is an error."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        data = None if body is None else json.dumps(body).encode()
        self.connection.request(method, f"/api/v1{path}", data, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return json.loads(text) if text else None

    def submit(self, argv, count):
        return self._submit(argv, count, 0)

    def submit_one(self, argv):
        return self.ask("POST", "/tasks", {"command": argv, "batch": BATCH})["ids"][0]

    def _submit(self, argv, count, priority):
        ids = []
        for start in range(0, count, CHUNK):
            task = {"command": argv, "batch": BATCH, "priority": priority}
            ids += self.ask("POST", "/tasks", [task] * min(CHUNK, count - start))["ids"]
        return ids

    def counts(self):
        """The batch's tasks by status."""
        return self.ask("GET", f"/counts?batch={BATCH}")

    def hold(self, folder):  # noqa: ARG002 - a pause needs no gate
        self.pause(True)
        self.before = self.counts()

    def pause(self, paused):
        """Pause the batch, or let it go on."""
        self.ask("PATCH", f"/batches/{BATCH}", {"paused": paused})

    def release(self):
        self.pause(False)

    def held_over(self):
        """The counts must say the same; in a deep batch, what came next may have run as well."""
        if self.deep:
            self.pause(True)
            wait_until(lambda: self.counts()["active"] == 0)
        ran = self.counts()["succeeded"] - self.before["succeeded"]
        if ran < self.settled or (ran > self.settled and not self.deep):
            raise AssertionError(f"{self.settled} tasks succeeded, the counts say {ran}")
        return ran - self.settled

    def settle(self, handles):
        self.settled, good = len(handles), 0
        for start in range(0, len(handles), CHUNK):
            good += self._succeeded(handles[start : start + CHUNK])
        return [0] * good + [1] * (len(handles) - good)

    def _succeeded(self, ids):
        wanted = {"ids": ids, "timeout": LONG_POLL_SECONDS}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (standing := self.ask("POST", "/tasks/wait", wanted))["done"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"tasks have not ended; the batch is {self.counts()}")
        return len(standing["statuses"].get("succeeded", []))

    def delete(self):
        """Delete the batch with its tasks."""
        self.ask("DELETE", f"/batches/{BATCH}")

    def fill(self, count):
        """Queue `count` tasks of low priority in the batch, which is paused from its first task."""
        self._submit(TRUE, 1, -1)
        self.pause(True)
        self._submit(TRUE, count - 1, -1)


if __name__ == "__main__":
    serve(Pytq())
