"""Steps in containers, by a real dockerd: what they are given and how they end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from private_docker import BUSYBOX, PrivateDocker
from scripted import ScriptedServer, succeeded

from pytq.schema.states import Cause, Outcome, Phase, Signal, Stream

Start = Callable[..., object]


def step(command: object, **more: object) -> dict[str, object]:
    options = ["--network=none", *more.pop("options", [])]  # type: ignore[misc]
    return {"command": command, "container": BUSYBOX, "container_options": options, **more}


async def test_a_container_runs(server: ScriptedServer, start: Start) -> None:
    """Both streams arrive apart, with the exit code; the worker said that it has Docker."""
    ref = server.add(steps=[step("echo out; echo err >&2; exit 3")])
    start()
    ended = await server.end_of(ref, 30)

    assert server.hellos[0].containers
    assert (ended.outcome, ended.cause, ended.exit_code) == (Outcome.FAILED, Cause.EXIT, 3)
    assert server.text(ref) == "out\n"
    assert server.text(ref, Stream.STDERR) == "err\n"
    assert (ended.stdout_bytes, ended.stderr_bytes) == (4, 4)


async def test_words_arrive_exactly(server: ScriptedServer, start: Start) -> None:
    """Each word of a command is what it was, byte by byte; no shell ever reads it."""
    words = ["", " a  b ", "'\"$(id)`", "\\n\t\n", "*", "ä€\U0001f600", "-x", "$HOME", "x" * 30_000]
    ref = server.add(steps=[step(["printf", "%s|", *words])])
    start()

    assert succeeded(await server.end_of(ref, 30))
    assert server.text(ref) == "".join(f"{word}|" for word in words)


async def test_bytes_arrive_exactly(server: ScriptedServer, start: Start) -> None:
    """Output that is no text, that ends in the middle of a line or never ends one, is kept."""
    ref = server.add(steps=[step("printf '\\377\\000\\n\\200'; head -c 100000 /dev/zero")])
    start()

    assert succeeded(await server.end_of(ref, 30))
    assert server.output[ref, Stream.STDOUT] == b"\xff\0\n\x80" + bytes(100_000)
