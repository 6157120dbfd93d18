"""The client of PYTQ: its REST contract over one keep-alive connection, standard library only."""

import http.client
import json
import os

from driver import PATIENCE_SECONDS, TRUE, Peer, serve, wait_until

BATCH = os.environ["BENCH_BATCH"]
CHUNK = 10_000  # tasks a request
LONG_POLL_SECONDS = 20.0
ENDED = ("succeeded", "failed", "cancelled")


class Pytq(Peer):
    """A handle is a task's id.

    What is held back is a paused batch, not a gate: nothing is prefetched when the clock starts.
    In a batch that also holds a deep queue of lower priority (`BENCH_DEEP`), outcomes are asked
    for by id, and the batch is paused again once they are there.
    """

    def __init__(self):
        port = int(os.environ["BENCH_PORT"])
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        self.deep = bool(os.environ.get("BENCH_DEEP"))
        self.orders = {"fill": self.fill, "delete": self.delete}
        self.before = None

    def ask(self, method, path, body=None):
        """One request; its answer. Anything but success is an error."""
        headers = {"Content-Type": "application/json"}
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
        self.before = self.before or self.counts()
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
        if not self.deep:
            return 0
        succeeded = self.before["succeeded"]
        self.pause(True)
        wait_until(lambda: self.counts()["active"] == 0)
        return self.counts()["succeeded"] - succeeded - len(self.settled)

    def settle(self, handles):
        if self.deep or len(handles) == 1:
            return self._settle_by_id(handles)
        before, self.before = self.before, None
        wait_until(lambda: self._new(ENDED, before) >= len(handles))
        good = self._new(("succeeded",), before)
        return [0] * good + [1] * (len(handles) - good)

    def _new(self, statuses, before):
        now = self.counts()
        return sum(now[status] - before[status] for status in statuses)

    def _settle_by_id(self, handles):
        self.settled = handles
        wanted = {"ids": handles, "timeout": LONG_POLL_SECONDS}
        while not (standing := self.ask("POST", "/tasks/wait", wanted))["done"]:
            pass
        good = len(standing["statuses"].get("succeeded", []))
        return [0] * good + [1] * (len(handles) - good)

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
