"""Steps in containers, by a real dockerd: what they are given, and what comes out of them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from container_parts import ended, run_all, step
from private_docker import PrivateDocker
from scripted import ScriptedServer, succeeded
from worker_parts import leave, wait_for

from pytq.schema.frames import root_of
from pytq.schema.states import Cause, Outcome, Signal, Stream
from pytq.schema.views import WorkerSettings
from pytq.worker.runners.process import Machine

Start = Callable[..., "asyncio.Task[int]"]


async def test_a_container_runs(server: ScriptedServer, start: Start) -> None:
    """Both streams arrive apart, with the exit code; the worker said that it has Docker."""
    ref = server.add(steps=[step("echo out; echo err >&2; exit 3")])
    start()
    end = await ended(server, ref)

    assert server.hellos[0].containers
    assert (end.outcome, end.cause, end.exit_code) == (Outcome.FAILED, Cause.EXIT, 3)
    assert server.text(ref) == "out\n"
    assert server.text(ref, Stream.STDERR) == "err\n"
    assert (end.stdout_bytes, end.stderr_bytes) == (4, 4)
    assert None not in (end.downloading, end.ready, end.running)


async def test_words_arrive_exactly(server: ScriptedServer, start: Start) -> None:
    """Each word of a command is what it was, byte by byte; no shell ever reads it."""
    words = ["", " a  b ", "'\"$(id)`", "\\n\t\n", "*", "ä€\U0001f600", "-x", "$HOME", "x" * 30_000]
    ref = server.add(steps=[step(["printf", "%s|", *words])])
    start()

    assert succeeded(await ended(server, ref))
    assert server.text(ref) == "".join(f"{word}|" for word in words)


async def test_bytes_arrive_exactly(server: ScriptedServer, start: Start) -> None:
    """Output that is no text, that ends in the middle of a line or never ends one, is kept."""
    ref = server.add(steps=[step("printf '\\377\\000\\n\\200'; head -c 100000 /dev/zero")])
    start()

    assert succeeded(await ended(server, ref))
    assert server.output[ref, Stream.STDOUT] == b"\xff\0\n\x80" + bytes(100_000)


async def test_the_end_of_quick_output_is_never_missed(
    server: ScriptedServer, start: Start
) -> None:
    """Forty containers that write a lot and end at once: nothing of any is missing."""
    text = "".join(f"{number}\n" for number in range(1, 6001))
    server.settings = WorkerSettings(version=1, concurrency=4)
    start()
    refs = await run_all(server, [step("seq 6000; printf END >&2")] * 40)

    assert {server.text(ref) == text for ref in refs} == {True}
    assert {server.text(ref, Stream.STDERR) for ref in refs} == {"END"}


async def test_the_environment_is_exactly_this(
    server: ScriptedServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container finds what its image, PYTQ and its step say; nothing of the worker's own."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for tasks")
    lines = {"LINES": "a\nb", "EMPTY": ""}
    ref = server.add(steps=[step(["env"], "--env=MORE=x=y", "--hostname=h", env=lines)])
    start()
    assert succeeded(await ended(server, ref))
    cpu, memory = Machine(*_cpus_and_memory(server), "").share(2)

    assert sorted(server.text(ref).splitlines()) == sorted(
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/",
            "HOSTNAME=h",
            "IMAGE_SAYS=hello",
            f"CPU={cpu}",
            f"MEM={memory}",
            "INPUT=/input",
            "OUTPUT=/output",
            "RESOURCE=/resource",
            "TEMP=/tmp",
            f"PYTQ_TASK={ref[0]}",
            f"PYTQ_ATTEMPT={ref[1]}",
            "MORE=x=y",
            "LINES=a",
            "b",
            "EMPTY=",
        ]
    )


async def test_cpu_goes_to_the_program_of_an_image(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """`$CPU` as a word of its own reaches an image's own program as a number."""
    docker.image("echo:test", 'ENTRYPOINT ["/bin/printf", "[%s]"]')
    words = ["-p", "$CPU", "-r", "/data/x", "--mem=$MEM", "$CPUS", "echo $CPU", "'$CPU'"]
    task = {"command": words, "container": "echo:test", "container_options": ["--network=none"]}
    ref = server.add(steps=[task])
    start()
    assert succeeded(await ended(server, ref))
    cpu, memory = Machine(*_cpus_and_memory(server), "").share(2)

    expected = ["-p", cpu, "-r", "/data/x", f"--mem={memory}", "$CPUS", "echo $CPU", "'$CPU'"]
    assert server.text(ref) == "".join(f"[{word}]" for word in expected)


