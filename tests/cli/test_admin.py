"""`pytq task|batch|worker`: what an operator sees and does, against a real server."""

import json
import subprocess
import sys
import uuid
from typing import Any

import pytest


@pytest.fixture
def batch() -> str:
    """A batch of the test's own: the server is shared."""
    return f"b{uuid.uuid4().hex[:10]}"


@pytest.fixture
def task(run: Any, server: str, batch: str) -> str:
    """A task that no worker will take."""
    done = run("launch", "-b", batch, "-n", "first [red]", "echo", "hi", server=server)
    return str(done.stdout).strip()


def test_tasks_are_listed_and_shown(run: Any, server: str, batch: str, task: str) -> None:
    """Lists and details show what is queued; what looks like markup stays text."""
    listed = run("task", "list", "-b", batch, "-S", "pending", server=server)
    shown = run("task", "show", task, server=server)

    assert task in listed.stdout
    assert "first [red]" in listed.stdout
    assert "echo hi" in shown.stdout
    assert run("task", "list", "-b", batch, "-S", "failed", server=server).stdout.count("\n") == 1


def test_json_is_the_apis_own(run: Any, server: str, batch: str, task: str) -> None:
    """--json prints what programs can read."""
    listed = json.loads(run("task", "list", "-b", batch, "--json", server=server).stdout)
    shown = json.loads(run("task", "show", task, "--json", server=server).stdout)

    assert listed == [shown]
    assert json.loads(run("batch", "list", "--json", server=server).stdout)
    assert json.loads(run("worker", "list", "--json", server=server).stdout) == []


def test_tasks_can_be_changed(run: Any, server: str, task: str) -> None:
    """Set, cancel, retry and delete do what they say, task by task."""
    run("task", "set", task, "-p", "7", "-c", "echo a | cat", server=server)
    shown = json.loads(run("task", "show", task, "--json", server=server).stdout)

    assert shown["priority"] == 7
    assert shown["spec"]["steps"][0]["command"] == "echo a | cat"
    assert run("task", "cancel", task, server=server).stdout == f"task {task}: cancelled\n"
    assert run("task", "retry", task, server=server).stdout == f"task {task}: pending\n"
    assert run("task", "delete", task, server=server).stdout == f"task {task}: deleted\n"
    gone = run("task", "show", task, server=server)
    assert gone.returncode == 1
    assert f"there is no task {task}" in gone.stderr


def test_one_refusal_does_not_stop_the_rest(run: Any, server: str, task: str) -> None:
    """Of several tasks, those that can be cancelled are; the others are told of."""
    done = run("task", "cancel", "999999", task, server=server)

    assert done.returncode == 1
    assert "there is no task 999999" in done.stderr
    assert f"task {task}: cancelled" in done.stdout


def test_batches_can_be_steered(run: Any, server: str, batch: str, task: str) -> None:
    """A batch pauses, goes on, is cancelled, tried again and deleted."""
    assert "paused" in run("batch", "pause", batch, server=server).stdout
    assert "paused" in run("batch", "show", batch, server=server).stdout
    assert "going" in run("batch", "go", batch, server=server).stdout
    assert "1 tasks cancelled" in run("batch", "cancel", batch, server=server).stdout
    assert run("batch", "retry", batch, server=server).returncode == 0
    assert "with 1 tasks" in run("batch", "delete", batch, server=server).stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["task", "set", "1"], 2, "say what to change"),
        (["worker", "set", "w"], 2, "say what to change"),
        (["task", "set", "1", "-b", "x y"], 2, "batch: "),
        (["worker", "pause", "nobody"], 1, "there is no worker"),
        (["worker", "forget", "a/../b"], 1, "name"),
        (["worker", "resources", "nobody"], 1, "there is no worker"),
        (["worker", "clean", "nobody"], 1, "there is no worker"),
        (["worker", "clean", "w", "--failed", "s3://bucket/x"], 2, "all or nothing"),
        (["worker", "pin", "nobody", "s3://bucket/x"], 1, "there is no worker"),
        (["worker", "x", "1", "--disk-high", "90"], 2, "write 0.9 for 90 %"),
        (["worker", "x", "1", "--transfers", "0"], 2, "at least 1"),
        (["batch", "go", "nothing"], 1, "there is no batch"),
    ],
)
def test_mistakes_are_told(run: Any, server: str, words: list[str], code: int, said: str) -> None:
    """A mistake is answered with a sentence, never with a traceback."""
    done = run(*words, server=server)

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_is_told(run: Any, port: int) -> None:
    """Without a server every verb says so and what to do."""
    done = run("task", "list", server=f"127.0.0.1:{port}")

    assert done.returncode == 1
    assert "start one with `pytq server`" in done.stderr
    assert "Traceback" not in done.stderr


def test_who_waits_hears_of_a_cancelled_task(run: Any, server: str, batch: str) -> None:
    """A launch that waits for a task ends when somebody else cancels that task."""
    words = ["launch", "-s", server, "-b", batch, "-w", "true"]
    waiting = subprocess.Popen(
        [sys.executable, "-m", "pytq.cli.main", *words], stderr=subprocess.PIPE, text=True
    )
    assert waiting.stderr is not None
    task = waiting.stderr.readline().split()[1]

    run("task", "cancel", task, server=server)
    _, said = waiting.communicate(timeout=10)

    assert waiting.returncode == 130
    assert f"task {task} cancelled" in said
