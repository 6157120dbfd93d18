"""How the keeper starts a process."""

# pathlib would double what this process costs to start and to keep.
# ruff: noqa: PTH113, PTH116

import contextlib
import errno
import os
import stat

from pytq.worker.keeper.native import APPEND, Native, ignored
from pytq.worker.keeper.tasks import Message

PROGRAMS = 1000  # remembered places
FIRST_STEP = ".0"  # as an id ends: nothing of the task has run before it


def _reason(error: OSError, program: str) -> str:
    """What the kernel means: it says the same of a program, its interpreter and its streams."""
    if error.errno == errno.ENOENT:
        there = os.path.lexists(program)
        return "its interpreter or one of its streams is missing" if there else "command not found"
    if error.errno == errno.EACCES:
        return "not allowed to run"
    if error.errno == errno.E2BIG:
        return "the command and its environment are too long"
    return error.strerror or str(error)


def _refuse_pipes(order: Message) -> None:
    """A step before may have put a pipe there; to open it would take for ever."""
    for stream in ("stdin", "stdout", "stderr"):
        path = order.get(stream)
        if path and os.path.lexists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, f"its {stream} is not a regular file", path)


class Programs:
    """Starts processes: posix_spawn, which never copies this process, wherever it can."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], str] = {}
        self.reset = ignored()
        self.native: Native | None = None
        with contextlib.suppress(OSError, AttributeError):
            self.native = Native(self.reset)

    def start(self, order: Message) -> int:
        """Start one process in a session of its own; returns its pid."""
        if order.get("stdin") or not order["id"].endswith(FIRST_STEP):
            _refuse_pipes(order)
        if order.get("uid") is not None or order.get("gid") is not None:
            return self._start_as(order)
        program = self.find(order["argv"][0], order["env"].get("PATH", os.defpath))
        spawn = self.native.start if self.native else self._spawn
        try:
            return spawn(program, order["argv"], order)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                self.found.clear()  # it may have moved
                raise OSError(error.errno, _reason(error, program), order["argv"][0]) from error
            # A script without a #! line: as every shell does.
            return spawn("/bin/sh", ["/bin/sh", program, *order["argv"][1:]], order)

    def find(self, name: str, path: str) -> str:
        """Look a program up on the task's own PATH."""
        if "/" in name:
            return name
        program = self.found.get((name, path))
        if program is None or not os.access(program, os.X_OK):
            places = (f"{folder or '.'}/{name}" for folder in path.split(":"))
            program = next((p for p in places if os.access(p, os.X_OK) and os.path.isfile(p)), "")
            if not program:
                raise FileNotFoundError(errno.ENOENT, "command not found", name)
            if len(self.found) >= PROGRAMS:
                self.found.clear()
            self.found[name, path] = program
        return program

    def _spawn(self, program: str, argv: list[str], order: Message) -> int:
        opens = (
            (os.POSIX_SPAWN_OPEN, 0, order.get("stdin") or os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, order["stdout"], APPEND, 0o644),
            (os.POSIX_SPAWN_OPEN, 2, order["stderr"], APPEND, 0o644),
        )
        home = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.chdir(order["cwd"])
            return os.posix_spawn(
                program,
                argv,
                order["env"],
                file_actions=opens,
                setsid=True,
                setsigmask=[],
                setsigdef=self.reset,
            )
        finally:
            os.fchdir(home)
            os.close(home)

    def _start_as(self, order: Message) -> int:
        import subprocess

        with contextlib.ExitStack() as stack:
            files = [os.open(order.get("stdin") or os.devnull, os.O_RDONLY | os.O_CLOEXEC)]
            stack.callback(os.close, files[0])
            for stream in ("stdout", "stderr"):
                files.append(os.open(order[stream], APPEND | os.O_CLOEXEC, 0o644))
                stack.callback(os.close, files[-1])
            process = subprocess.Popen(  # noqa: S603 - running what it is told is its work
                order["argv"],
                cwd=order["cwd"],
                env=order["env"],
                stdin=files[0],
                stdout=files[1],
                stderr=files[2],
                start_new_session=True,
                user=order.get("uid"),
                group=order.get("gid"),
                extra_groups=[],
            )
        process.returncode = 0  # so that subprocess never reaps it behind our back
        return process.pid
