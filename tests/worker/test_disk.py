"""A disk that fills up: said in words, survived, and recovered from without anybody's help."""

import asyncio
import errno
import gzip
import json
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import small_disk
from origin import Origin, origin
from scripted import ScriptedServer, succeeded
from staging_parts import Yard

from pytq.schema.frames import Ref
from pytq.schema.states import Cause, Outcome, Phase
from pytq.schema.views import WorkerSettings
from pytq.worker import moves, upkeep
from pytq.worker.hands import event_of
from pytq.worker.journal import Journal
from pytq.worker.options import WorkerOptions
from pytq.worker.porter import Porter
from pytq.worker.rooms import Rooms
from pytq.worker.staging import StagingError, disk
from pytq.worker.staging.disk import Ballast, Disk, emptied, look, size
from pytq.worker.upkeep import Intake

Start = Callable[..., "asyncio.Task[int]"]

MIB = 2**20
SIZE = 32 * MIB


def facts(free: int, total: int = 100 * MIB, *, files: bool = True) -> Disk:
    return Disk("/scratch", "tmpfs", total, free, files)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, small enough to fill."""
    with small_disk(tmp_path / "scratch", f"size={SIZE}") as place:
        yield place


@pytest.fixture
async def web() -> AsyncIterator[Origin]:
    async with origin() as one:
        yield one


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and wait briefly after something did not fit."""
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(upkeep, "PAUSE", 0.5)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (64 * MIB, "64 MiB"), (1.5 * 2**40, "1.5 TiB")],
)
def test_sizes_are_said_in_words(amount: float, text: str) -> None:
    """Sizes are told as people read them."""
    assert size(amount) == text


def test_a_full_disk_is_named() -> None:
    """Where it is mounted, what kind it is, how large, and what would have been needed."""
    assert facts(0).full == "disk full: /scratch (tmpfs, 100 MiB)"
    assert facts(0, files=False).full.endswith(": it can hold no more files")
    assert facts(MIB).short_of(3 * MIB).endswith(": 3 MiB needed, 1 MiB free")


def test_the_disk_of_a_place(tmp_path: Path) -> None:
    """A place that is not there yet is on the disk of the folder it will be in."""
    there, later = look(tmp_path), look(tmp_path / "a" / "b")

    assert (there.path, there.kind, there.total) == (later.path, later.kind, later.total)
    assert look("/proc/self").kind == "proc"
    assert not emptied(tmp_path)


def test_ballast_is_let_go_once(tmp_path: Path) -> None:
    """The room that is kept back is real, and is given back whole."""
    ballast = Ballast(tmp_path)
    ballast.take()
    held = (tmp_path / "ballast").stat()

    assert held.st_blocks * 512 >= held.st_size > 0
    assert ballast.drop()
    assert not ballast.drop()
    assert not ballast.there


def test_the_journal_is_written_with_what_was_kept_back(small: Path) -> None:
    """On a disk without a byte left, what must not be forgotten still finds its room."""
    ballast = Ballast(small)
    ballast.take()
    journal = Journal(small / "journal.sqlite", ballast.drop)
    fill(small)
    for number in range(1, 31):
        journal.accept([((number, 1), "a lease")])
        journal.commit()

    assert not ballast.there
    assert len(journal.read()) == 30
    journal.accept(((number, 1), "x" * 10_000) for number in range(31, 5000))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.commit()
    journal.retract()
    journal.close()


def test_intake_closes_and_opens_by_itself() -> None:
    """Nothing is taken in while there is no room; a little more than the floor must be free."""
    intake, floor = Intake(), facts(0).floor
    assert intake.judge("", facts(50 * MIB), 1.0) == ""
    full = intake.judge("", facts(floor - 1), 2.0)

    assert full == "disk full: /scratch (tmpfs, 100 MiB)"
    assert intake.judge(full, facts(floor + 1), 3.0) == full
    assert intake.judge(full, facts(50 * MIB, files=False), 3.5) == full
    assert intake.judge(full, facts(50 * MIB), 4.0) == ""
    intake.judge("", facts(0), 5.0)
    assert intake.judge("input: disk full", facts(50 * MIB), 6.0), "a task ran into it as well"
    assert intake.judge("input: disk full", facts(50 * MIB), 6.1)


