"""Workers come in with a worker's token, and with nothing else."""

import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from door_parts import eventually
from system import System


def start(system: System, name: str, token: str | None) -> "subprocess.Popen[bytes]":
    """A worker that has nothing to pick up."""
    system.env["XDG_DATA_HOME"] = str(system.folder / "elsewhere")
    if token is not None:
        system.env["PYTQ_TOKEN"] = token
    return system.start_worker(name=name)


def made(system: System, name: str, role: str) -> str:
    return system.run("token", "create", name, "--role", role).stdout.decode().strip()


@pytest.mark.parametrize(
    ("role", "said"),
    [
        (None, "it does not know this worker's token, or none was given"),
        ("wrong", "it does not know this worker's token, or none was given"),
        ("admin", "this token is not a worker's"),
        ("viewer", "this token is not a worker's"),
    ],
)
def test_others_are_turned_away_for_good(system: System, role: str | None, said: str) -> None:
    """A worker that cannot come in ends at once and says what to do; it does not knock for ever."""
    token = "pytq_" + "x" * 43 if role == "wrong" else role and made(system, "someone", role)

    worker = start(system, "w", token)

    assert worker.wait(20) == 1
    assert said in system.log("w")
    assert "pytq token create NAME --role worker" in system.log("w")
    assert "Traceback" not in system.log("w")


def test_a_worker_with_its_token_works(system: System) -> None:
    """A join token is all that a worker on another machine needs."""
    task = system.run("launch", "true").stdout.decode().strip()
    admin = made(system, "boss", "admin")
    start(system, "w", made(system, "node1", "worker"))
    system.env["PYTQ_TOKEN"] = admin

    shown = system.run("launch", "-R", task, "--wait", "echo", "worked")

    assert shown.stdout == b"worked\n", system.log("w")


def test_revoking_turns_a_worker_out(system: System, tmp_path: Path) -> None:
    """A worker whose token is revoked is cut off at once, and ends with the reason."""
    admin = made(system, "boss", "admin")
    worker = start(system, "w", made(system, "node1", "worker"))
    system.env["PYTQ_TOKEN"] = admin
    assert system.run("launch", "--wait", "true").returncode == 0

    assert system.run("token", "revoke", "node1").returncode == 0

    assert worker.wait(20) == 1
    assert "it does not know this worker's token" in system.log("w")


def test_tokens_never_reach_a_keeper(system: System) -> None:
    """The process that starts tasks has nothing of the worker's environment."""
    worker = start(system, "w", made(system, "node1", "worker"))
    children = eventually(lambda: psutil.Process(worker.pid).children(recursive=True))
    for child in children:
        assert "PYTQ_TOKEN" not in child.environ()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
