"""Start the keeper of a work directory: `python -I -S …/pytq/worker/keeper WORK_DIR`."""

# pathlib would double what this process costs to start and to keep.
# ruff: noqa: PTH109, PTH123, PTH100

import contextlib
import fcntl
import os
import signal
import sys

# Without site-packages and without the caller's environment; this file's own package is enough.
sys.path[0] = os.path.abspath(f"{__file__}/../../../..")

from pytq.worker.keeper.keeper import Keeper  # noqa: E402 - the line above finds it
from pytq.worker.keeper.processes import (  # noqa: E402 - as above
    become_subreaper,
    children,
    environment_of,
    kill,
    processes,
)


def end_leftovers() -> None:
    """End tasks whose keeper and guardian were both killed: nobody holds them."""
    rooms = os.fsencode(os.getcwd()) + b"/rooms/"
    for pid in processes():
        environment = environment_of(pid)
        if b"PYTQ_TASK" in environment and environment.get(b"INPUT", b"").startswith(rooms):
            kill(pid, signal.SIGKILL)


def guard(keeper: int) -> int:
    """Wait for the keeper; should it have left anything behind, end that."""
    status = 0
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, result = os.waitpid(-1, 0)
            if pid == keeper:
                status, keeper = os.waitstatus_to_exitcode(result), 0
            if not keeper:
                for orphan in children():
                    kill(orphan, signal.SIGKILL)
    return abs(status)


def main(work_dir: str) -> int:
    """Become the keeper of a work directory, once the one before is gone."""
    os.chdir(work_dir)
    lock = os.open("keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # held by both processes until the last task is buried
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # inherited by tasks: a greedy one dies before server and agent
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    end_leftovers()
    child = os.fork()
    if child:
        return guard(child)
    become_subreaper()
    Keeper(boot).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
