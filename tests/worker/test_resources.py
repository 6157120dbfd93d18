"""What tasks share: fetched once, shown to each, kept whole, and let go when room is needed."""

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from evil_archives import plain, tar
from staging_parts import Yard, at, names, spec_of

from pytq.fetch import FetchError, FetchFailure
from pytq.schema.states import Cause
from pytq.worker.staging import StagingError, shelf
from pytq.worker.staging.resources import plain as plain_uri


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    one = Yard(tmp_path / "home", [tmp_path])
    await one.resources.open()
    yield one
    await one.fetcher.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "db" / "sub").mkdir(parents=True)
    (folder / "db" / "index").write_bytes(b"index" * 1000)
    (folder / "db" / "sub" / "part").write_bytes(b"part")
    (folder / "db" / "empty").mkdir()
    (folder / "my.db.gz").write_bytes(gzip.compress(b"my database"))
    (folder / "tools.tgz").write_bytes(
        gzip.compress(tar(("bin/run", {"mode": 0o755}, b"#!"), plain("doc")))
    )
    return folder


class Source:
    """What `Fetcher.get` is asked for, held back until the test lets it go."""

    def __init__(self, yard: Yard) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.failure: FetchError | None = None
        self.cancelled = 0
        yard.fetcher.get = self.get  # type: ignore[method-assign]

    async def get(self, uri: Any, place: Path, **more: Any) -> None:
        self.asked.append(str(uri))
        progress = more["progress"]
        progress.total = 8
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        progress.done = 8
        await asyncio.to_thread(place.write_bytes, b"content!")


async def until(what: Any) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - nothing tells of what happens inside
            await asyncio.sleep(0.001)


async def test_a_resource_is_shown_read_only(yard: Yard, data: Path) -> None:
    """Files and folders are in /resource, unpacked as was asked, and none can be written to."""
    room = await yard.bring_for(
        resources=[
            f"file://{data}/my.db.gz|gunzip",
            f"file://{data}/tools.tgz|untar|mv:tools",
            f"file://{data}/db/|mv:db",
        ]
    )
    shown = at(room, "resource")

    assert (shown / "my.db").read_bytes() == b"my database"
    assert (shown / "db/index").read_bytes() == b"index" * 1000
    assert names(shown) == [
        *("db", "db/index", "db/sub", "db/sub/part"),
        *("my.db", "tools", "tools/bin", "tools/bin/run", "tools/doc"),
    ]
    modes = {path: oct((shown / path).stat().st_mode & 0o777) for path in names(shown)}
    assert {modes[path] for path in ("my.db", "db/index", "db/sub/part", "tools/doc")} == {"0o444"}
    assert {modes[path] for path in ("db", "db/sub", "tools", "tools/bin")} == {"0o555"}
    assert modes["tools/bin/run"] == "0o555"
    assert oct(shown.stat().st_mode & 0o777) == "0o555"


async def test_tasks_see_only_their_own(yard: Yard, data: Path) -> None:
    """Each task sees exactly what it asked for, though the bytes are the same ones."""
    one = await yard.bring_for(resources=f"file://{data}/my.db.gz|gunzip")
    other = await yard.bring_for(
        resources=[f"file://{data}/my.db.gz|gunzip|mv:x", f"file://{data}/db/index"]
    )

    assert names(at(one, "resource")) == ["my.db"]
    assert names(at(other, "resource")) == ["index", "x", "x/my.db"]
    assert at(one, "resource/my.db").samefile(at(other, "resource/x/my.db"))


async def test_ten_tasks_fetch_once(yard: Yard) -> None:
    """Whoever comes while a resource is on its way waits for that one, and watches it come."""
    source = Source(yard)
    jobs = [yard.job(spec_of(resources="s3://bucket/my.db")) for _ in range(10)]
    going = [asyncio.create_task(yard.bring(job)) for job in jobs]
    await until(lambda: {job.gauge.look(0.0).total for job in jobs} == {8})
    assert [view.users for view in yard.resources.views(0)] == [10]
    source.gate.set()
    await asyncio.gather(*going)

    assert source.asked == ["s3://bucket/my.db"]
    assert {at(job.room, "resource/my.db").read_bytes() for job in jobs} == {b"content!"}
    (view,) = yard.resources.views(0)
    assert (view.bytes, view.users, view.ready) == (8, 10, True)


