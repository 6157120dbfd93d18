"""`pytq launch`: what is typed is what is queued, quickly, and what is wrong is said kindly."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytq.cli import launch

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
OPTIONS = st.sampled_from(
    [["-b", "t"], ["-bt"], ["--batch=t"], ["-n", "x"], ["-w"], ["-wn", "x"], ["-e", "A=-b"], []]
)


@given(OPTIONS, WORDS.filter(lambda word: not word.startswith("-")), st.lists(WORDS))
def test_command_is_kept_byte_by_byte(options: list[str], first: str, rest: list[str]) -> None:
    """Whatever words follow the first one that is no option, the task runs exactly those."""
    args, command = launch.read([*options, first, *rest])

    sent = json.loads(json.dumps(launch.task_of(args, command)))
    assert [first, *rest] == sent["command"]


@given(OPTIONS, st.lists(WORDS, min_size=1))
def test_two_dashes_end_the_options(options: list[str], words: list[str]) -> None:
    """After `--` everything is the command, even what looks like an option of ours."""
    args, command = launch.read([*options, "--", *words])

    assert words == launch.task_of(args, command)["command"]


def test_options_become_fields(run: Any) -> None:
    """Each option says one thing of the task, and -t shows all of it without sending."""
    words = ["-b", "B", "-n", "N", "-d", "alpine:latest", "-i", "file:///a file:///b"]
    words += ["-i", "file:///c", "-r", "s3://db/x|gunzip", "-o", "file:///out/", "-e", "A=b=c"]
    words += ["-R", "1,2", "-R", "3 4", "--priority", "-5", "--retry", "2", "--timeout", "1.5"]
    words += ["--download-timeout", "60", "--disk", "1G", "--gpus", "1", "-u", "1000", "-g", "100"]
    words += ["-O", "--shm-size=2g --init", "-O", "gpus=all", "-O--network none"]
    words += ["--cpus", "2", "--mem", "4G", "--tag", "k=v", "-t", "sh", "-c", "echo 'a b' -d"]

    done = run("launch", *words)

    assert json.loads(done.stdout) == {
        "command": ["sh", "-c", "echo 'a b' -d"],
        "batch": "B",
        "name": "N",
        "container": "alpine:latest",
        "container_options": ["--shm-size=2g", "--init", "--gpus=all", "--network=none"],
        "inputs": ["file:///a", "file:///b", "file:///c"],
        "resources": ["s3://db/x|gunzip"],
        "output": "file:///out/",
        "env": {"A": "b=c"},
        "requirements": [1, 2, 3, 4],
        "priority": -5,
        "retries": 2,
        "timeouts": {"run": 1.5, "download": 60.0},
        "request": {"cpus": 2.0, "memory": 4 * 1024**3, "disk": 1024**3, "gpus": 1},
        "uid": 1000,
        "gid": 100,
        "tags": {"k": "v"},
    }
    assert "sh -c 'echo '\"'\"'a b'\"'\"' -d'" in done.stderr


def test_words_for_the_image_need_no_command_first(run: Any) -> None:
    """`-d pigz -p $CPU -r FILE` hands the image's own program exactly those words."""
    done = run("launch", "-b", "b", "-d", "pigz", "-t", "-p", "$CPU", "-r", "/data/x")

    sent = json.loads(done.stdout)
    assert sent == {"command": ["-p", "$CPU", "-r", "/data/x"], "container": "pigz", "batch": "b"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMMAND is missing"),
        (["-p", "3", "x"], "unrecognized arguments: -p"),
        (["-d", "i", "-O", "'", "x"], "close the quote"),
        (["-u", "me", "x"], "no number"),
        (["-b", "t"], "COMMAND is missing"),
        (["-o", "file:///a/", "-o", "file:///b/", "x"], "given twice"),
        (["-e", "A", "x"], "write KEY=VALUE"),
        (["-R", "one", "x"], "no list of task ids"),
        (["--mem", "4X", "x"], "512M or 4G"),
        (["--cpus", "nan", "x"], "no number"),
        (["-s", "a:b:c!", "x"], "host:port or URL"),
        (["-s", "host:99999", "x"], "a port is a number"),
        (["--bat", "t", "x"], "--bat"),
        (["sh", b"caf\xe9"], "not valid UTF-8"),
    ],
)
def test_usage_errors_are_one_sentence(run: Any, words: list[Any], said: str) -> None:
    """A slip of the hand is answered with one sentence that says what to do, and code 2."""
    done = run("launch", *words)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_server_is_one_sentence(run: Any, port: int) -> None:
    """A server that is not there is told of, with what to do, and without a traceback."""
    done = run("launch", "-s", f"127.0.0.1:{port}", "true")

    assert done.returncode == 1
    assert f"cannot reach the PYTQ server at 127.0.0.1:{port}" in done.stderr
    assert "pytq server" in done.stderr
    assert "Traceback" not in done.stderr