def test_what_did_not_fit_makes_for_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a task found no room nothing is asked for, longer each time, until it is forgiven."""
    monkeypatch.setattr(upkeep, "PAUSE", 5.0)
    intake, plenty = Intake(), facts(50 * MIB)

    def pause(now: float) -> float:
        start = now
        while intake.judge("did not fit", plenty, now):
            now += 0.5
        return now - start

    assert [pause(t) for t in (1.0, 20.0, 60.0)] == [5.0, 10.0, 20.0]
    intake.judge("", plenty, 1000.0)
    assert pause(1001.0) == 5.0


def fill(place: Path, leave: int = 0) -> Path:
    """Leave so many bytes of a disk, and no more."""
    filler = place / "filler"
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, free - leave))
    return filler


def wants(server: ScriptedServer, *mounts: dict[str, Any], **more: Any) -> Ref:
    steps = [{"command": "ls $INPUT $RESOURCE"}]
    return server.add_json({"steps": steps, "mounts": list(mounts), **more})


def check_refused(ended: Any, small: Path) -> None:
    assert (ended.outcome, ended.cause) == (Outcome.REFUSED, Cause.DISK)
    assert re.search(rf"disk full: {small} \(tmpfs, 32 MiB\)", ended.detail), ended.detail


async def test_what_is_known_not_to_fit_is_not_begun(
    server: ScriptedServer, start: Start, web: Origin, small: Path
) -> None:
    """A size that is known beforehand is refused before a byte has come, naming the disk."""
    uri = web.add("big", b"x")
    ref = wants(server, {"source": uri, "path": "/input/big", "size": 40 * MIB})
    start(work_dir=small / "w")
    ended = await server.end_of(ref)

    check_refused(ended, small)
    assert uri in ended.detail
    assert "40 MiB needed" in ended.detail
    assert web.asked["big"] == 0


@pytest.mark.parametrize("silent", [False, True])
async def test_what_turns_out_not_to_fit_is_given_up(
    server: ScriptedServer, start: Start, web: Origin, small: Path, silent: bool
) -> None:
    """Whether or not the source tells its size: refused, naming the disk, which is free again."""
    uri = web.add("big", bytes(40 * MIB))
    if silent:
        web.silent.add("big")
    ref = wants(server, {"source": uri, "path": "/input/big"})
    start(work_dir=small / "w")
    ended = await server.end_of(ref, 20)

    check_refused(ended, small)
    assert server.reports[-1].capacity == 0
    await server.until(lambda: server.reports[-1].capacity == 2)
    small_one = wants(server, {"source": web.add("s", b"x"), "path": "/input/s"})
    await server.hand_out()
    assert succeeded(await server.end_of(small_one))


async def test_an_archive_that_outgrows_the_disk(
    server: ScriptedServer, start: Start, web: Origin, small: Path
) -> None:
    """What fits packed and not unpacked is refused as what it is: a lack of room."""
    data = b"".join(os.urandom(1024) * 100 for _ in range(600))
    uri = web.add("a.gz", gzip.compress(data, 1))
    ref = wants(server, {"source": f"{uri}|gunzip", "path": "/input/a.gz"})
    start(work_dir=small / "w")
    ended = await server.end_of(ref, 20)

    assert len(web.files["a.gz"]) < SIZE / 4 < 2 * SIZE < len(data) * 2
    check_refused(ended, small)


async def test_old_resources_make_room(
    server: ScriptedServer, start: Start, web: Origin, small: Path
) -> None:
    """What was used longest ago and nobody uses goes by itself, and everything succeeds."""
    server.settings = WorkerSettings(version=1, concurrency=1)
    uris = [web.add(f"r{n}", bytes([n]) * 9 * MIB) for n in range(6)]
    mounts = [{"source": uri, "path": "/resource/r", "scope": "worker"} for uri in uris]
    refs = [wants(server, mount) for mount in mounts]
    start(work_dir=small / "w")
    ended = [await server.end_of(ref, 30) for ref in refs]

    assert all(map(succeeded, ended)), ended
    manifests = (small / "w/resources").glob("*/manifest.json")
    found = {json.loads(manifest.read_text())["kind"][0] for manifest in manifests}
    assert uris[-1] in found
    assert uris[0] not in found


async def test_the_mark_is_kept(
    server: ScriptedServer, start: Start, web: Origin, small: Path
) -> None:
    """Beyond the mark resources go even when nobody needs their room."""
    uri = web.add("r", bytes(20 * MIB))
    ref = wants(server, {"source": uri, "path": "/resource/r", "scope": "worker"})
    start(work_dir=small / "w", disk_high=0.5)
    assert succeeded(await server.end_of(ref, 20))

    await server.until(lambda: server.reports[-1].resources == [], 20)
    assert look(small).used < 0.5


async def test_a_command_that_fills_the_disk(
    server: ScriptedServer, start: Start, small: Path
) -> None:
    """It ends naming the disk; the worker takes nothing until there is room, then goes on alone."""
    ref = server.add("dd if=/dev/zero of=$OUTPUT/x bs=1M 2>/dev/null")
    start(work_dir=small / "w")
    ended = await server.end_of(ref, 20)

    assert (ended.outcome, ended.cause) == (Outcome.LOST, Cause.DISK)
    assert f"disk full: {small}" in ended.detail
    other = server.add("echo fine")
    assert succeeded(await server.end_of(other, 20))


async def test_others_fill_the_disk(
    server: ScriptedServer, start: Start, web: Origin, small: Path
) -> None:
    """Whoever fills it: nothing is asked for, what runs goes on, and room is all that is needed."""
    runs = server.add("sleep 1; echo done")
    start(work_dir=small / "w")
    await server.phase_of(runs, Phase.RUNNING)
    filler = await asyncio.to_thread(fill, small, 64 * 1024)
    await server.until(lambda: server.reports[-1].capacity == 0)
    ended = await server.end_of(runs)
    assert succeeded(ended), ended
    waits = wants(server, {"source": web.add("s", b"x"), "path": "/input/s"})
    await server.hand_out()
    assert waits not in server.open
    await asyncio.to_thread(filler.unlink)

    assert succeeded(await server.end_of(waits, 20))


def test_a_step_that_cannot_be_started_for_want_of_room(tmp_path: Path) -> None:
    """What the keeper could not write down or make is refused, naming the disk."""
    failed = {"type": "failed", "errno": errno.ENOSPC, "message": "No space left on device"}
    event = event_of((1, 1), 0, failed, tmp_path)

    assert isinstance(event, moves.StepFailedToStart)
    assert (event.cause, event.detail) == (Cause.DISK, look(tmp_path).full)


def test_floors_are_small_on_small_disks() -> None:
    """So much is kept free, and no more: a part of a small disk, a bound on a large one."""
    assert facts(0).floor == 2 * MIB
    assert Disk("/", "ext4", 2**45, 0, files=True).floor == disk.FLOOR_BYTES


async def test_a_copy_that_no_longer_fits_is_not_taken_for_a_bad_source(
    small: Path, tmp_path: Path
) -> None:
    """A file of this machine whose end does not fit is a lack of room, not a wrong size."""
    data = tmp_path / "data"
    data.write_bytes(os.urandom(MIB + MIB // 2))
    yard = Yard(small / "w")
    await yard.resources.open()
    await asyncio.to_thread(fill, small, MIB + MIB // 4)

    with pytest.raises(StagingError, match=f"{data}: disk full: {small}") as caught:
        await yard.bring_mounts({"source": f"file://{data}", "path": "/input/x"})
    assert caught.value.cause is Cause.DISK
    await yard.fetcher.close()


class Images:
    """Keeps count of what it was asked to evict."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.evicted: list[int] = []

    async def evict(self, wanted: int) -> int:
        self.evicted.append(wanted)
        return wanted


@pytest.mark.parametrize(
    ("home", "images", "asked"),
    [("small", "large", False), ("small", "small", True), ("large", "small", True)],
)
async def test_images_go_only_where_that_helps(
    small: Path, tmp_path: Path, home: str, images: str, asked: bool
) -> None:
    """Images make room on the disk that they lie on, and are spared when another one is full."""
    disks = {"small": small, "large": tmp_path}
    (disks[home] / "w").mkdir()
    options = WorkerOptions("127.0.0.1", 1, work_dir=disks[home] / "w", disk_high=0.8)
    porter = Porter(options, Rooms(options.home), lambda _: None)
    porter.images = kept = Images(disks[images])  # type: ignore[assignment] # all that is needed
    await asyncio.to_thread(fill, small, 3 * MIB)
    porter.tidy()
    await asyncio.gather(*porter._side)
    await porter.close()

    assert bool(kept.evicted) == asked
    assert all(3 * MIB < wanted < 5 * MIB for wanted in kept.evicted)
