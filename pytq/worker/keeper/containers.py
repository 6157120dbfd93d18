"""Containers that must not outlive the lease, though neither keeper nor agent is their parent.

dockerd holds them. The keeper only remembers their names, and ends them when the server has not
been heard for too long, whether or not the agent lives.
"""

import _thread
import json
import socket
import time

from pytq.worker.keeper.tasks import Message, now

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL
RETRY_SECONDS = 5.0  # a dockerd that is away is asked again
ANSWER_SECONDS = 30.0
DONE = 204


class Guarded:
    """What the agent has said of its containers, by the ids of their steps."""

    def __init__(self) -> None:
        self.held: dict[str, Message] = {}
        self.lines: list[str] = []  # news, for the log and for the agent
        self.again_at = 0.0
        self.ending = False  # by a thread, which speaks with dockerd and waits
        self.answers: list[tuple[str, bool]] = []  # of that thread: whether it still ran

    @property
    def busy(self) -> bool:
        """Whether any of them may still run."""
        return any(not guard.get("over") for guard in self.held.values())

    def restore(self, records: dict[str, Message]) -> dict[str, Message]:
        """Take over what the log of the keeper before says of containers; returns the rest."""
        self.held = {name: r for name, r in records.items() if r["type"] == "guard"}
        return {name: r for name, r in records.items() if r["type"] != "guard"}

    def take(self, order: Message) -> None:
        """Guard a container, or note why it is being ended."""
        guard = self.held.setdefault(order["id"], {"since": now()})
        guard |= order
        self.lines.append(json.dumps(guard))

    def forget(self, names: list[str]) -> None:
        """The outcome of these is safe."""
        for name in names:
            self.held.pop(name, None)

    def states(self) -> list[Message]:
        """What an agent that has just connected must know."""
        return [{**guard, "ago": now() - guard["since"]} for guard in self.held.values()]

    def news(self) -> list[str]:
        """Lines since the last time."""
        lines, self.lines = self.lines, []
        return lines

    def check(self, deadline: float, grace: float = GRACE_SECONDS) -> None:
        """End them all once the lease has passed; the agent hears of it first."""
        while self.answers:
            self.hear(*self.answers.pop())
        if not deadline or now() < deadline or self.ending or now() < self.again_at:
            return
        due = [guard for guard in self.held.values() if not guard.get("over")]
        fresh = [guard for guard in due if not guard.get("cause")]
        for guard in fresh:
            self.take({"id": guard["id"], "cause": "lease"})
        if due and not fresh:
            self.ending = True
            left = max(0.0, min(grace, deadline + grace - now()))
            doors = [(guard["id"], guard["socket"], guard["name"]) for guard in due]
            _thread.start_new_thread(self.end, (doors, left))

    def hear(self, name: str, ran: bool) -> None:  # noqa: FBT001 - a queue's entry
        """One of them has ended; `ran`: through us."""
        guard = self.held.get(name)
        if guard is not None:
            guard["over"] = True
            if not ran and guard.get("cause") == "lease":
                guard["cause"] = ""  # it had ended by itself
            self.lines.append(json.dumps(guard))

    def patience(self, deadline: float) -> float:
        """How long the keeper may sleep on our account."""
        if self.ending or self.lines:
            return 0.5
        return max(0.5, min(RETRY_SECONDS, deadline - now())) if deadline else RETRY_SECONDS

    def end(self, due: list[tuple[str, str, str]], grace: float) -> None:
        """SIGTERM to all, SIGKILL after the grace. Runs in a thread."""
        try:
            running = []
            for name, door, container in due:
                status = signal(door, container, "SIGTERM")
                if status == DONE:
                    running.append((name, door, container))
                elif status:
                    self.answers.append((name, False))  # it had ended already
            if running:
                time.sleep(grace)
            for name, door, container in running:
                if signal(door, container, "SIGKILL"):
                    self.answers.append((name, True))
        finally:
            self.again_at = now() + RETRY_SECONDS
            self.ending = False


def signal(door: str, container: str, name: str) -> int:
    """Signal a container; dockerd's answer, 0 when it is away."""
    try:
        status = post(door, f"/containers/{container}/kill?signal={name}")
        post(door, f"/containers/{container}/unpause")  # what is frozen hears nothing
    except OSError:
        return 0
    return status


def post(door: str, path: str) -> int:
    """Ask dockerd to do something; the status of its answer. OSError when it is away."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as one:
        one.settimeout(ANSWER_SECONDS)
        one.connect(door)
        one.sendall(f"POST {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n".encode())
        answer = one.recv(64)
    try:
        return int(answer.split(b" ", 2)[1])
    except (IndexError, ValueError):
        raise ConnectionError("dockerd hung up") from None
