"""Processes: started, watched and ended by pid, and only those that were started here."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

GRACE_SECONDS = 8.0


def make_room():
    """A temporary directory on the same disk for everybody; servers of other users may enter."""
    room = Path(tempfile.mkdtemp(prefix="pytq-bench-"))
    room.chmod(0o755)
    return room


def remove_room(room):
    """Remove a temporary directory."""
    shutil.rmtree(room, ignore_errors=True)


def free_port():
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def launch(argv, room, env=None, user=None, name=None):
    """Start a long-lived process in a session of its own; its output goes to a log in `room`."""
    with (room / f"{name or Path(argv[0]).name}.log").open("ab") as log:
        popen = subprocess.Popen(
            [str(word) for word in argv],
            cwd=room,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
    return Started(popen)


class Started(psutil.Process):
    """A process that was started here, and will be reaped here."""

    def __init__(self, popen):
        super().__init__(popen.pid)
        self.popen = popen


def tree(roots):
    """The living of these processes, with all their living descendants, each once."""
    found = {}
    for root in roots:
        try:
            for process in [root, *root.children(recursive=True)]:
                if process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = process
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def end(roots, first=signal.SIGTERM, grace=GRACE_SECONDS):
    """End processes that were started here, with their descendants: politely, then surely."""
    everyone = tree(roots)
    for process in everyone if first == signal.SIGKILL else roots:
        _signal(process, first)
    _, stubborn = psutil.wait_procs(everyone, timeout=grace)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=GRACE_SECONDS)
    for root in roots:
        if isinstance(root, Started):
            root.popen.wait(GRACE_SECONDS)


def _signal(process, number):
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)  # psutil checks that the pid was not reused


@dataclass(frozen=True)
class Cpu:
    """Processor seconds: a process's own, and those of the children it has reaped."""

    own: float = 0.0
    children: float = 0.0


def cpu(processes):
    """Processor seconds used so far by all of them together."""
    own = children = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        own += times.user + times.system
        children += times.children_user + times.children_system
    return Cpu(own, children)


def memory(processes):
    """Bytes: resident, and the proportional share (which counts shared pages once)."""
    rss = pss = 0
    for process in processes:
        try:
            info = process.memory_full_info()
        except psutil.Error:
            continue
        rss += info.rss
        pss += info.pss
    return {"rss": rss, "pss": pss, "processes": len(processes)}


def find(*parts):
    """Processes whose command line holds every one of `parts`."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if all(part in line for part in parts) and process.pid != os.getpid():
            found.append(process)
    return found