async def test_who_leaves_does_not_end_it_for_others(yard: Yard) -> None:
    """The first to ask may be cancelled: the others still get it, from the same one download."""
    source = Source(yard)
    jobs = [yard.job(spec_of(resources="s3://bucket/my.db")) for _ in range(3)]
    going = [asyncio.create_task(yard.bring(job)) for job in jobs]
    await until(lambda: all(job.gauge.items for job in jobs))
    going[0].cancel()
    await asyncio.wait([going[0]])
    source.gate.set()
    await asyncio.gather(*going[1:])

    assert going[0].cancelled()
    assert len(source.asked) == 1


async def test_the_last_to_leave_ends_it(yard: Yard) -> None:
    """When nobody waits any more the download ends at once, and leaves nothing behind."""
    source = Source(yard)
    jobs = [yard.job(spec_of(resources="s3://bucket/my.db")) for _ in range(2)]
    going = [asyncio.create_task(yard.bring(job)) for job in jobs]
    await until(lambda: all(job.gauge.items for job in jobs))
    for task in going:
        task.cancel()
    await asyncio.wait(going)
    await until(lambda: not yard.resources.making)

    assert source.cancelled == 1
    assert not names(yard.shelf.making)
    source.gate.set()
    await yard.bring(yard.job(spec_of(resources="s3://bucket/my.db")))
    assert len(source.asked) == 2


async def test_who_comes_as_the_last_one_leaves_begins_anew(yard: Yard) -> None:
    """A download that is being given up is no use to a newcomer, who gets one of its own."""
    source = Source(yard)
    first = asyncio.create_task(yard.bring(yard.job(spec_of(resources="s3://bucket/my.db"))))
    await until(lambda: source.asked)
    first.cancel()
    second = asyncio.create_task(yard.bring(yard.job(spec_of(resources="s3://bucket/my.db"))))
    await asyncio.wait([first])
    source.gate.set()
    room = await second

    assert at(room, "resource/my.db").read_bytes() == b"content!"


async def test_a_failure_is_told_to_all_and_tried_again_later(yard: Yard) -> None:
    """All who wait hear why, without trying one by one; the next to ask tries again."""
    source = Source(yard)
    source.failure = FetchError("s3://bucket/my.db", "no such key", FetchFailure.MISSING)
    source.gate.set()
    going = [yard.bring(yard.job(spec_of(resources="s3://bucket/my.db"))) for _ in range(5)]
    came = await asyncio.gather(*going, return_exceptions=True)

    assert [str(error) for error in came] == ["s3://bucket/my.db: no such key"] * 5
    assert len(source.asked) == 1
    assert not names(yard.shelf.making)
    source.failure = None
    await yard.bring(yard.job(spec_of(resources="s3://bucket/my.db")))
    assert len(source.asked) == 2


def write(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"evil")


def write_and_pretend(path: Path) -> None:
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"e" * before.st_size)
    path.chmod(before.st_mode & 0o777)


@pytest.mark.parametrize("spoil", [write, write_and_pretend, Path.unlink, lambda p: p.chmod(0o644)])
async def test_what_was_tampered_with_is_fetched_anew(yard: Yard, data: Path, spoil: Any) -> None:
    """A resource that is not as it was when it came is never shown to another task."""
    uri = f"file://{data}/db/|mv:db"
    await yard.bring_for(resources=uri)
    (entry,) = yard.resources.entries.values()
    await asyncio.to_thread(spoil, entry.place / "content" / "index")
    room = await yard.bring_for(resources=uri)

    assert at(room, "resource/db/index").read_bytes() == b"index" * 1000
    (now,) = yard.resources.entries.values()
    assert now is not entry


async def test_tampering_through_the_link_is_found_after_the_task(yard: Yard, data: Path) -> None:
    """A task, as root, may write through its link: the resource is dropped as soon as it ends."""
    job = yard.job(spec_of(resources=f"file://{data}/my.db.gz|gunzip"))
    await yard.bring(job)
    await asyncio.to_thread(write, at(job.room, "resource/my.db"))
    await yard.resources.leave(job.ref)

    assert not yard.resources.entries
    room = await yard.bring_for(resources=f"file://{data}/my.db.gz|gunzip")
    assert at(room, "resource/my.db").read_bytes() == b"my database"


async def test_two_resources_of_one_name_are_refused(yard: Yard, data: Path) -> None:
    """Two resources never overwrite one another; the error says what to do."""
    (data / "other").mkdir()
    (data / "other" / "doc").write_text("other")
    with pytest.raises(StagingError, match=r"there is a doc already.*mv:FOLDER") as caught:
        await yard.bring_for(resources=[f"file://{data}/tools.tgz|untar", f"file://{data}/other/"])

    assert caught.value.cause is Cause.INPUT
    assert not caught.value.transient


