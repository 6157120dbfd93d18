"""A whole worker against a server that follows a script: real link, journal, keeper, processes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted import ScriptedServer, succeeded

from pytq.schema import limits
from pytq.schema.frames import Turned
from pytq.schema.states import Cause, Outcome, Phase, Signal, Stream
from pytq.schema.views import WorkerSettings
from pytq.worker.agent import WorkerError

Start = Callable[..., "asyncio.Task[int]"]


async def test_a_task_runs(server: ScriptedServer, start: Start) -> None:
    """A lease comes in, its command runs, output and outcome are told."""
    ref = server.add("echo out; echo err >&2")
    start()
    ended = await server.end_of(ref)

    assert succeeded(ended)
    assert ended.exit_code == 0
    assert ended.running is not None
    assert (ended.stdout_bytes, ended.stderr_bytes) == (4, 4)
    assert server.text(ref) == "out\n"
    assert server.text(ref, Stream.STDERR) == "err\n"


@pytest.mark.parametrize(
    ("task", "outcome", "cause", "said"),
    [
        ({"command": "exit 3"}, Outcome.FAILED, Cause.EXIT, "exit code 3"),
        ({"command": "kill -SEGV $$"}, Outcome.FAILED, Cause.SIGNAL, "SIGSEGV"),
        ({"command": ["xyz"]}, Outcome.FAILED, Cause.COMMAND, "command not found: xyz"),
        (
            {"steps": [{"command": "true", "workdir": "/data"}]},
            Outcome.FAILED,
            Cause.COMMAND,
            "/data",
        ),
        (
            {"command": "true", "mounts": [{"source": "file:///none", "path": "/input/x"}]},
            Outcome.FAILED,
            Cause.INPUT,
            "file:///none",
        ),
        (
            {"command": "true", "mounts": [{"content": "x", "path": "/etc/x"}]},
            Outcome.FAILED,
            Cause.COMMAND,
            "/etc/x",
        ),
        (
            {"command": "sleep 977.1", "timeouts": {"run": 0.2}},
            Outcome.FAILED,
            Cause.TIMEOUT,
            "time limit",
        ),
        (
            {"command": "true", "outputs": [{"path": "/output/x", "destination": "file:///tmp/x"}]},
            Outcome.FAILED,
            Cause.OUTPUT,
            "No such file",
        ),
    ],
)
async def test_a_failure_says_why(
    server: ScriptedServer,
    start: Start,
    task: dict[str, object],
    outcome: Outcome,
    cause: Cause,
    said: str,
) -> None:
    """Each way to fail has its outcome, its cause and a sentence that names the culprit."""
    ref = server.add(**task)  # type: ignore[arg-type]
    start()
    ended = await server.end_of(ref)

    assert (outcome, cause) == (ended.outcome, ended.cause)
    assert said in ended.detail


async def test_steps_inputs_and_outputs(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    """Steps run in order over staged inputs; success comes when the output is in its place."""
    (tmp_path / "in").write_text("5\n")
    ref = server.add(
        steps=[
            {"command": "cat $INPUT/in > /dev/stdout; false", "ignore_error": True},
            {"command": ["cat"], "stdin": "/input/in", "stdout": "/output/deep/copy"},
            {"command": "pwd; cat script", "workdir": "/work", "env": {"X": "y"}},
        ],
        mounts=[
            {"source": f"file://{tmp_path}/in", "path": "/input/in"},
            {"content": "literal", "path": "/work/script"},
        ],
        outputs=[{"path": "/output", "destination": f"file://{tmp_path}/out/", "directory": True}],
    )
    start()
    ended = await server.end_of(ref)

    assert succeeded(ended), ended
    assert (tmp_path / "out/deep/copy").read_text() == "5\n"
    assert server.text(ref).endswith("/work\nliteral")
    assert None not in (ended.downloading, ended.ready, ended.running, ended.uploading)


async def test_many_tiny_tasks(server: ScriptedServer, start: Start) -> None:
    """Hundreds of tiny tasks all end, in few reports and few rooms, with leases held ahead."""
    refs = [server.add(["true"]) for _ in range(400)]
    start()
    await server.until(lambda: len(server.ended) == len(refs), 30)

    assert all(succeeded(server.ended[ref]) for ref in refs)
    assert len(server.reports) < 200
    assert max(report.capacity for report in server.reports) > 10


async def test_output_comes_while_a_task_runs(server: ScriptedServer, start: Start) -> None:
    """What a task has written can be read before it has ended."""
    ref = server.add("echo first; sleep 30")
    start()
    await server.until(lambda: server.text(ref) == "first\n")
    await server.signal(ref, Signal.KILL)

    assert (await server.end_of(ref)).outcome is Outcome.CANCELLED


async def test_a_flood_of_output_is_bounded_and_its_tail_kept(
    server: ScriptedServer, start: Start
) -> None:
    """Of twenty mebibytes the head and the last mebibyte arrive, before the outcome."""
    ref = server.add("head -c 20000000 /dev/zero | tr '\\0' x; printf END")
    start()
    ended = await server.end_of(ref, 20)
    output = server.output[ref, Stream.STDOUT]

    assert ended.stdout_bytes == len(output) == 20_000_003
    assert output.endswith(b"xEND")
    assert output.startswith(b"x" * limits.OUTPUT_HEAD_BYTES)
    assert b"\0" not in output[-limits.OUTPUT_TAIL_BYTES :]


async def test_pause_and_resume(server: ScriptedServer, start: Start) -> None:
    """A paused execution is told as paused, and goes on when resumed."""
    ref = server.add("sleep 0.3; echo done")
    start()
    await server.phase_of(ref, Phase.RUNNING)
    await server.signal(ref, Signal.PAUSE)
    await server.until(lambda: any(p.paused for r in server.reports for p in r.progress))
    await asyncio.sleep(0.5)
    assert ref not in server.ended
    await server.signal(ref, Signal.RESUME)

    assert succeeded(await server.end_of(ref))


async def test_settings_are_applied_live(server: ScriptedServer, start: Start) -> None:
    """More concurrency takes effect at once, and the worker says which settings it obeys."""
    server.settings = WorkerSettings(version=1, concurrency=1)
    refs = [server.add("sleep 30") for _ in range(3)]
    start()
    await server.phase_of(refs[0], Phase.RUNNING)
    await server.order(settings=WorkerSettings(version=2, concurrency=3))
    for ref in refs:
        await server.phase_of(ref, Phase.RUNNING)

    assert server.reports[-1].applied == 2
    await server.order(settings=WorkerSettings(version=3, concurrency=3, draining=True))
    await server.until(lambda: server.reports[-1].capacity == 0)


async def test_a_second_worker_in_the_same_place_is_refused(
    server: ScriptedServer, start: Start
) -> None:
    """Two workers cannot share a work directory; the refusal says what to do."""
    start()
    await server.until(lambda: server.reports)

    with pytest.raises(WorkerError, match="--name"):
        await start()


async def test_a_refusing_server_ends_the_worker(server: ScriptedServer, start: Start) -> None:
    """When the server says that coming back is no use, the worker ends with its reason."""
    server.turned = Turned(message="no such batch; make it first")

    with pytest.raises(WorkerError, match="make it first"):
        await start()
