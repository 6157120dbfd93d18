"""The client of a contender, as a process of its own: takes orders as JSON lines, times them.

Every driver speaks to its system as its users do, and the clock runs here, in the client. A system
is a `Peer`; this file has all that is the same for all of them.
"""

import json
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from work import Gate

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 180.0
TRUE = ["sh", "-c", "true"]
SLOTS = 4


class Peer:
    """What a system must be able to do. `handle` is whatever its submit gives back."""

    def submit(self, argv, count):
        """Submit `count` tasks at one go, by the fastest way it has; their handles."""
        raise NotImplementedError

    def submit_one(self, argv):
        """Submit one task; its handle."""
        raise NotImplementedError

    def submit_gate(self, folder):
        """Submit one task that waits at the gate."""
        raise NotImplementedError

    def settle(self, handles):
        """Block until every one has ended and its result is recorded; the exit codes."""
        raise NotImplementedError

    def accepted(self, handles):
        """Block until the system has really taken them; most have when submit returns."""

    def hold(self, folder):
        """Let nothing start from now on, with the workers up and warm."""
        self.gate = Gate(folder)
        self.gated = [self.submit_gate(self.gate.folder) for _ in range(SLOTS)]
        wait_until(lambda: self.gate.waiting() == SLOTS)

    def release(self):
        """Let what is held back start."""
        self.gate.open()

    def held_over(self):
        """Clean up after a hold and its release; how many tasks ran beside those measured."""
        self.gate.close()
        return 0


class Driver:
    """Carries out the orders of the bench."""

    def __init__(self, peer):
        self.peer = peer
        self.folder = Path(tempfile.mkdtemp(prefix="driver-", dir="."))
        self.held = []
        self.number = 0

    def warm(self, count):
        """Run a few, unmeasured."""
        check(self.peer.settle(self.peer.submit(TRUE, count)), count)

    def queue(self, count):
        """Fill the queue while it is held back."""
        self.number += 1
        self.peer.hold(self.folder / f"hold-{self.number}")
        self.held = self.peer.submit(TRUE, count)
        self.peer.accepted(self.held)
        time.sleep(0.3)  # let what a queue does behind its clients' backs come to rest

    def drain(self):
        """Release; seconds until the last outcome is recorded and seen here, and how many ran."""
        begin = time.perf_counter()
        self.peer.release()
        codes = self.peer.settle(self.held)
        seconds = time.perf_counter() - begin
        check(codes, len(self.held))
        return {"seconds": seconds, "ran": len(codes) + self.peer.held_over()}

    def flow(self, count):
        """Submit with the workers free; seconds from the first submit to the last outcome."""
        begin = time.perf_counter()
        codes = self.peer.settle(self.peer.submit(TRUE, count))
        seconds = time.perf_counter() - begin
        check(codes, count)
        return seconds

    def latency(self, samples):
        """Seconds from just before the submit to the task's own first clock reading."""
        dice = random.Random(1)
        return [self._one_latency(dice.uniform(0.005, 0.015)) for _ in range(samples)]

    def _one_latency(self, pause):
        time.sleep(pause)  # an idle system, and no lockstep with anybody's polling
        self.number += 1
        stamp = (self.folder / f"stamp-{self.number}").absolute()
        begin = time.time_ns()
        handle = self.peer.submit_one(["sh", "-c", f"date +%s%N > {stamp}"])
        check(self.peer.settle([handle]), 1)
        return (int(stamp.read_text()) - begin) / 1e9

    def rate_single(self, count):
        """Tasks a second, submitted one by one, none starting."""
        self.number += 1
        self.peer.hold(self.folder / f"hold-{self.number}")
        begin = time.perf_counter()
        self.held = [self.peer.submit_one(TRUE) for _ in range(count)]
        self.peer.accepted(self.held)
        return count / (time.perf_counter() - begin)

    def rate_bulk(self, count):
        """Tasks a second, submitted in bulk, none starting (still held from `rate_single`)."""
        begin = time.perf_counter()
        self.peer.accepted(self.peer.submit(TRUE, count))
        return count / (time.perf_counter() - begin)


def wait_until(done, pause=POLL_SECONDS):
    """Poll, as every contender is polled."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("the system did not finish")
        time.sleep(pause)


def check(codes, count):
    """Every task must have run, and well: no speed without the work."""
    if len(codes) != count or any(code != 0 for code in codes):
        bad = sum(1 for code in codes if code != 0)
        raise AssertionError(f"{count} tasks wanted, {len(codes)} outcomes seen, {bad} of them bad")


def serve(peer):
    """Read orders {"do": NAME, "with": {…}} from stdin, answer {"value": …} or {"error": …}."""
    orders, answers = sys.stdin, sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not look like an answer
    driver = Driver(peer)
    extra = getattr(peer, "orders", {})
    for line in orders:
        order = json.loads(line)
        act = extra.get(order["do"]) or getattr(driver, order["do"])
        try:
            answer = {"value": act(**order["with"])}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
