"""What every Python peer runs as a task: a command, and the gate that holds a queue back."""

import os
import subprocess
import uuid
from pathlib import Path


def run_command(argv):
    """The task itself: run a command, give its exit code back as the result."""
    return subprocess.run(argv, check=False).returncode


def pass_gate(folder):
    """Occupy a worker slot until the gate opens. Says that it is there by a file; has no result."""
    (Path(folder) / f"here-{uuid.uuid4().hex}").touch()
    os.close(os.open(Path(folder) / "gate", os.O_RDONLY))  # blocks until somebody opens to write


class Gate:
    """A FIFO that as many tasks as there are slots wait for: warm workers, a queue held back."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        os.mkfifo(self.folder / "gate")
        self.fd = None

    def waiting(self):
        """How many slots wait at the gate."""
        return sum(1 for entry in os.scandir(self.folder) if entry.name.startswith("here-"))

    def open(self):
        """Let everybody through; it stays open until it is closed."""
        self.fd = os.open(self.folder / "gate", os.O_RDWR)

    def close(self):
        """Close it behind the last one."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
