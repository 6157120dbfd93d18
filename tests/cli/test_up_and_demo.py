"""`pytq up` and the demo: everything with one command, and nothing left behind."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest


def _processes(place: Path) -> list[psutil.Process]:
    """Every process that knows of `place`."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(place) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _await(true: Any, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def up(tmp_path: Path, port: int, run: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A running `pytq up` with one task that runs for long."""
    log = (tmp_path / "up.log").open("wb")
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytq.cli.main", "up", "--port", str(port)),
            *("--concurrency", "2", "--data-dir", str(tmp_path / "d")),
        ],
        stdout=log,
        stderr=log,
    )
    address = f"127.0.0.1:{port}"
    _await(lambda: "PYTQ is up" in (tmp_path / "up.log").read_text() or child.poll() is not None)
    assert run("launch", "-w", "echo", "hello", server=address).stdout == "hello\n"
    run("launch", "sh", "-c", f"sleep 1000 # {tmp_path}", server=address)
    _await(lambda: "active" in run("task", "list", server=address).stdout)
    yield child
    child.kill()
    child.wait()
    log.close()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_leaves_nothing_behind(
    up: subprocess.Popen[bytes], tmp_path: Path, port: int, ending: signal.Signals
) -> None:
    """However `pytq up` is ended: no process of it, of its children or of its tasks is left."""
    family = psutil.Process(up.pid).children(recursive=True)
    assert len(family) >= 2

    up.send_signal(ending)

    assert up.wait(40) == 0
    assert _processes(tmp_path) == []
    assert not any(one.is_running() for one in family)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_a_killed_up_takes_its_children_along(up: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Even after kill -9, server, worker and tasks notice and end."""
    up.kill()

    _await(lambda: _processes(tmp_path) == [])


def test_a_taken_port_is_told(run: Any, tmp_path: Path, server: str) -> None:
    """A port that is in use is told of in one sentence, with what to do."""
    taken = server.rpartition(":")[2]

    done = run("up", "--port", taken, "--data-dir", str(tmp_path))

    assert done.returncode == 1
    assert f"port {taken}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_runs_and_accounts_for_itself(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo ends by itself, everything as intended, with results and without remains."""
    results, private = tmp_path / "results", tmp_path / "private"
    private.mkdir()
    monkeypatch.setenv("TMPDIR", str(private))

    done = run("demo", "--files", "4", "--concurrency", "2", "--output", str(results))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 of 13 tasks succeeded, 5 of 5 failed as intended, 0 surprises" in done.stdout
    assert len(list((results / "gz").glob("*.gz"))) == 4
    assert "4 archives unpack" in (results / "summary" / "summary.txt").read_text()
    assert _processes(private) == []
    assert list(private.iterdir()) == []
