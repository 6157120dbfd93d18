"""What a worker says while it finds no server: what is wrong, in plain words, and once."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pytq.troubles import why

ATTEMPTS = 4


def test_a_server_that_hangs_up_is_told_of_once(tmp_path: Path) -> None:
    """However often a worker tries, the same trouble is one line of its log."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        words = ["worker", address, "1", "--work-dir", str(tmp_path)]
        worker = subprocess.Popen(
            [sys.executable, "-m", "pytq.cli.main", *words],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"},
        )
        listener.settimeout(30)
        for _ in range(ATTEMPTS):
            listener.accept()[0].close()
        worker.terminate()
        _, said = worker.communicate(timeout=30)

    assert said.count(f"no connection to ws://{address}/api/v1/link: ") == 1
    assert f"no dockerd at {tmp_path}/none.sock: No such file or directory" in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (TimeoutError(), "no answer in time"),
        (FileNotFoundError(2, "No such file or directory", "/x"), "No such file or directory"),
        (OSError("without a number"), "without a number"),
        (EOFError(), "EOFError"),
    ],
)
def test_a_failure_in_plain_words(error: BaseException, said: str) -> None:
    """Every failure has some words, and the system's own where there are any."""
    assert why(error) == said