async def test_resources_are_known_again(yard: Yard, data: Path, tmp_path: Path) -> None:
    """The next agent finds what is whole, removes what is not, and fetches nothing twice."""
    await yard.bring_for(resources=f"file://{data}/my.db.gz|gunzip")
    half = yard.shelf.begin("half")
    (half / "content").write_bytes(b"ha")
    broken = yard.shelf.folder / "broken.1"
    broken.mkdir()
    (broken / "manifest.json").write_text('{"kind": [')
    (data / "my.db.gz").unlink()
    again = Yard(tmp_path / "home", [tmp_path])
    await again.resources.open()
    room = await again.bring_for(resources=f"file://{data}/my.db.gz|gunzip")

    assert at(room, "resource/my.db").read_bytes() == b"my database"
    assert not half.exists()
    assert not broken.exists()
    await again.fetcher.close()


async def test_the_oldest_goes_first(yard: Yard, data: Path) -> None:
    """Room is made of what was used longest ago; what is in use or pinned stays."""
    uris = []
    for number in range(5):
        (data / f"r{number}").write_bytes(bytes(1000))
        uris.append(f"file://{data}/r{number}")
        job = yard.job(spec_of(resources=uris[-1]))
        await yard.bring(job)
        if number != 1:
            await yard.resources.leave(job.ref)  # 1 stays in use
    for entry in yard.resources.entries.values():
        entry.used = 1000.0 + uris.index(entry.kind.uri)
    await yard.resources.pin(uris[0], pinned=True)
    await yard.bring_for(resources=uris[2])  # used again, and by a task that has not ended
    freed = await yard.resources.evict(1500)

    assert freed == 2000
    assert {entry.kind.uri for entry in yard.resources.entries.values()} == set(uris[:3])
    assert await yard.resources.evict(1500) == 0
    await yard.resources.pin(uris[0], pinned=False)
    assert await yard.resources.evict(1) == 1000


async def test_pins_outlive_the_agent(yard: Yard, data: Path, tmp_path: Path) -> None:
    """What was pinned stays pinned, also before it was ever fetched."""
    await yard.resources.pin(f"file://{data}/my.db.gz|gunzip|mv:anywhere", pinned=True)
    again = Yard(tmp_path / "home", [tmp_path])
    await again.resources.open()
    job = again.job(spec_of(resources=f"file://{data}/my.db.gz|gunzip"))
    await again.bring(job)
    await again.resources.leave(job.ref)

    assert await again.resources.evict(1) == 0
    assert [view.pinned for view in again.resources.views(0)] == [True]
    await again.fetcher.close()


async def test_cleaning_takes_what_was_asked_for(yard: Yard, data: Path) -> None:
    """People may have some or all thrown away; nothing that is in use."""
    gz, tgz = f"file://{data}/my.db.gz|gunzip", f"file://{data}/tools.tgz|untar"
    using = yard.job(spec_of(resources=f"file://{data}/db/index"))
    await yard.bring(using)
    for uri in (gz, tgz):
        job = yard.job(spec_of(resources=uri))
        await yard.bring(job)
        await yard.resources.leave(job.ref)

    assert await yard.resources.clean({f"{gz}|mv:x"}) == len(b"my database")
    await yard.resources.clean(set())
    assert [view.users for view in yard.resources.views(0)] == [1]


async def test_another_file_system_gets_copies(
    yard: Yard, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a link cannot be made the task gets a copy, read-only as well."""

    def refuse(*_args: object, **_more: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    room = await yard.bring_for(resources=f"file://{data}/db/")

    assert at(room, "resource/index").read_bytes() == b"index" * 1000
    assert at(room, "resource/index").stat().st_mode & 0o777 == 0o444


async def test_many_files_are_synchronised_at_once(
    yard: Yard, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of many files is kept like any other."""
    monkeypatch.setattr(shelf, "SYNCED_ONE_BY_ONE", 1)
    room = await yard.bring_for(resources=f"file://{data}/db/")

    assert names(at(room, "resource")) == ["index", "sub", "sub/part"]


def test_where_it_goes_does_not_matter() -> None:
    """A resource is known by what it is and what was done to it; an image by its name."""
    assert plain_uri("s3://bucket/a.gz|gunzip|mv:x") == "s3://bucket/a.gz|gunzip"
    assert plain_uri("run+fastq/SRR000001/") == "run+fastq://SRR000001/"
    assert plain_uri("busybox:1.36") == "busybox:1.36"
