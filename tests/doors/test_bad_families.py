"""Families of bad input that the tables of tests/api leave out, through the whole server.

What is refused names the field; what is not is harmless and kept as it is. Never a 5xx.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from door_parts import House
from system import System

URIS = [
    "s3://bucket/../../x",
    "s3://bucket/a/%2e%2e%2fb",
    "s3://bucket/%2e%2e/b",
    "s3://bucket/a\\..\\b",
    "s3:///nokey",
    "s3://b/x",
    "s3://bu cket/x",
    "s3://buck\net/x",
    "s3://BUCKET/x",
    "s3://-bucket/x",
    "s3://user:pass@bucket/x",
    "file://etc/passwd",
    "file:///a/../etc/passwd",
    "file:///a/./b",
    "file:///a%00b",
    "file:relative",
    "ftp://user:pass@host/x",
    "ftp://host/a%0d%0aDELE%20b",
    "ftp://host:99999999/x",
    "ftp://ho st/x",
    "http://user@host/x",
    "http://[::1/x",
    "http:///x",
    "gopher://host/x",
    "javascript:alert(1)",
    "data:text/plain,hello",
    "-rf",
    "--output=/x",
    "run+fastq://SRR1;rm -rf/",
    "run+fastq://ERR%0a/",
    "run+fastq://../../x",
    "run+fastq://srr890934/",
    "run+fastq://SRR890934/../x",
    "s3://bucket/x|gunzip|sh",
    "s3://bucket/x|sh",
    "s3://bucket/x|gunzip;sh",
    "s3://bucket/x|mv:/etc",
    "s3://bucket/x|mv:../x",
    "s3://bucket/x|mv:",
    "s3://bucket/x|gunzip\n",
    "x" * 5_000,
    "",
    "\u202es3://bucket/x",
]


@pytest.mark.parametrize("field", ["inputs", "resources", "output"])
async def test_a_senseless_uri_is_refused_by_name(small_house: House, field: str) -> None:
    """What no worker could fetch, or should, is refused when it is submitted."""
    for uri in URIS:
        given = uri if field == "output" else [uri]
        status, problem = await small_house.ask(
            "POST", "/tasks", json={"command": "x", field: given}
        )

        assert (status, problem["code"]) == (422, "invalid"), uri
        assert problem["field"].split(".")[0] == field, uri
        assert "validation error" not in problem["message"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"output": "http://host/x/"}, "output"),
        ({"output": "run+fastq://SRR890934/"}, "output"),
        ({"inputs": ["file:///a/x", "file:///b/x"]}, "inputs"),
        ({"container": "alpine", "container_options": ["a\0"]}, "container_options.0"),
        ({"container": "a" * 600}, "container"),
        ({"container": "alpine\nx"}, "container"),
        ({"container": "../alpine"}, "container"),
        ({"container": "{{ 7*7 }}"}, "container"),
        ({"env": {"A=B": "x"}}, "env.A=B"),
        ({"env": {"": "x"}}, "env."),
        ({"env": {"A": "x" * 40_000}}, "env.A"),
        ({"env": {f"V{i}": "x" for i in range(600)}}, "env"),
        ({"tags": {f"t{i}": "x" for i in range(60)}}, "tags"),
        ({"uid": -1}, "uid"),
        ({"uid": 2**31}, "uid"),
        ({"uid": "root"}, "uid"),
        ({"requirements": [0]}, "requirements.0"),
        ({"requirements": [99]}, "requirements"),
        ({"requirements": list(range(1, 10_002))}, "requirements"),
        ({"priority": 2**40}, "priority"),
        ({"request": {"memory": 2**60}}, "request.memory"),
        ({"request": {"cpus": -0.5}}, "request.cpus"),
        ({"timeouts": {"run": 0}}, "timeouts.run"),
        ({"timeouts": {"run": 1e12}}, "timeouts.run"),
        ({"run_when": "banana"}, "run_when"),
        ({"steps": [{"command": "y"}]}, None),
        ({"command": "  \t"}, None),
        ({"command": [""]}, None),
        ({"mounts": [{"path": "/input/../etc", "content": "x"}]}, "mounts.0.path"),
        ({"mounts": [{"path": "relative", "content": "x"}]}, "mounts.0.path"),
        ({"mounts": [{"path": "/input/x"}]}, "mounts.0"),
        ({"mounts": [{"path": "/input/x", "content": "x" * 300_000}]}, "mounts.0.content"),
        ({"outputs": [{"path": "/output//x", "destination": "s3://bucket/x"}]}, "outputs.0.path"),
        ({"owner": "somebody"}, "owner"),
        ({"status": "succeeded"}, "status"),
        ({"attempt": 7}, "attempt"),
    ],
)
async def test_a_senseless_task_is_refused_by_name(
    small_house: House, fields: dict[str, Any], field: str | None
) -> None:
    """A task that cannot be, or that claims what only the server may say, is refused."""
    status, problem = await small_house.ask("POST", "/tasks", json={"command": "x", **fields})

    assert (status, problem["field"]) == (422, field), problem


@pytest.mark.parametrize(
    "fields",
    [
        {"command": ["x", ""]},
        {"command": "\x1b]0;x\x07\r\n\t"},
        {"command": ["x", "\u202e", "é\U0001f4a3"]},
        {"command": "x", "name": "Z\u0351\u036b\u0343\u036a" * 20},
        {"command": "x", "env": {"LD_PRELOAD": "/x", "PATH": "", "A": "new\nline"}},
        {"command": "x", "tags": {"b": "<b>{{ 7*7 }}"}},
        {"command": "x" * 60_000},
        {"command": ["x"] * 9_000},
    ],
)
async def test_what_is_odd_but_harmless_is_kept_as_it_is(
    house: House, fields: dict[str, Any]
) -> None:
    """Any text may be a command's word: it is stored, shown and found again unchanged."""
    task = await house.submit(**fields)

    status, shown = await house.ask("GET", f"/tasks/{task}")
    step = shown["spec"]["steps"][0]

    assert status == 200
    assert step["command"] == fields["command"]
    assert step.get("env", {}) == fields.get("env", {})
    assert (shown["name"], shown["tags"]) == (fields.get("name"), fields.get("tags", {}))


