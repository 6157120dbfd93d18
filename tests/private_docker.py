"""A dockerd and a registry of the tests' own: private sockets, private folders, ended by pid."""

import contextlib
import ctypes
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

START_SECONDS: Final = 60.0
SYSTEM_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
BUSYBOX: Final = "busybox:test"  # the image that most tests run
APPLETS: Final = [
    "sh",
    "cat",
    "echo",
    "printf",
    "true",
    "false",
    "sleep",
    "env",
    "id",
    "ls",
    "head",
    "tail",
    "kill",
    "dd",
    "pwd",
    "touch",
    "mkdir",
    "chmod",
    "rm",
    "wc",
    "tr",
    "seq",
    "stat",
    "test",
    "md5sum",
    "hostname",
    "grep",
    "cut",
    "sync",
]
USER, PASSWORD = "pytq", "tested"
HTPASSWD: Final = f"{USER}:$2y$05$cJoFpsEJ4FQRP4cAufsJ2OHJYj1n19a4zR0k5HgTN43.xuQ3PJMmi\n"

CONTAINERD_CONFIG: Final = """\
version = 2
root = "{room}/containerd"
state = "{room}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{room}/c"
[ttrpc]
address = "{room}/t"
"""

REGISTRY_CONFIG: Final = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {room}/images}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: tests, path: {room}/htpasswd}}}}
"""


def why_not() -> str:
    """Why no dockerd can be run here; empty when one can."""
    missing = [
        name for name in ("dockerd", "containerd", "docker", "busybox") if program(name) is None
    ]
    if missing:
        return f"not installed: {', '.join(missing)}; scripts/system-packages installs them"
    if os.geteuid() != 0:
        return "dockerd must be started by root"
    if not any(Path("/sys/fs/cgroup").iterdir()):
        return "no cgroups are mounted here"
    return ""


def program(name: str) -> str | None:
    """Debian's own program: an older one may come first on PATH, without its daemon."""
    return shutil.which(name, path=SYSTEM_PATH) or shutil.which(name)


