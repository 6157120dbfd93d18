"""A server and a local worker as children of this process, of which nothing stays behind.

Each child leads a session of its own, so that Ctrl-C reaches only us and we decide the order.
Should we die without a word, the kernel tells the children (PR_SET_PDEATHSIG). Whatever the
children leave behind becomes our own child (PR_SET_CHILD_SUBREAPER), to be ended at the end.
"""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from pytq.client import Client
from pytq.schema.problems import PytqError

HOST: Final = "127.0.0.1"
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_KILL_SECONDS: Final = 5.0
_LOG_LINES: Final = 5
# `up` and the demo live on SQLite, alone on this machine, whatever else is set up here.
_NOT_FOR_US: Final = frozenset(
    {"SQLALCHEMY_DATABASE_URI", "PYTQ_HOST", "PYTQ_WORK_DIR", "PYTQ_TLS_CERT", "PYTQ_TLS_KEY"}
    | {"PYTQ_TOKEN", "PYTQ_TOKEN_FILE", "PYTQ_CA"}  # they are for another server
)


class StackError(Exception):
    """The server or the worker cannot be started or has ended; the text is fit for people."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, and where."""

    port: int
    server_dir: Path
    work_dir: Path
    log_dir: Path
    concurrency: int

    @property
    def server(self) -> str:
        """The server's address."""
        return f"{HOST}:{self.port}"

    @property
    def state(self) -> Path:
        """Where it is written down who holds all this, while somebody does."""
        return self.server_dir / "up.json"


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def check_port(port: int) -> None:
    """Raise a `StackError` if somebody else listens on `port`."""
    with socket.socket() as probe:
        # As the server does; without it, connections that have just ended would look like one.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StackError(
                f"port {port} of {HOST} cannot be used ({error.strerror}); is a PYTQ server"
                " running already? Stop it, or choose another with --port"
            ) from error


class Stack:
    """The two children."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._tell_kernel = _kernel_call()
        self._tell_kernel(_PR_SET_CHILD_SUBREAPER, 1)

    def start_server(self) -> None:
        """Start the server; `ready` tells when it answers."""
        check_port(self.plan.port)
        self._start(
            "server",
            *("--host", HOST, "--port", str(self.plan.port)),
            *("--data-dir", str(self.plan.server_dir)),
        )

    def start_worker(self) -> None:
        """Start the worker. It ends its tasks when it is ended."""
        self._start(
            "worker",
            *(self.plan.server, str(self.plan.concurrency)),
            *("--work-dir", str(self.plan.work_dir), "--kill"),
        )

    def _start(self, what: str, *words: str) -> None:
        self.plan.log_dir.mkdir(parents=True, exist_ok=True)
        tell_kernel = self._tell_kernel
        with self._log(what).open("wb") as log:
            self._children[what] = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "pytq.cli.main", what, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Safe here: no other thread of ours exists when children are started.
                preexec_fn=lambda: tell_kernel(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509
            )

    def _log(self, what: str) -> Path:
        return self.plan.log_dir / f"{what}.log"

    async def ready(self, client: Client) -> None:
        """Wait until the server answers."""
        hasty = client.patient(0)
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            self.check()
            with suppress(PytqError):
                await hasty.get_server()
                return
            await asyncio.sleep(0.05)
        raise StackError(f"the server does not answer; its log is {self._log('server')}")

    def check(self) -> None:
        """Raise a `StackError` if a child has ended by itself; take in orphans that have ended."""
        for what, child in self._children.items():
            if child.poll() is not None:
                log = self._log(what)
                lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                said = "\n  ".join(lines) or "it said nothing"
                raise StackError(f"the {what} has ended with code {child.returncode}:\n  {said}")
        ours = {child.pid for child in self._children.values()}
        for orphan in psutil.Process().children():
            if orphan.pid not in ours and _is_zombie(orphan):
                with suppress(ChildProcessError):
                    os.waitpid(orphan.pid, os.WNOHANG)

    def stop(self) -> None:
        """End the worker, the server and whatever they left behind, politely at first."""
        for what in ("worker", "server"):
            child = self._children.get(what)
            if child is not None:
                _end(child)
        self._children.clear()
        left = psutil.Process().children(recursive=True)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(left, timeout=_KILL_SECONDS)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=_KILL_SECONDS)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _kernel_call() -> Callable[[int, int], int]:
    """Linux's prctl, found before any fork; elsewhere a call that does nothing."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return lambda _option, _value: 0
    return lambda option, value: int(prctl(option, value, 0, 0, 0))


@asynccontextmanager
async def running(plan: Plan) -> AsyncIterator[tuple[Stack, Client]]:
    """Server, worker and a client, for as long as the block lasts."""
    for name in _NOT_FOR_US:
        os.environ.pop(name, None)
    stack = Stack(plan)
    try:
        async with Client(plan.server, patience=0) as client:
            stack.start_server()
            await stack.ready(client)
            stack.start_worker()
            yield stack, client
    finally:
        # To the end even if Ctrl-C is pressed again; nothing else goes on in this loop.
        for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, signal.SIG_IGN)
        stack.stop()


def stop_event() -> asyncio.Event:
    """An event that Ctrl-C, SIGTERM and a closed terminal set, instead of their usual effect."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(ending, event.set)
    return event