async def test_what_has_ended_stays_ended(house: House) -> None:
    """Cancelling twice, retrying what runs not, signalling nothing: 409 or 404, in words."""
    task = await house.submit()
    statuses = [(await house.ask("POST", f"/tasks/{task}/cancel"))[0] for _ in range(3)]
    assert statuses == [200, 409, 409]
    for method, path, body, expected in (
        ("POST", f"/executions/{task}.1/signal", {"signal": "kill"}, 404),
        ("POST", f"/executions/{task}.1/signal", {"signal": "KILL"}, 422),
        ("POST", f"/executions/{task}.0/signal", {"signal": "kill"}, 422),
        ("GET", f"/executions/{task}.{2**53}/stdout", None, 422),
        ("GET", f"/executions/{task}.{2**53 - 1}/stdout", None, 404),
        ("POST", "/tasks/99/cancel", None, 404),
        ("POST", "/tasks/99/retry", None, 404),
        ("DELETE", "/tasks/99", None, 404),
        ("PATCH", f"/tasks/{task}", {"status": "active"}, 422),
        ("PATCH", f"/tasks/{task}", {}, 200),
        ("DELETE", f"/tasks/{task}", None, 204),
        ("DELETE", f"/tasks/{task}", None, 404),
        ("POST", "/tasks/wait", {"ids": [task]}, 404),
        ("POST", "/tasks/wait", {"ids": []}, 422),
        ("POST", "/tasks/wait", {"ids": [1], "timeout": 1e9}, 422),
        ("GET", "/batches/nowhere", None, 404),
        ("POST", "/batches/nowhere/cancel", None, 404),
        ("DELETE", "/workers/nobody", None, 404),
        ("PATCH", "/workers/nobody", {"concurrency": 0}, 404),
        ("POST", "/workers/nobody/clean", {"what": ["everything"]}, 422),
    ):
        status, said = await house.ask(method, path, json=body)
        assert status == expected, (method, path, said)


