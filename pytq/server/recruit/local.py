"""Workers on the server's own machine: a process each, held to so many CPUs.

A worker leads a session of its own and goes on when the server stops; the next server finds it by
what was written down beside it: its process, and what tells that from all others.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from pytq import credentials
from pytq.schema.recruit import Flavor, ProviderView
from pytq.server.recruit.providers import Machine, Order, ProviderError, Say
from pytq.server.whereabouts import Whereabouts

REGION: Final = "local"
WHOLE: Final = "whole"
# Some more than there are CPUs: a worker may well wait for the network most of the time.
_CROWDING: Final = 4
_STOP_SECONDS: Final = 30.0
_KILL_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05
_LOG_LINES: Final = 5
_LOG_CHARS: Final = 2_000
# The server's own affairs, and its secrets, are not a worker's.
_NOT_FOR_WORKERS: Final = frozenset(
    {"SQLALCHEMY_DATABASE_URI", "PYTQ_SERVER", "PYTQ_HOST", "PYTQ_PORT", "PYTQ_DATA_DIR",
     "PYTQ_WORK_DIR", "PYTQ_TOKEN", "PYTQ_TOKEN_FILE"}
)  # fmt: skip
_NOT_FOR_WORKERS_EITHER: Final = "OS_"  # OpenStack's


class Kept(NamedTuple):
    """What is written down of a worker."""

    worker: str
    flavor: str
    size: int  # CPUs
    cpus: list[int]  # those it is held to; none: it may use all
    pid: int
    process: str  # what tells it from a later one of the same number


class Local:
    """The provider `local`, with a folder for each worker below `home`."""

    name = "local"

    def __init__(self, home: Path, server: Whereabouts) -> None:
        self._home = home
        self._server = server

    async def view(self) -> ProviderView:
        """The machine, whole and in parts."""
        used = sum(kept.size for kept in self._kept())
        trouble = None if self._server.url else "the server does not know yet where it is reached"
        return ProviderView(
            name=self.name,
            regions=[REGION],
            flavors=list(_flavors(self._home, used)),
            trouble=trouble,
        )

    async def create(self, order: Order, say: Say) -> AsyncGenerator[str, None]:
        """Start workers, one after the other."""
        for name in order.names:
            try:
                kept = self._start(name, order)
            except OSError as error:
                raise ProviderError(f"worker {name} cannot be started: {error}") from error
            held = f"CPUs {', '.join(map(str, kept.cpus))}" if kept.cpus else "all CPUs"
            say(f"started {name} as process {kept.pid}, on {held}")
            yield name

    async def destroy(self, worker: str, say: Say) -> None:
        """End a worker's processes and remove what they left."""
        folder = self._home / worker
        for kept in self._kept():
            if kept.worker == worker and (process := _process(kept)):
                say(f"ending process {kept.pid}")
                await _end(process, signal.SIGTERM, _STOP_SECONDS)
        for left in _users_of(folder):
            say(f"ending process {left.pid}, which was left over")
            await _end(left, signal.SIGKILL, _KILL_SECONDS)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def machines(self) -> Sequence[Machine]:
        """The workers that were started here and not given back."""
        return [self._machine(kept) for kept in self._kept()]

    def _machine(self, kept: Kept) -> Machine:
        if _process(kept):
            return Machine(kept.worker, REGION, kept.flavor, alive=True)
        said = " / ".join(_last_words(self._home / kept.worker / "log"))
        detail = f"its process has ended: {said or 'it said nothing'}"
        return Machine(kept.worker, REGION, kept.flavor, alive=False, detail=detail)

    def _start(self, name: str, order: Order) -> Kept:
        folder = self._home / name
        folder.mkdir(parents=True)
        words = [
            *(sys.executable, "-m", "pytq.cli.main", "worker"),
            *(self._server.url or "", str(order.concurrency)),
            *("--name", name, "--batch", order.batch, "--prefetch", str(order.prefetch)),
            *("--work-dir", str(folder / "work"), "--kill"),
        ]
        pid = os.posix_spawn(
            sys.executable,
            words,
            _environment(os.environ),
            file_actions=_files(folder / "log"),
            setsid=True,
            setsigmask=(),
        )
        cpus = self._cpus_for(order.flavor)
        if cpus:
            with contextlib.suppress(psutil.Error, OSError):  # a wish, where that is not allowed
                psutil.Process(pid).cpu_affinity(cpus)
        process = credentials.process(pid)
        kept = Kept(name, order.flavor.name, order.flavor.cpus, cpus, pid, process)
        _write(folder / "machine.json", json.dumps(kept._asdict()))
        return kept

    def _cpus_for(self, flavor: Flavor) -> list[int]:
        """The CPUs with the fewest workers on them; none where all are meant."""
        ours = sorted(os.sched_getaffinity(0))
        if flavor.cpus >= len(ours):
            return []
        taken = Counter(cpu for kept in self._kept() for cpu in kept.cpus)
        return sorted(sorted(ours, key=lambda cpu: taken[cpu])[: flavor.cpus])

    def _kept(self) -> Iterator[Kept]:
        for path in sorted(self._home.glob("*/machine.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                yield Kept(**json.loads(path.read_text(encoding="utf-8")))


def _flavors(home: Path, used: int) -> Iterator[Flavor]:
    """The machine's halves, quarters and so on, down to one CPU; and all of it."""
    cpus = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total
    disk = shutil.disk_usage(_existing(home)).free
    room = max(0, _CROWDING * cpus - used)
    names = {1: "small", 2: "medium", 4: "large"}
    for count in (number for number in names if number < cpus):
        yield Flavor(
            name=names[count],
            region=REGION,
            cpus=count,
            memory=memory * count // cpus,
            disk=disk,
            available=room // count,
        )
    yield Flavor(
        name=WHOLE, region=REGION, cpus=cpus, memory=memory, disk=disk, available=room // cpus
    )


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What a worker finds set: as if the server's user had started it by hand."""
    return {
        name: value
        for name, value in ours.items()
        if name not in _NOT_FOR_WORKERS and not name.startswith(_NOT_FOR_WORKERS_EITHER)
    }


def _files(log: Path) -> list[tuple[int, int, str, int, int]]:
    opened = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), opened, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, str(log), opened, 0o600),
    ]


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _last_words(log: Path) -> list[str]:
    try:
        return log.read_text(errors="replace")[-_LOG_CHARS:].splitlines()[-_LOG_LINES:]
    except OSError:
        return []


# --- processes


def _process(kept: Kept) -> psutil.Process | None:
    """A worker's process, if it is still that one and lives."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        process = psutil.Process(kept.pid)
        if credentials.process(kept.pid) == kept.process and _lives(process):
            return process
    return None


def _lives(process: psutil.Process) -> bool:
    """Whether it has not ended. If it was our child, it is buried here."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _users_of(folder: Path) -> list[psutil.Process]:
    """Processes started for a folder below: a worker's keeper, where the worker was killed."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(word.startswith(f"{folder}{os.sep}") for word in process.cmdline()):
                found.append(process)
    return found


async def _end(process: psutil.Process, first: signal.Signals, patience: float) -> None:
    """End a process, and surely."""
    for number, seconds in ((first, patience), (signal.SIGKILL, _KILL_SECONDS)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)  # psutil sees to it that it is still the same one
        for _ in range(int(seconds / _LOOK_SECONDS)):
            if not _lives(process):
                return
            await asyncio.sleep(_LOOK_SECONDS)
    raise ProviderError(f"process {process.pid} does not end")
