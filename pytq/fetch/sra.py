"""FASTQ made from an SRA file, by NCBI's own tools where this machine has them."""

import asyncio
import contextlib
import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from isal import igzip

from pytq.fetch.errors import FetchError, FetchFailure, local_error
from pytq.fetch.options import FetchOptions
from pytq.fetch.threads import Stopped, Threads, surely
from pytq.fetch.transfer import Meter
from pytq.schema.uris import Uri

DUMP: Final = "fasterq-dump"
PREFETCH: Final = "prefetch"
LEVEL: Final = 1  # igzip's: files about as small as gzip -4 makes them, ten times faster
PIECE: Final = 1024 * 1024
WORDS: Final = 500  # of a failing tool's last words
QUIET_FACTOR: Final = 5  # the tools sort for a while without a byte


class SraTools:
    """Runs `prefetch` and `fasterq-dump`, and packs what they make."""

    def __init__(self, threads: Threads, options: FetchOptions) -> None:
        self._threads = threads
        self._quiet = options.stall * QUIET_FACTOR

    @asynccontextmanager
    async def room(self, uri: Uri, place: Path) -> AsyncIterator[Path]:
        """A folder for what comes in between."""
        if shutil.which(DUMP) is None:
            reason = f"{DUMP} is not installed on this machine: install the SRA toolkit"
            raise FetchError(uri, reason, FetchFailure.UNSUPPORTED)
        room = place / ".sra.part-pytq"
        try:
            await self._threads.run(partial(room.mkdir, parents=True, exist_ok=True))
            yield room
        except OSError as error:
            raise local_error(uri, error) from error
        finally:
            clean = self._threads.run(partial(shutil.rmtree, room, ignore_errors=True))
            await surely(clean, self._quiet)

    async def dump(self, uri: Uri, room: Path, name: str | None, place: Path, meter: Meter) -> None:
        """Make the FASTQ files of a run, from its SRA file in `room` or from NCBI."""
        if name is None:
            await self._run(uri, room, [PREFETCH, "--max-size", "u", "-O", str(room), uri.host])
        source = f"./{name or uri.host}"  # a file or folder of the room, never an option
        out = room / "fastq"
        words = [DUMP, "--split-3", "--outdir", str(out), "--temp", str(room), source]
        await self._run(uri, room, words)
        made = sorted(out.glob("*.fastq")) if out.is_dir() else []
        if not made:
            raise FetchError(uri, f"{DUMP} made no FASTQ file of it", FetchFailure.CORRUPT)
        for file in made:
            pack = partial(_pack, file, place / f"{_named(uri, file)}.gz", meter)
            await self._threads.run_long(uri, pack, meter)

    async def _run(self, uri: Uri, room: Path, words: list[str]) -> None:
        """Run a tool to its end; it is ended with all its children when nothing grows any more."""
        log = room / f"{words[0]}.log"
        with log.open("wb") as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *words,
                    cwd=room,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                reason = f"{words[0]} is not installed on this machine: install the SRA toolkit"
                raise FetchError(uri, reason, FetchFailure.UNSUPPORTED) from error
        try:
            await self._watch(uri, process, room)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await surely(process.wait(), self._quiet)
        if process.returncode:
            words_ = log.read_text(errors="replace").strip()[-WORDS:]
            reason = f"{words[0]} ended with {process.returncode}: {words_}"
            raise FetchError(uri, reason, FetchFailure.BROKEN)

    async def _watch(self, uri: Uri, process: asyncio.subprocess.Process, room: Path) -> None:
        ended = asyncio.ensure_future(process.wait())
        size = -1
        try:
            while not ended.done():
                grown = await self._threads.run(partial(_size, room))
                if grown == size:
                    reason = f"the SRA tools wrote no byte for {self._quiet:g} s"
                    raise FetchError(uri, reason, FetchFailure.STALLED)
                size = grown
                await asyncio.wait([ended], timeout=self._quiet)
        finally:
            ended.cancel()


def _size(folder: Path) -> int:
    sizes = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                sizes += Path(where, name).lstat().st_size
    return sizes


def _named(uri: Uri, file: Path) -> str:
    """The name that ENA would give it: the tools name files after their input."""
    stem = file.stem
    mate = stem[-2:] if stem.endswith(("_1", "_2")) else ""
    return f"{uri.host}{mate}.fastq"


def _pack(source: Path, place: Path, meter: Meter, stop: threading.Event) -> None:
    part = place.with_name(f"{place.name}.part-pytq")
    try:
        with source.open("rb") as plain, igzip.open(part, "wb", compresslevel=LEVEL) as packed:  # type: ignore[no-untyped-call]
            while piece := plain.read(PIECE):
                if stop.is_set():
                    raise Stopped
                packed.write(piece)
                meter.touch()
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
        source.unlink()