def test_launch_imports_nothing_heavy() -> None:
    """A launch stays within the standard library, even where it waits for the task."""
    code = (
        "import sys; from pytq.cli import main; main.main(['launch', '-t', 'x']);"
        "import pytq.cli.follow;"
        "bad = {'pydantic', 'aiohttp', 'rich', 'asyncio', 'textual', 'sqlalchemy'};"
        "sys.exit(', '.join(bad & set(sys.modules)) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[1:] == []
    assert done.returncode == 0


def test_a_lost_reply_is_asked_for_with_the_same_key(run: Any, script: Any) -> None:
    """When the connection breaks, launch tries again with the same key: one task, one id."""
    script.answers = [None, (503, {"message": "busy"}), (201, {"ids": [17], "repeated": True})]

    done = run("launch", "true", server=script.address)

    assert done.stdout == "17\n"
    assert len(script.seen) == 3
    assert len({request["key"] for request in script.seen}) == 1
    assert script.seen[0]["key"]


def test_problems_are_shown_with_field_and_cure(run: Any, script: Any) -> None:
    """What the server refuses is shown with its field and its cure, control characters tamed."""
    problem = {"message": "no \x1b[31m such image", "field": "container", "cure": "write NAME:TAG"}
    script.answers = [(422, problem)]

    done = run("launch", "true", server=script.address)

    assert done.returncode == 1
    assert done.stderr == ("pytq launch: container: no \\x1b[31m such image; write NAME:TAG\n")


def part(stream: str, offset: int, data: bytes) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    return {"stream": stream, "offset": offset, "next_offset": offset + len(data), "data": text}


def news(status: str, attempt: int, *parts: dict[str, Any], **more: Any) -> tuple[int, Any]:
    base = {"status": status, "reason": None, "attempt": attempt, "exit_code": None}
    return 200, {**base, "parts": list(parts), **more}


def test_wait_passes_output_and_exit_code_on(run: Any, script: Any) -> None:
    """With --wait, streams and exit code are the task's own; a second try starts from zero."""
    script.answers = [
        (201, {"ids": [5], "repeated": False}),
        news("active", 1, part("stdout", 0, b"one\n"), part("stderr", 0, b"oops\n")),
        news("active", 2, part("stdout", 0, b"two\n")),
        news("active", 2, part("stdout", 104, b"three\n")),
        news("failed", 2, exit_code=7, reason={"cause": "exit", "detail": "exit code 7"}),
    ]

    done = run("launch", "-w", "true", server=script.address)

    assert done.stdout == "one\ntwo\nthree\n"
    assert done.returncode == 7
    assert "oops\n" in done.stderr
    assert "100 bytes of stdout were not kept" in done.stderr
    assert "task 5 failed: exit code 7" in done.stderr
    asked = [request["what"].partition("?")[2] for request in script.seen[1:]]
    assert asked[0].startswith("attempt=0&stdout=0&stderr=0&")
    assert asked[1].startswith("attempt=1&stdout=4&stderr=5&")
    assert asked[2].startswith("attempt=2&stdout=4&stderr=0&")


def test_wait_tells_why_nothing_happens(run: Any, script: Any) -> None:
    """Who waits for a task that nobody runs is told why, again only when that changes."""
    reasons = ["there is no worker in batch b", "every worker is busy; 12 go first"]
    reasons.append(reasons[-1].replace("12", "1,011"))
    script.answers = [(201, {"ids": [5]})]
    for why in reasons:
        script.answers += [news("pending", 0), (200, {"task": 5, "summary": why, "workers": []})]
    script.answers += [news("pending", 0), (403, {}), news("succeeded", 1, exit_code=0)]

    done = run("launch", "-w", "true", server=script.address)

    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "not started" in line] == [
        f"pytq: task 5 has not started yet: {why}" for why in reasons[:2]
    ]


@pytest.mark.parametrize(
    ("status", "exit_code", "code"),
    [("succeeded", 0, 0), ("failed", None, 1), ("cancelled", None, 130), ("failed", -10, 138)],
)
def test_wait_ends_as_the_task_ends(
    run: Any, script: Any, status: str, exit_code: int | None, code: int
) -> None:
    """However a task ends, a shell can tell from the exit code."""
    script.answers = [(201, {"ids": [5]}), news(status, 1, exit_code=exit_code)]

    done = run("launch", "-w", "true", server=script.address)

    assert done.returncode == code


def test_the_token_is_sent(script: Any) -> None:
    """PYTQ_TOKEN goes with every launch as a bearer token."""
    script.answers = [(201, {"ids": [1]})]
    environment = {**os.environ, "PYTQ_TOKEN": "secret", "PYTQ_SERVER": f"http://{script.address}/"}

    subprocess.run(
        [sys.executable, "-m", "pytq.cli.launch", "true"],
        env=environment,
        check=True,
        capture_output=True,
    )

    assert script.seen[0]["token"] == "Bearer secret"  # noqa: S105 - a test's own


def test_ctrl_c_leaves_the_task_alone(script: Any) -> None:
    """Ctrl-C while waiting says that the task goes on and how to cancel it."""
    script.answers = [(201, {"ids": [5]}), "hang"]
    child = subprocess.Popen(
        [sys.executable, "-m", "pytq.cli.main", "launch", "-s", script.address, "-w", "true"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(script.seen) < 2:
        time.sleep(0.02)

    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=20)

    assert child.returncode == 130
    assert "pytq task cancel 5" in said
    assert "Traceback" not in said