async def test_the_same_key_for_another_body_is_refused(house: House) -> None:
    """A key that was used for one request is not taken for another one."""
    key = {"Idempotency-Key": "k"}
    first = await house.ask("POST", "/tasks", json={"command": "x"}, headers=key)
    again = await house.ask("POST", "/tasks", json={"command": "x"}, headers=key)
    other = await house.ask("POST", "/tasks", json={"command": "y"}, headers=key)

    assert (first[1]["ids"], again[1]["ids"], again[1]["repeated"]) == ([1], [1], True)
    assert (other[0], other[1]["field"]) == (409, "Idempotency-Key")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lease-seconds", "0"], "lease_seconds"),
        (["--lease-seconds", "1e9"], "lease_seconds"),
        (["--lease-seconds", "nan"], "lease_seconds"),
        (["--port", "-1"], "port"),
        (["--port", "70000"], "port"),
        (["--log-level", "LOUD"], "log_level"),
        (["--data-dir", "/proc/nowhere"], "--data-dir"),
        (["--host", "no such host"], "cannot listen on no such host"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    ],
)
def test_a_server_cannot_be_started_senselessly(
    tmp_path: Path, options: list[str], said: str
) -> None:
    """A setting that makes no sense is named, and the server does not start."""
    base = ["--port", "0", "--data-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytq.cli.main", "server", *base, *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-d", "alpine --privileged", "true"], "container"),
        (["-d-v/:/host", "true"], "container"),
        (["-d", "alpine;id", "true"], "container"),
        (["-i", "s3://bucket/../x", "true"], "'.' and '..' are not allowed"),
        (["-i", "http://user:pass@host/x", "true"], "no passwords in URIs"),
        (["-o", "http://host/x/", "true"], "output"),
        (["-b", "a/b", "true"], "batch"),
        (["-n", "x\x1b[31m", "true"], "name"),
        (["-e", "LD PRELOAD=x", "true"], "env"),
        (["--timeout", "-1", "true"], "timeouts.run"),
        (["--retry", "1000000000", "true"], "retries"),
        (["--mem", "9999999T", "true"], "request.memory"),
        (["-R", "0", "true"], "requirements"),
        (["x" * 70_000], "command"),
        (["true", "x" * 100_000], "command"),
    ],
)
def test_a_senseless_launch_is_told(guest: System, words: list[str], said: str) -> None:
    """What the server refuses is told in a sentence that names what is meant."""
    done = guest.run("launch", *words)

    assert done.returncode in {1, 2}
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stderr
    assert done.stdout == b""


def test_bytes_that_are_no_text_are_told(guest: System) -> None:
    """A word that is not UTF-8 cannot travel in JSON, and that is said before anything is sent."""
    for words in (["printf", b"\xff\xfe"], ["-n", b"\xff", "true"], ["-e", b"A=\xff", "true"]):
        done = subprocess.run(
            [sys.executable, "-m", "pytq.cli.main", "launch", *words],
            env=guest.env,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert b"not valid UTF-8" in done.stderr


def test_what_terminals_obey_is_shown_harmlessly(guest: System) -> None:
    """Escape sequences in commands and tags reach a terminal as text."""
    task = guest.run("launch", "--tag", "k=[bold]x", "printf", "\x1b]0;evil\x07\u202e").stdout
    for words in (
        ("list",),
        ("show", task.decode().strip()),
        ("show", task.decode().strip(), "--json"),
    ):
        shown = guest.run("task", *words).stdout
        assert b"\x1b" not in shown
        assert b"\x07" not in shown
        if "--json" in words:
            assert json.loads(shown)["spec"]["steps"][0]["command"][1] == "\x1b]0;evil\x07\u202e"
        else:
            assert "\u202e".encode() not in shown
