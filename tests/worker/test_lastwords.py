"""The last lines of a command's stderr, as part of the reason that people are told."""

import asyncio
from collections.abc import Callable

import pytest
from scripted import ScriptedServer

from pytq.schema.states import Cause
from pytq.worker.lastwords import CHARS, last_words

Start = Callable[..., "asyncio.Task[int]"]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"", ""),
        (b"\n \n\t\n", ""),
        (b"no such file\n", "no such file"),
        (b"one\ntwo\n\nthree\nfour", "two ⏎ three ⏎ four"),
        (b" 1%\r 50%\r100%\nfailed\r\n", "100% ⏎ failed"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x07\x00", "red ··"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe".encode(), "·gnp.exe"),
        (b"\xff\xfe half\xc3", "\ufffd\ufffd half\ufffd"),
    ],
)
def test_last_words_are_harmless(written: bytes, told: str) -> None:
    """The last three lines that say something, with nothing in them that a terminal obeys."""
    assert last_words(written) == told


def test_last_words_are_few() -> None:
    """Of a very long line its end is told."""
    said = last_words(b"x" * 5000 + b"end\n")

    assert len(said) == CHARS
    assert said.startswith("…x")
    assert said.endswith("end")


@pytest.mark.parametrize(
    ("command", "timeouts", "cause", "told"),
    [
        ("echo out; exit 3", {}, Cause.EXIT, "the command ended with exit code 3"),
        ("echo no disk >&2; exit 3", {}, Cause.EXIT, "exit code 3: no disk"),
        ("seq 9999 >&2; echo why >&2; exit 3", {}, Cause.EXIT, "exit code 3: 9998 ⏎ 9999 ⏎ why"),
        ("echo ouch >&2; kill -SEGV $$", {}, Cause.SIGNAL, "SIGSEGV: ouch"),
        ("echo slow >&2; sleep 9", {"run": 0.5}, Cause.TIMEOUT, "time limit: slow"),
        (["nonesuch"], {}, Cause.COMMAND, "command not found: nonesuch"),
    ],
)
async def test_a_failure_carries_its_last_words(
    server: ScriptedServer,
    start: Start,
    command: str | list[str],
    timeouts: dict[str, float],
    cause: Cause,
    told: str,
) -> None:
    """Why a command failed, as it said itself, is in the outcome; what it says otherwise is not."""
    ref = server.add(steps=[{"command": command}], timeouts=timeouts)
    start()
    ended = await server.end_of(ref)

    assert ended.cause is cause
    assert ended.detail.endswith(told)


async def test_success_says_nothing(server: ScriptedServer, start: Start) -> None:
    """What a command that succeeded wrote to stderr explains nothing."""
    ref = server.add("echo chatter >&2")
    start()

    assert (await server.end_of(ref)).detail == ""


async def test_only_the_step_that_failed_is_heard(server: ScriptedServer, start: Start) -> None:
    """What an earlier step wrote to stderr does not explain why a later one failed."""
    steps = [{"command": "echo harmless >&2"}, {"command": "echo fatal >&2; exit 3"}]
    silent = [{"command": "echo harmless >&2"}, {"command": "exit 3"}]
    refs = [server.add(steps=each) for each in (steps, silent)]
    start()

    assert (await server.end_of(refs[0])).detail == "step 2 ended with exit code 3: fatal"
    assert (await server.end_of(refs[1])).detail == "step 2 ended with exit code 3"
