"""Secrets in the environment stay there: a whole stack runs with canaries, then all is searched."""

import asyncio
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from door_parts import everything_in
from system import System

from pytq import redaction

ROOT = Path(__file__).parents[2]
CANARIES = {
    "AWS_ACCESS_KEY_ID": "canary-aws-id-4711",
    "AWS_SECRET_ACCESS_KEY": "canary-aws-secret-4711",
    "AWS_SESSION_TOKEN": "canary-aws-session-4711",
    "OS_PASSWORD": "canary-openstack-4711",
    "OS_TOKEN": "canary-openstack-token-4711",
    "MY_API_TOKEN": "canary-api-4711",
}
DATABASE = "canary-database-4711"
SNOOP = """
env
for who in self $PPID
do
  tr '\\0' '\\n' < /proc/$who/environ
  tr '\\0' ' ' < /proc/$who/cmdline
done
cat "$0" 2>/dev/null
ls -la /proc/self/fd
"""


@pytest.fixture
async def stack(tmp_path: Path, database_uri: str) -> AsyncIterator[System]:
    """Server and worker with canaries in their environment, logging all there is."""
    uri = database_uri.replace("pytq@", f"pytq:{DATABASE}@")  # where there is a user at all
    system = System(tmp_path, uri)
    system.env |= CANARIES | {"PYTQ_LOG_LEVEL": "DEBUG"}
    try:
        await asyncio.to_thread(system.start_server)
        yield system
    finally:
        await asyncio.to_thread(system.stop)


def canaries_in(text: str, *more: str) -> list[str]:
    return [canary for canary in (*CANARIES.values(), DATABASE, *more) if canary in text]


async def test_no_canary_leaves_its_cage(stack: System, database_uri: str) -> None:
    """Not in the database, logs, events, answers, command lines, nor in what a task can see."""
    local = json.loads((stack.folder / "data" / f"access-{stack.port}.json").read_text())["tokens"]
    joined = stack.run("token", "create", "node", "--role", "worker").stdout.decode().strip()
    admin = stack.run("token", "create", "boss", "--role", "admin").stdout.decode().strip()
    tokens = [*local.values(), joined, admin]
    stack.env["PYTQ_TOKEN"] = joined
    worker = stack.start_worker()
    stack.env["PYTQ_TOKEN"] = admin

    seen = stack.run("launch", "--wait", "sh", "-c", SNOOP)
    failed = stack.run("launch", "--wait", "sh", "-c", "exit 3")
    sleeping = stack.run("launch", "sleep", "300").stdout.decode().strip()
    stack.env["PYTQ_TOKEN"] = f"{admin}x"
    refused = stack.run("task", "list")
    stack.env["PYTQ_TOKEN"] = admin

    assert (seen.returncode, failed.returncode, refused.returncode) == (0, 3, 1)
    assert b"PYTQ_TASK=" in seen.stdout
    everything = {
        "what a task sees": (seen.stdout + seen.stderr).decode(),
        "what is refused": (failed.stderr + refused.stderr).decode(),
        "the processes": processes(stack, worker.pid),
        "the answers": answers(stack, sleeping),
        "the server's log": stack.log("server"),
        "the worker's log": stack.log("w"),
        "the database": repr(await everything_in(database_uri)),
        "all their files": files(stack.folder, but=f"access-{stack.port}.json"),
    }
    escaped = {place: canaries_in(text, *tokens) for place, text in everything.items()}
    assert escaped == {place: [] for place in everything}
    assert all(everything.values()), "a place that is empty proves nothing"


def processes(stack: System, worker: int) -> str:
    """Command lines of all, and the environments of all but server and worker themselves."""
    assert stack.server is not None
    found = []
    for root in (stack.server.pid, worker):
        for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
            found.append(" ".join(process.cmdline()))
            if process.pid not in {stack.server.pid, worker}:
                found.append(repr(process.environ()))
    return "\n".join(found)


