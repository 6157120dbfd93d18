"""`pytq recruit|job`, `worker release`, `task explain`, `batch failures`: against a real server."""

import json
import uuid
from typing import Any

import pytest


@pytest.fixture
def batch() -> str:
    """A batch of the test's own: the server is shared."""
    return f"r{uuid.uuid4().hex[:10]}"


def test_workers_come_work_and_go(run: Any, server: str, batch: str) -> None:
    """From the list of flavors to the release: what an operator types, and sees."""
    flavors = run("recruit", "--list", server=server).stdout
    assert "local" in flavors
    assert "whole" in flavors

    came = run("recruit", "-b", batch, "-f", "whole", "-c", "1", "-w", server=server)
    assert came.returncode == 0, came.stderr
    assert f"recruit 1 of local/whole into {batch}" in came.stdout
    assert "succeeded: 1 of 1 came" in came.stdout
    job = came.stdout.split()[1].rstrip(":")
    shown = json.loads(run("job", "show", job, "--json", server=server).stdout)
    [worker] = shown["workers"]
    assert f"{worker} is online" in run("job", "log", job, server=server).stdout
    assert job in run("job", "list", server=server).stdout

    failing = run("launch", "-b", batch, "-w", "sh", "-c", "exit 9", server=server)
    assert failing.returncode == 9
    failures = json.loads(run("batch", "failures", batch, "--json", server=server).stdout)
    assert [(one["exit_code"], one["count"]) for one in failures] == [(9, 1)]
    assert "exit" in run("batch", "failures", batch, server=server).stdout
    listed = run("task", "list", "--worker", worker, "--search", "exit 9", server=server).stdout
    assert "sh -c 'exit 9'" in listed

    gone = run("worker", "release", worker, "-w", server=server)
    assert gone.returncode == 0, gone.stderr
    assert f"succeeded: {worker} is gone" in gone.stdout
    assert worker not in run("worker", "list", server=server).stdout


def test_a_task_is_explained(run: Any, server: str, batch: str) -> None:
    """Why it is not running, in a sentence, or as the API says it."""
    task = run("launch", "-b", batch, "true", server=server).stdout.strip()
    said = run("task", "explain", task, server=server)
    told = json.loads(run("task", "explain", task, "--json", server=server).stdout)

    assert f"task {task}: there is no worker in batch {batch}" in said.stdout
    assert told == {"task": int(task), "summary": told["summary"], "workers": []}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["recruit", "-P", "nobody"], 1, "there is no provider"),
        (["recruit", "-f", "huge"], 1, "choose one of"),
        (["recruit", "-n", "1000"], 1, "recruit fewer"),
        (["recruit", "-n", "0"], 2, "no number from 1 on"),
        (["recruit", "-b", "x y"], 2, "batch: "),
        (["job", "show", "999"], 1, "there is no job 999"),
        (["job", "log", "999"], 1, "there is no job 999"),
        (["job", "cancel", "999"], 1, "there is no job 999"),
        (["worker", "release", "nobody"], 1, "there is no worker"),
        (["task", "explain", "999999"], 1, "there is no task"),
        (["batch", "failures", "nothing"], 1, "there is no batch"),
    ],
)
def test_mistakes_are_told(run: Any, server: str, words: list[str], code: int, said: str) -> None:
    """A mistake is answered with a sentence, never with a traceback."""
    done = run(*words, server=server)

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