async def test_the_folders_of_a_task(server: ScriptedServer, start: Start, tmp_path: Path) -> None:
    """Inputs are there, resources cannot be written, outputs are carried away."""
    (tmp_path / "in").write_text("5")
    (tmp_path / "data").mkdir()
    look = (
        "cat /input/in /work/script; echo made > /output/made; mkdir /output/d; pwd"
        "; echo x > /tmp/x; echo shared > /data/shared; touch /resource/x || echo refused"
        "; stat -c %a /tmp"
    )
    ref = server.add(
        steps=[step(look, workdir="/work/sub")],
        mounts=[
            {"source": f"file://{tmp_path}/in", "path": "/input/in"},
            {"content": "literal\n", "path": "/work/script"},
        ],
        outputs=[{"path": "/output", "destination": f"file://{tmp_path}/out/", "directory": True}],
    )
    start(data_dir=tmp_path / "data")

    assert succeeded(await ended(server, ref))
    assert server.text(ref) == "5literal\n/work/sub\nrefused\n1777\n"
    assert (tmp_path / "out/made").read_text() == "made\n"
    assert (tmp_path / "data/shared").read_text() == "shared\n"


async def test_steps_share_their_folders(server: ScriptedServer, start: Start) -> None:
    """Containers and plain processes in any order see the same files; output is in step order."""
    ref = server.add(
        steps=[
            step("echo one > /work/x; echo first; exit 4", ignore_error=True),
            {"command": "cat x; echo two > $OUTPUT/y; echo second"},
            step(["cat"], stdin="/output/y", stdout="/output/deep/copy"),
            {"command": "cat $OUTPUT/deep/copy; echo third >&2"},
            step("cat /output/deep/copy; echo fourth; exit 9"),
        ]
    )
    start()
    end = await ended(server, ref)

    assert (end.exit_code, end.detail) == (9, "step 5 ended with exit code 9")
    assert server.text(ref) == "first\none\nsecond\ntwo\ntwo\nfourth\n"
    assert server.text(ref, Stream.STDERR) == "third\n"


async def test_stdin_arrives_whole(server: ScriptedServer, start: Start, tmp_path: Path) -> None:
    """A file is a container's input to the last byte; to look at its beginning only is fine."""
    (tmp_path / "in").write_bytes(b"0123456789" * 500_000)
    mounts = [{"source": f"file://{tmp_path}/in", "path": "/input/in"}]
    whole = server.add(steps=[step(["wc", "-c"], stdin="/input/in")], mounts=mounts)
    part = server.add(steps=[step(["head", "-c", "5"], stdin="/input/in")], mounts=mounts)
    start()

    assert succeeded(await ended(server, whole))
    assert succeeded(await ended(server, part))
    assert server.text(whole).strip() == "5000000"
    assert server.text(part) == "01234"