def answers(stack: System, task: str) -> str:
    """What the API tells an admin of everything."""
    words = [("task", "list"), ("task", "show", task), ("worker", "list"), ("batch", "list")]
    said = [stack.run(*each, "--json").stdout.decode() for each in (*words, ("token", "list"))]
    for path in ("events", "server", "executions", "openapi.json", "me"):
        place = "" if path == "openapi.json" else "api/v1/"
        request = urllib.request.Request(
            f"http://{stack.address}/{place}{path}",
            headers={"Authorization": f"Bearer {stack.env['PYTQ_TOKEN']}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http, above
            said.append(answer.read().decode())
    return "\n".join(said)


def files(folder: Path, but: str = "") -> str:
    found = [f for f in folder.rglob("*") if f.is_file() and f.name != but]
    return "\n".join(file.read_bytes().decode("latin-1") for file in found)


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://pytq:{DATABASE}@127.0.0.1:1/pytq",
        f"postgresql://pytq:{DATABASE}@/pytq?host=/nowhere",
        f"mysql://pytq:{DATABASE}@127.0.0.1/pytq",
        f"pytq:{DATABASE}@127.0.0.1",
    ],
)
def test_a_database_that_cannot_be_opened_keeps_its_password(tmp_path: Path, uri: str) -> None:
    """Whatever is wrong with the database, its password is not told."""
    done = subprocess.run(
        [sys.executable, "-m", "pytq.cli.main", "server", "--port", "0", "--data-dir", tmp_path],
        env={**os.environ, "SQLALCHEMY_DATABASE_URI": uri},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode
    assert DATABASE not in done.stdout + done.stderr
    assert done.stderr


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Authorization: Bearer abcdefghij.klm", "Authorization: Bearer [hidden]"),
        ("https://me:pass-word@host/x?y=1", "https://me:[hidden]@host/x?y=1"),
        ("postgresql+asyncpg://me:p%40ss@host/db", "postgresql+asyncpg://me:[hidden]@host/db"),
        (f"got pytq_{'x' * 43}, sorry", "got [hidden], sorry"),
        ("basic dXNlcjpwYXNz", "basic [hidden]"),
        ("the value is hunter22!", "the value is [hidden]!"),
        ("nothing to hide: http://host:80/a@b", "nothing to hide: http://host:80/a@b"),
        ("task 7 of batch pytq_small", "task 7 of batch pytq_small"),
    ],
)
def test_log_lines_are_redacted(line: str, shown: str) -> None:
    """What looks like a secret, or is known to be one, is hidden; the rest of the line stays."""
    assert redaction.redacted(line, ["hunter22"]) == shown


def test_secrets_are_known_by_name() -> None:
    """Passwords, secrets and tokens of the environment are known; ordinary values are not."""
    environment = {
        **CANARIES,
        "SQLALCHEMY_DATABASE_URI": "postgresql://me:p%40ssword@host/db",
        "HOME": "/home/me",
        "SHORT_PASSWORD": "abc",
        "TOKENIZER": "some/path",
    }
    known = {value for name, value in CANARIES.items() if name != "AWS_ACCESS_KEY_ID"}

    assert redaction.secrets_of(environment) == known | {"p@ssword"}


def test_tracebacks_are_redacted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that carries a secret is logged without it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger()
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setenv("MY_PASSWORD", "hunter22")
    # Hiding the tests' own process would hide it from the debugger.
    monkeypatch.setattr(redaction.ctypes, "CDLL", lambda _: None)
    redaction.keep_secrets()
    error = RuntimeError("cannot connect to ftp://me:hunter22@host with hunter22")
    logger.error("oh dear, %s", "hunter22", exc_info=error)

    assert "hunter22" not in stream.getvalue()
    assert "RuntimeError" in stream.getvalue()


PEEK = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pytq import redaction
redaction.keep_secrets()
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os.execv("/bin/cat", ["cat", f"/proc/{os.getppid()}/environ"])
"""


@pytest.mark.parametrize(("secret", "readable"), [(True, False), (False, True)])
def test_tasks_of_the_same_user_cannot_look_into_the_worker(secret: bool, readable: bool) -> None:
    """A process that holds secrets shows its environment to no other process of its user."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if os.geteuid() or python is None:
        pytest.skip("only root can become somebody who is not root")
    env = {"OS_PASSWORD": "canary-openstack-4711"} if secret else {"LANG": "C"}

    done = subprocess.run(
        [python, "-c", PEEK, str(ROOT)],
        user="nobody",
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert (done.returncode == 0) is readable, done.stderr
    assert "canary" not in done.stdout
    assert readable or "Permission denied" in done.stderr