class PrivateDocker:
    """One dockerd, with nothing in it at first."""

    def __init__(self, *, live_restore: bool = True) -> None:
        self.room = Path(tempfile.mkdtemp(prefix="pytq-d-"))  # short: sockets live below it
        self.room.chmod(0o755)
        self.socket = f"{self.room}/s"
        self.host = f"unix://{self.socket}"
        self.live_restore = live_restore
        self._daemon: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        self._log = (self.room / "log").open("ab")

    @property
    def pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    @property
    def pids(self) -> list[int]:
        """Both daemons: dockerd and containerd."""
        return [one.pid for one in (self._daemon, self._containerd) if one is not None]

    def start(self) -> None:
        """Start dockerd, or start it again; returns when it answers."""
        if self._containerd is None:  # apart, as it is everywhere: it outlives dockerd
            self._containerd = _start(self._write_containerd_config(), self._log)
        argv = [program("dockerd") or "dockerd", "--host", self.host]
        for name in ("data-root", "exec-root", "pidfile"):
            argv += [f"--{name}", f"{self.room}/{name}"]
        argv += ["--containerd", f"{self.room}/c", "--log-level", "warn"]
        argv += ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
        argv += [f"--live-restore={str(self.live_restore).lower()}", "--shutdown-timeout", "3"]
        self._daemon = _start(argv, self._log)
        wait_for(self._answers, START_SECONDS, lambda: f"dockerd did not start:\n{self.log()}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End dockerd; with live restore its containers go on."""
        if self._daemon is not None:
            self._daemon.send_signal(number)
            self._daemon.wait(START_SECONDS)
            self._daemon = None

    def dispose(self) -> None:
        """End everything, and leave nothing behind."""
        if self._daemon is None:
            self.start()
        self.clear()
        self.stop()
        if self._containerd is not None:
            self._containerd.terminate()
            self._containerd.wait(START_SECONDS)
        self._log.close()
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            place = line.split()[1]
            if place.startswith(f"{self.room}/"):
                subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(self.room, ignore_errors=True)

    def cli(self, *words: str, stdin: bytes | None = None) -> str:
        """Run the docker command against this dockerd; what it printed."""
        done = subprocess.run(
            [program("docker") or "docker", *words],
            env={
                "PATH": SYSTEM_PATH,
                "DOCKER_HOST": self.host,
                "DOCKER_CONFIG": f"{self.room}/cfg",
            },
            input=stdin,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.decode()}")
        return done.stdout.decode().strip()

    def containers(self) -> list[str]:
        """The names of all containers, those that ended included."""
        return self.cli("ps", "--all", "--format", "{{.Names}}").split()

    def clear(self) -> None:
        """Remove every container, whoever else is at it."""

        def empty() -> bool:
            left = self.containers()
            with contextlib.suppress(RuntimeError):  # "already in progress"
                if left:
                    self.cli("rm", "--force", "--volumes", *left)
            return not left

        wait_for(empty, START_SECONDS, lambda: "some containers stay")

    def image(self, name: str, *changes: str, filler: int = 0) -> str:
        """Make an image of busybox alone; `changes` as in a Dockerfile, `filler` bytes larger."""
        words = [word for change in changes for word in ("--change", change)]
        self.cli("import", *words, "-", name, stdin=_root_of_busybox(filler))
        return name

    def log(self) -> str:
        """The last of what dockerd had to say."""
        return (self.room / "log").read_text(errors="replace")[-4000:]

    def _write_containerd_config(self) -> list[str]:
        config = self.room / "containerd.toml"
        config.write_text(CONTAINERD_CONFIG.format(room=self.room))
        return [program("containerd") or "containerd", "--config", str(config)]

    def _answers(self) -> bool:
        if self._daemon is not None and self._daemon.poll() is not None:
            raise RuntimeError(f"dockerd ended:\n{self.log()}")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(self.socket)
                probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in probe.recv(100)
            except OSError:
                return False


class PrivateRegistry:
    """A registry that wants to be logged in to."""

    def __init__(self) -> None:
        self.room = Path(tempfile.mkdtemp(prefix="pytq-r-"))
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        (self.room / "htpasswd").write_text(HTPASSWD)
        config = REGISTRY_CONFIG.format(room=self.room, port=self.port)
        (self.room / "config.yml").write_text(config)

    def start(self) -> None:
        log = subprocess.DEVNULL
        self._process = _start(["docker-registry", "serve", f"{self.room}/config.yml"], log)
        wait_for(lambda: listens(self.port), START_SECONDS, lambda: "no registry")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_SECONDS)
            self._process = None

    def dispose(self) -> None:
        self.stop()
        shutil.rmtree(self.room, ignore_errors=True)

    def fill(self, docker: PrivateDocker, name: str, filler: int = 0) -> str:
        """Put an image into the registry, and nowhere else; its full name."""
        image = docker.image(f"{self.host}/{name}", filler=filler)
        docker.cli("login", "--username", USER, "--password", PASSWORD, self.host)
        docker.cli("push", image)
        docker.cli("rmi", image)
        return image


@contextlib.contextmanager
def private_docker(*, live_restore: bool = True) -> Iterator[PrivateDocker]:
    """A dockerd for as long as the block lasts, with an image of busybox in it."""
    docker = PrivateDocker(live_restore=live_restore)
    try:
        docker.start()
        docker.image(BUSYBOX, "ENV IMAGE_SAYS=hello")
        yield docker
    finally:
        docker.dispose()


@contextlib.contextmanager
def docker_or_skip() -> Iterator[PrivateDocker]:
    """The same, for a test that cannot be run where there is none."""
    reason = why_not()
    if reason:
        pytest.skip(f"no dockerd: {reason}")
    with private_docker() as one:
        yield one


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what: Callable[[], Any], seconds: float, else_say: Callable[[], str]) -> Any:
    """Poll until something is true; its value."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(else_say())
        time.sleep(0.02)
    return value


def _start(argv: list[str], log: Any) -> "subprocess.Popen[bytes]":
    """Start a process that ends with this one, should the tests be killed.

    It ends with the *thread* that starts it; so that is always the same one, which stays.
    """
    return _starter.submit(
        subprocess.Popen,
        argv,
        env={"PATH": SYSTEM_PATH},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    ).result()


_starter = ThreadPoolExecutor(1)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _root_of_busybox(filler: int) -> bytes:
    """A root file system as a tar: busybox by all its names, and random bytes on request."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in ("bin", "tmp", "etc", "dev", "proc", "sys"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        tar.add(program("busybox") or "busybox", "bin/busybox")
        for name in APPLETS:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        for name, data in (
            ("filler", os.urandom(filler)),
            ("etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
