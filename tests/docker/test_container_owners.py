"""A worker that is not root, whose containers are: what they leave behind is still its own."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from container_parts import ended, step
from private_docker import PrivateDocker
from scripted import ScriptedServer, succeeded
from worker_parts import end_keeper, wait_for

from pytq.schema.states import Outcome
from pytq.worker.runners.docker.ownership import HELPER

NOBODY = 65534
Spawn = Callable[..., "asyncio.subprocess.Process"]


@pytest.fixture
async def spawn(
    server: ScriptedServer, tmp_path: Path, docker: PrivateDocker
) -> AsyncIterator[Spawn]:
    """Start a worker as nobody, who may use dockerd, and may look wherever Python lies."""
    if shutil.which("setpriv") is None:
        pytest.skip("not installed: setpriv (util-linux)")
    _let_in_everybody(docker)
    for name in ("w", "out"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, NOBODY, NOBODY)
    workers: list[asyncio.subprocess.Process] = []

    async def begin(*options: str) -> asyncio.subprocess.Process:
        become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        become += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"]
        words = ["worker", f"127.0.0.1:{server.port}", "1", "--work-dir", str(tmp_path / "w")]
        with (tmp_path / "log").open("ab") as log:
            worker = await asyncio.create_subprocess_exec(
                *(*become, sys.executable, "-m", "pytq.cli.main", *words, *options),
                stderr=log,
                cwd="/",
                env={**os.environ, "HOME": str(tmp_path / "w")},
            )
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    end_keeper(tmp_path / "w")


async def test_what_root_left_is_carried_away_and_removed(
    server: ScriptedServer, spawn: Spawn, tmp_path: Path, docker: PrivateDocker
) -> None:
    """Files that root made in a container are staged out, and gone before the next task comes."""
    mess = (
        "id -u; mkdir -p /output/d/e /work/x /tmp/y; touch /work/x/f /tmp/y/f; chmod 0 /work/x"
        "; echo kept > /output/d/e/f; chmod 600 /output/d/e/f; chmod 700 /output/d/e"
    )
    out = {"path": "/output", "destination": f"file://{tmp_path}/out/", "directory": True}
    first = server.add(steps=[step(mess)], outputs=[out])
    second = server.add(steps=[step("ls -A /output /work /tmp")])
    await spawn()

    assert succeeded(await ended(server, first)), (tmp_path / "log").read_text()
    assert server.text(first) == "0\n"
    assert (tmp_path / "out/d/e/f").read_text() == "kept\n"
    assert succeeded(await ended(server, second))
    assert server.text(second) == "/output:\n\n/tmp:\n\n/work:\n"
    await asyncio.to_thread(wait_for, lambda: not _foreign(tmp_path / "w"), 20)
    assert "stay another's" not in (tmp_path / "log").read_text()


async def test_a_room_that_cannot_be_reclaimed_is_never_used_again(
    server: ScriptedServer, spawn: Spawn, tmp_path: Path, docker: PrivateDocker
) -> None:
    """Should root's files not become ours, the task has its outcome, and no other sees them."""
    docker.image(HELPER, 'LABEL broken="yes"', 'ENTRYPOINT ["/bin/false"]')
    mess = "mkdir /tmp/d; touch /tmp/d/left-by-the-first; exit 3"
    refs = [server.add(steps=[step(mess, ignore_error=True)])]
    refs += [server.add(steps=[step("ls -A /tmp")]) for _ in range(2)]
    await spawn()
    try:
        for ref in refs:
            assert (await ended(server, ref)).outcome is Outcome.SUCCEEDED
    finally:
        docker.cli("rmi", "--force", HELPER)

    assert server.text(refs[1]) == server.text(refs[2]) == ""
    assert "stay another's" in (tmp_path / "log").read_text()


async def test_another_user_than_roots(
    server: ScriptedServer, spawn: Spawn, tmp_path: Path
) -> None:
    """A task's own user id works for a worker that may give away nothing."""
    out = {"path": "/output", "destination": f"file://{tmp_path}/out/", "directory": True}
    ref = server.add(steps=[step("id -u; umask 077; echo x > /output/x")], uid=4321, outputs=[out])
    await spawn()

    assert succeeded(await ended(server, ref)), (tmp_path / "log").read_text()
    assert server.text(ref) == "4321\n"
    assert (tmp_path / "out/x").read_text() == "x\n"


def _let_in_everybody(docker: PrivateDocker) -> None:
    Path(docker.socket).chmod(0o666)


def _foreign(home: Path) -> list[Path]:
    return [path for path in (home / "rooms").rglob("*") if path.lstat().st_uid != NOBODY]