async def test_requests_are_limits(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """What a task requests of memory and CPUs is what its container gets, and is told."""
    ref = server.add(
        steps=[step("echo $CPU $MEM; sleep 60")],
        request={"memory": 64 * 2**20, "cpus": 1.5},
    )
    start()
    await server.until(lambda: server.text(ref) == "1 64\n", 40)
    (name,) = docker.containers()
    host = json.loads(docker.cli("inspect", name))[0]["HostConfig"]

    assert (host["Memory"], host["MemorySwap"]) == (64 * 2**20, 64 * 2**20)
    assert host["NanoCpus"] == 1_500_000_000


async def test_a_container_runs_as_the_tasks_user(server: ScriptedServer, start: Start) -> None:
    """The user and group are the container's, and the task's folders are theirs to write."""
    ref = server.add(
        steps=[step("id -u; id -g; echo x > /output/x; stat -c %u:%g /output/x")], uid=1234, gid=77
    )
    start()

    assert succeeded(await ended(server, ref))
    assert server.text(ref) == "1234\n77\n1234:77\n"


async def test_an_image_with_a_user_of_its_own_can_write(
    server: ScriptedServer, start: Start, docker: PrivateDocker, tmp_path: Path
) -> None:
    """An image that does not run as root writes its output all the same, and it is carried away."""
    docker.image("nobody:test", "USER 65534:65534")
    task = step("id -u; echo x > /output/x && echo y > /tmp/y && echo z > /work/z")
    ref = server.add(
        steps=[task | {"container": "nobody:test"}],
        outputs=[{"path": "/output", "destination": f"file://{tmp_path}/out/", "directory": True}],
    )
    start()

    assert succeeded(await ended(server, ref))
    assert server.text(ref) == "65534\n"
    assert (tmp_path / "out/x").read_text() == "x\n"


async def test_containers_are_named_labelled_and_removed(
    server: ScriptedServer, start: Start, docker: PrivateDocker
) -> None:
    """A container tells whose it is while it runs, and is removed once its outcome is safe."""
    ref = server.add(steps=[step("echo up; sleep 0.5")])
    start()
    await server.until(lambda: server.text(ref), 40)
    (name,) = docker.containers()
    labels = json.loads(docker.cli("inspect", name))[0]["Config"]["Labels"]
    worker = root_of(server.hellos[0].identity)
    assert succeeded(await ended(server, ref))
    await server.until(lambda: server.reports, 10)

    assert name == f"pytq-{worker[:8]}-{ref[0]}.{ref[1]}.0"
    known = {f"pytq.{key}": labels[f"pytq.{key}"] for key in ("worker", "task", "attempt", "step")}
    assert known == {
        "pytq.worker": worker,
        "pytq.task": str(ref[0]),
        "pytq.attempt": str(ref[1]),
        "pytq.step": "0",
    }
    await asyncio.to_thread(wait_for, lambda: name not in docker.containers(), 30)


async def test_options_reach_docker(server: ScriptedServer, start: Start) -> None:
    """What people ask for with `docker run`'s own words is what they get."""
    words = ["--shm-size=8m", "--ulimit", "nofile=123", "--init", "-h", "box", "-w/tmp"]
    words += ["--tmpfs=/scratch:size=1m", "--read-only", "--add-host=there:10.1.2.3", "-m=64m"]
    look = "cat /proc/1/comm; hostname; pwd; ulimit -n; grep there /etc/hosts; touch /x || echo ro"
    ref = server.add(steps=[step(f"{look}; echo $MEM; test -w /scratch && echo rw", *words)])
    start()

    assert succeeded(await ended(server, ref)), server.text(ref, Stream.STDERR)
    assert server.text(ref).splitlines() == [
        *("docker-init", "box", "/tmp", "123", "10.1.2.3\tthere", "ro", "64", "rw")  # noqa: S108 - in a container
    ]


async def test_dangerous_options_need_the_operator(
    server: ScriptedServer, start: Start, tmp_path: Path
) -> None:
    """What reaches out of the container is refused in words, unless the worker allows it."""
    refused = server.add(steps=[step("true", "--privileged")])
    strict = start(work_dir=tmp_path / "strict")
    end = await ended(server, refused)
    assert (end.outcome, end.cause) == (Outcome.FAILED, Cause.COMMAND)
    assert "--allow-docker-option privileged" in end.detail

    (tmp_path / "outside").write_text("seen")
    look = step("cat /outside", f"--volume={tmp_path}/outside:/outside:ro")
    allowed = server.add(steps=[look])
    await leave(strict)
    start(work_dir=tmp_path / "lax", name="lax", docker_options=("volume",))
    assert succeeded(await ended(server, allowed))
    assert server.text(allowed) == "seen"


async def test_fifty_containers_at_once(server: ScriptedServer, start: Start) -> None:
    """Many containers side by side, each followed and waited for, are in nobody's way."""
    server.settings = WorkerSettings(version=1, concurrency=50)
    refs = [server.add(steps=[step("echo up; sleep 300")]) for _ in range(50)]
    start()
    await server.until(lambda: all(server.text(ref) == "up\n" for ref in refs), 100)
    for ref in refs:
        await server.signal(ref, Signal.KILL)

    assert {(await ended(server, ref, 60)).outcome for ref in refs} == {Outcome.CANCELLED}


async def test_a_hundred_megabytes_of_output(server: ScriptedServer, start: Start) -> None:
    """A flood of output is copied to the end, its size exact, its head and its tail kept."""
    ref = server.add(steps=[step("head -c 100000000 /dev/zero | tr '\\0' x; printf END")])
    start()
    end = await ended(server, ref, 100)
    output = server.output[ref, Stream.STDOUT]

    assert succeeded(end)
    assert end.stdout_bytes == len(output) == 100_000_003
    assert output.startswith(b"x" * 1000)
    assert output.endswith(b"x" * 1000 + b"END")


def _cpus_and_memory(server: ScriptedServer) -> tuple[int, int]:
    return server.hellos[0].cpus, server.hellos[0].memory
