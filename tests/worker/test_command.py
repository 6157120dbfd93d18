"""`pytq worker` as people type it."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytq.cli.main", "worker", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("localhost", "2", "--name", "-x y"), "--name"),
        (("localhost", "2", "--batch", "a/b"), "use letters, digits"),
        (("localhost", "99999"), "from 0 to 2000"),
        (("localhost", "two"), "CONCURRENCY"),
        (("not a host", "2"), "server address"),
    ],
)
def test_a_mistake_is_explained(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """A worker that cannot be started as told says what to write instead, without a traceback."""
    done = run(*words, "--work-dir", str(tmp_path))

    assert done.returncode
    assert said in done.stderr
    assert "Traceback" not in done.stderr
