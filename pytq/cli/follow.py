"""Show a task's output as it comes and end as the task ends. Standard library only."""

import base64
import os
import re
import sys
import time
from typing import Any, BinaryIO

from pytq.cli import wire
from pytq.schema.address import Address

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_QUEUED = frozenset({"waiting", "pending"})
_CANCELLED = 130
_LARGEST_CODE = 255
_FIRST_POLL_SECONDS = 3  # then somebody begins to wonder
_POLL_SECONDS = 20
_PAUSE_SECONDS = 2.0  # between attempts to find a server that has gone away


class Follower:
    """What has been shown of one task so far."""

    def __init__(self, stdout: BinaryIO, stderr: BinaryIO) -> None:
        self.sinks = {"stdout": stdout, "stderr": stderr}
        self.attempt = 0
        self.seen = {"stdout": 0, "stderr": 0}

    def query(self, wait: float) -> str:
        """What to ask for next."""
        stdout, stderr = self.seen["stdout"], self.seen["stderr"]
        return f"attempt={self.attempt}&stdout={stdout}&stderr={stderr}&wait={wait}"

    def show(self, news: dict[str, Any]) -> bool:
        """Write what is new; True once the task has ended and all of it has been shown."""
        if news["attempt"] != self.attempt:
            self.attempt = news["attempt"]
            self.seen = {"stdout": 0, "stderr": 0}
        moved = False
        for part in news["parts"]:
            moved |= self._write(part)
        return news["status"] in _ENDED and not moved

    def _write(self, part: dict[str, Any]) -> bool:
        stream, offset = part["stream"], part["offset"]
        seen = self.seen[stream]
        data = base64.b64decode(part["data"])
        if offset > seen:
            self.sinks["stderr"].write(
                f"[pytq: {offset - seen} bytes of {stream} were not kept]\n".encode()
            )
            self.sinks["stderr"].flush()
        fresh = data[max(0, seen - offset) :]
        self.sinks[stream].write(fresh)
        self.sinks[stream].flush()
        self.seen[stream] = max(seen, offset + len(data))
        return self.seen[stream] > seen


def follow(address: Address, task: int) -> int:
    """Show the output of `task` until it has ended; the exit code to end with."""
    try:
        news = _until_the_end(address, task)
    except KeyboardInterrupt:
        say(f"task {task} goes on without us; cancel it with: pytq task cancel {task}")
        return _CANCELLED
    return _exit_code(task, news)


def _until_the_end(address: Address, task: int) -> dict[str, Any]:
    follower = Follower(sys.stdout.buffer, sys.stderr.buffer)
    alone, told, patience = False, "", _FIRST_POLL_SECONDS
    while True:
        path = f"/tasks/{task}/follow?{follower.query(patience)}"
        try:
            news: dict[str, Any] = wire.call(address, "GET", path)
        except (wire.UnreachableError, wire.RefusedError) as error:
            if isinstance(error, wire.RefusedError) and error.status < 500:  # noqa: PLR2004 - HTTP
                raise
            if not alone:
                say(f"lost the server at {address}; task {task} is safe, waiting for its return")
            alone = True
            time.sleep(_PAUSE_SECONDS)
            continue
        alone = False
        if follower.show(news):
            return news
        if news["status"] in _QUEUED:
            told = _tell_why(address, task, told)
        patience = _POLL_SECONDS


def _tell_why(address: Address, task: int, told: str) -> str:
    """Say why a task does not run yet, unless that was `told`; what is told now."""
    try:
        why = str(wire.call(address, "GET", f"/tasks/{task}/explain")["summary"])
    except (wire.UnreachableError, wire.RefusedError):
        return told  # the next question shows what the matter is
    gist = re.sub(r"[\d,]+", "", why)  # a queue that moves is no news
    if gist != told:
        say(f"task {task} has not started yet: {why}")
    return gist


def _exit_code(task: int, news: dict[str, Any]) -> int:
    status, code = news["status"], news["exit_code"]
    if status == "succeeded":
        return 0
    reason = news["reason"] or {}
    say(f"task {task} {status}: {reason.get('detail') or reason.get('cause') or 'no reason given'}")
    if status == "cancelled":
        return _CANCELLED
    if code is not None and code < 0:
        code = 128 - code  # as a shell tells of a signal
    return code if code and 0 < code <= _LARGEST_CODE else 1


def say(text: str) -> None:
    """Say something of our own, on stderr."""
    print(f"pytq: {wire.harmless(text)}", file=sys.stderr, flush=True)


def write_all(data: bytes) -> None:
    """Write bytes to stdout as they are."""
    view = memoryview(data)
    sys.stdout.flush()
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]
