"""Files of the web: every lie of a server ends in a retry that succeeds, or in a plain error."""

import asyncio
import gzip
import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fetch_parts import CALM, at_work, names
from servers.web import Lie, LyingServer, Served

from pytq.fetch import Fetcher, FetchError, FetchFailure, Progress

SMALL = os.urandom(300_000)
BIG = os.urandom(40_000_000)  # several ranges

PASSING = [
    Lie.TRUNCATE,
    Lie.STALL,
    Lie.SILENT,
    Lie.RESET,
    Lie.REFUSE,
    Lie.LONGER,
    Lie.PAGE,
    Lie.PAGE_AS_DATA,
    Lie.BUSY,
    Lie.MANY,
    Lie.BROKEN,
    Lie.NOISE,
    Lie.WHOLE,
    Lie.DRIP,
]
LASTING = {
    Lie.TRUNCATE: (FetchFailure.BROKEN, "broke off"),
    Lie.STALL: (FetchFailure.STALLED, "no byte for 1 s"),
    Lie.SILENT: (FetchFailure.STALLED, "no byte for 1 s"),
    Lie.RESET: (FetchFailure.BROKEN, "broke off"),
    Lie.REFUSE: (FetchFailure.BROKEN, "broke off"),
    Lie.LONGER: (FetchFailure.BROKEN, "broke off"),
    Lie.PAGE: (FetchFailure.CORRUPT, "web page"),
    Lie.PAGE_AS_DATA: (FetchFailure.CORRUPT, "web page"),
    Lie.BUSY: (FetchFailure.BUSY, "503"),
    Lie.MANY: (FetchFailure.BUSY, "429"),
    Lie.BROKEN: (FetchFailure.BUSY, "500"),
    Lie.MISSING: (FetchFailure.MISSING, "404"),
    Lie.DENIED: (FetchFailure.DENIED, "403"),
    Lie.LOOP: (FetchFailure.UNSUPPORTED, "redirects"),
    Lie.NOISE: (FetchFailure.BROKEN, "no proper HTTP"),
    Lie.ENDLESS: (FetchFailure.UNSUPPORTED, "how large it is"),
    Lie.PACKED: (FetchFailure.UNSUPPORTED, "packs it"),
    Lie.OTHER_RANGE: (FetchFailure.UNSUPPORTED, "another range"),
}


async def fails(fetcher: Fetcher, uri: str, place: Path, **wanted: object) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetcher.get(uri, place, **wanted)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("content", [SMALL, BIG, b""], ids=["small", "big", "empty"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
@pytest.mark.parametrize("tagged", [True, False], ids=["tagged", "untagged"])
async def test_a_file_comes(
    calm: Fetcher, web: LyingServer, tmp_path: Path, content: bytes, ranges: bool, tagged: bool
) -> None:
    """A file comes whole from any kind of server, is counted exactly, and leaves no other file."""
    web.files["/a.bin"] = Served(content, ranges=ranges, tagged=tagged)
    progress = Progress()
    await calm.get(f"{web.url}/a.bin", tmp_path / "to" / "a", progress=progress)

    assert (tmp_path / "to" / "a").read_bytes() == content
    assert names(tmp_path) == ["to/a"]
    assert (progress.done, progress.total or 0) == (len(content), len(content))


async def test_a_big_file_comes_in_several_streams(
    calm: Fetcher, web: LyingServer, tmp_path: Path
) -> None:
    """A big file is read in ranges side by side, all of the same version."""
    web.files["/a.bin"] = Served(BIG)
    await calm.get(f"{web.url}/a.bin", tmp_path / "a")

    ranges = [asked.headers["range"] for asked in web.asked]
    tags = {asked.headers.get("if-range") for asked in web.asked[1:]}
    assert len(ranges) == 3
    assert tags == {web.files["/a.bin"].tag}


@pytest.mark.parametrize("lie", PASSING)
async def test_a_lie_that_passes_costs_a_retry(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path, lie: Lie
) -> None:
    """Told once, no lie keeps a file from coming whole."""
    web.files["/a.bin"] = Served(SMALL)
    web.lie("/a.bin", lie)
    begun = time.monotonic()
    await fetcher.get(f"{web.url}/a.bin", tmp_path / "a")

    assert (tmp_path / "a").read_bytes() == SMALL
    assert names(tmp_path) == ["a"]
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("lie", LASTING)
async def test_a_lie_that_lasts_is_an_error(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path, lie: Lie
) -> None:
    """Told every time, a lie ends within seconds in an error with URI and reason, and no file."""
    web.files["/a.bin"] = Served(SMALL)
    web.always["/a.bin"] = lie
    kind, said = LASTING[lie]
    error = await fails(fetcher, f"{web.url}/a.bin", tmp_path / "a")

    assert f"{web.url}/a.bin" in str(error)
    assert said in str(error)
    assert error.kind is kind
    assert "a" not in names(tmp_path)


@pytest.mark.parametrize("lie", [Lie.MISSING, Lie.DENIED, Lie.LOOP, Lie.ENDLESS])
async def test_what_will_not_pass_is_not_tried_again(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path, lie: Lie
) -> None:
    """A permanent error is told at once."""
    web.files["/a.bin"] = Served(SMALL)
    web.lie("/a.bin", lie)
    if lie is Lie.LOOP:
        web.always["/a.bin"] = lie
    error = await fails(fetcher, f"{web.url}/a.bin", tmp_path / "a")

    assert not error.transient
    assert len(web.asked) == (10 if lie is Lie.LOOP else 1)


async def test_a_wrong_byte_is_found(fetcher: Fetcher, web: LyingServer, tmp_path: Path) -> None:
    """A checksum finds what sizes do not; the next try brings the right file."""
    web.files["/a.bin"] = Served(SMALL)
    web.lie("/a.bin", Lie.FLIP)
    wanted = f"sha256:{hashlib.sha256(SMALL).hexdigest()}"
    await fetcher.get(f"{web.url}/a.bin", tmp_path / "a", checksum=wanted)

    assert (tmp_path / "a").read_bytes() == SMALL
    assert len(web.asked) == 2


@pytest.mark.parametrize("content", [SMALL, BIG], ids=["small", "big"])
async def test_a_wrong_checksum_is_told(
    calm: Fetcher, web: LyingServer, tmp_path: Path, content: bytes
) -> None:
    """A file with another checksum is fetched twice, then refused by both checksums' names."""
    web.files["/a.bin"] = Served(content)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    error = await fails(calm, f"{web.url}/a.bin", tmp_path / "a", checksum="md5:" + "0" * 32)

    assert found in str(error)
    assert "0" * 32 in str(error)
    assert error.kind is FetchFailure.CORRUPT
    assert names(tmp_path) == []


async def test_a_wrong_size_is_told_before_it_is_fetched(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path
) -> None:
    """A file that is announced with another size than it should have is not fetched at all."""
    web.files["/a.bin"] = Served(BIG)
    error = await fails(fetcher, f"{web.url}/a.bin", tmp_path / "a", size=5)

    assert "has 40000000 bytes, not the 5 it should have" in str(error)
    assert len(web.asked) == 1
    assert names(tmp_path) == []


async def test_it_goes_on_where_it_was_cut_off(web: LyingServer, tmp_path: Path) -> None:
    """What came before a line broke is not fetched again, not even by another process's fetcher."""
    web.files["/a.bin"] = Served(BIG)
    web.always["/a.bin"] = Lie.TRUNCATE
    options = replace(CALM, streams=1, attempts=1)
    async with Fetcher(options) as first:
        await fails(first, f"{web.url}/a.bin", tmp_path / "a")
    web.always.clear()
    web.asked.clear()
    progress = Progress()
    async with Fetcher(options) as second:
        await second.get(f"{web.url}/a.bin", tmp_path / "a", progress=progress)

    assert (tmp_path / "a").read_bytes() == BIG
    assert names(tmp_path) == ["a"]
    assert web.asked[0].headers["range"] == "bytes=20000000-"
    assert progress.done == len(BIG)


@pytest.mark.parametrize("streams", [1, 4])
async def test_a_long_file_over_a_bad_line_comes_at_last(
    web: LyingServer, tmp_path: Path, streams: int
) -> None:
    """As long as every try gets further, there is no end of tries."""
    web.files["/a.bin"] = Served(BIG)
    web.lie("/a.bin", *[Lie.TRUNCATE] * 12)
    async with Fetcher(replace(CALM, streams=streams, attempts=2)) as fetcher:
        await fetcher.get(f"{web.url}/a.bin", tmp_path / "a")

    assert (tmp_path / "a").read_bytes() == BIG


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("lies", [[Lie.TRUNCATE, Lie.CHANGE], [Lie.DRIP, Lie.CHANGE]])
async def test_a_file_that_changes_is_of_one_piece(
    web: LyingServer, tmp_path: Path, streams: int, lies: list[Lie]
) -> None:
    """When a file is replaced between two tries or two ranges, no mixture of both comes."""
    web.files["/a.bin"] = Served(BIG)
    web.lie("/a.bin", *lies)
    async with Fetcher(replace(CALM, streams=streams)) as fetcher:
        await fetcher.get(f"{web.url}/a.bin", tmp_path / "a")

    assert (tmp_path / "a").read_bytes() in (BIG, BIG[::-1])


async def test_a_file_without_a_tag_is_never_put_together(
    calm: Fetcher, web: LyingServer, tmp_path: Path
) -> None:
    """Where nothing tells one version from the next, every try begins at the beginning."""
    served = web.files["/a.bin"] = Served(BIG, tagged=False)
    web.lie("/a.bin", Lie.DRIP, Lie.TRUNCATE, Lie.CHANGE)
    await calm.get(f"{web.url}/a.bin", tmp_path / "a")

    assert (tmp_path / "a").read_bytes() == served.content


async def test_mirrors_with_tags_of_their_own_are_read_in_one_go(
    calm: Fetcher, web: LyingServer, tmp_path: Path
) -> None:
    """A server whose ETag differs from answer to answer still gives its file, in one answer."""
    served = web.files["/a.bin"] = Served(BIG)
    served.__class__ = type(
        "Mirrored", (Served,), {"tag": property(lambda _: f'"{os.urandom(4).hex()}"')}
    )
    await calm.get(f"{web.url}/a.bin", tmp_path / "a")

    assert (tmp_path / "a").read_bytes() == BIG


async def test_chunks_without_a_length_are_complete_or_an_error(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path
) -> None:
    """A chunked answer has an end of its own, so that it needs no length."""
    web.files["/a.bin"] = Served(SMALL, chunked=True, ranges=False)
    await fetcher.get(f"{web.url}/a.bin", tmp_path / "a")

    assert (tmp_path / "a").read_bytes() == SMALL


async def test_a_size_or_checksum_makes_up_for_a_missing_length(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path
) -> None:
    """A file of unknown length is taken when it can be proved to be whole."""
    web.files["/a.bin"] = Served(SMALL)
    web.always["/a.bin"] = Lie.ENDLESS
    await fetcher.get(f"{web.url}/a.bin", tmp_path / "a", size=len(SMALL))
    wanted = f"md5:{hashlib.md5(SMALL, usedforsecurity=False).hexdigest()}"
    await fetcher.get(f"{web.url}/a.bin", tmp_path / "b", checksum=wanted)
    error = await fails(fetcher, f"{web.url}/a.bin", tmp_path / "c", size=len(SMALL) + 1)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == SMALL
    assert error.kind is FetchFailure.CORRUPT
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("page.html", b"<html>hello</html>", "text/html"),
        ("page.HTM", b"<!DOCTYPE html>", "text/html"),
        ("reads.fq.gz", gzip.compress(b"@r1\nACGT\n", mtime=0), "text/html"),
        ("notes.xml", b"<?xml version='1.0'?><a/>", "text/xml"),
    ],
)
async def test_what_is_no_portal_page_is_taken(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    """Pages that are asked for, and data that a server calls a page, come."""
    web.files[f"/{name}"] = Served(content, kind)
    await fetcher.get(f"{web.url}/{name}", tmp_path / "a")

    assert (tmp_path / "a").read_bytes() == content


async def test_a_gz_file_called_gzip_encoded_stays_packed(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path
) -> None:
    """A .gz file whose server calls it gzip-encoded is stored as it is."""
    web.files["/a.gz"] = Served(b"x")
    web.always["/a.gz"] = Lie.PACKED
    await fetcher.get(f"{web.url}/a.gz", tmp_path / "a.gz")

    assert (tmp_path / "a.gz").read_bytes() == b"\x1f\x8b...."


@pytest.mark.parametrize("path", ["/a b+c&d.bin", "/ü/ä.bin", "/50%25.bin"])
async def test_odd_names(fetcher: Fetcher, web: LyingServer, tmp_path: Path, path: str) -> None:
    """Spaces, umlauts and percent signs are quoted once, and only once."""
    from urllib.parse import quote, unquote

    web.files[unquote(path)] = Served(SMALL)
    await fetcher.get(f"{web.url}{path}", tmp_path / "a")

    assert web.asked[0].path == quote(unquote(path), safe="/+&")


async def test_a_signed_query_stays_out_of_the_error(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path
) -> None:
    """What follows the question mark may be a secret, and is not repeated."""
    error = await fails(fetcher, f"{web.url}/none?signature=hunter2", tmp_path / "a")

    assert "hunter2" not in str(error) + error.uri
    assert "/none?…" in str(error)


async def test_folders_and_uploads_are_refused(
    fetcher: Fetcher, web: LyingServer, tmp_path: Path
) -> None:
    """What the web cannot do is said, with what can."""
    (tmp_path / "a").touch()
    with pytest.raises(FetchError, match="name each file"):
        await fetcher.get(f"{web.url}/folder/", tmp_path / "b", directory=True)
    with pytest.raises(FetchError, match="use file, ftp, s3"):
        await fetcher.put(tmp_path / "a", f"{web.url}/a")
    with pytest.raises(FetchError, match="use file, ftp, s3"):
        await fetcher.remove(f"{web.url}/a")


async def test_nobody_there(fetcher: Fetcher, tmp_path: Path) -> None:
    """A closed port and an unknown host are told apart."""
    closed = await fails(fetcher, "http://127.0.0.1:1/x", tmp_path / "a")
    unknown = await fails(fetcher, "http://no-such-host.invalid/x", tmp_path / "a")

    assert "Connection refused" in str(closed) or "cannot connect" in str(closed)
    assert "nobody knows the host no-such-host.invalid" in str(unknown)
    assert closed.kind is unknown.kind is FetchFailure.UNREACHABLE


@pytest.mark.parametrize("lie", [Lie.STALL, Lie.SILENT])
async def test_cancelling_leaves_nothing_behind(web: LyingServer, tmp_path: Path, lie: Lie) -> None:
    """A cancelled download ends at once: no task, no thread, no final file; the next one works."""
    web.files["/a.bin"] = Served(BIG)
    web.always["/a.bin"] = lie
    before = asyncio.all_tasks()
    fetcher = Fetcher(CALM)
    task = asyncio.create_task(fetcher.get(f"{web.url}/a.bin", tmp_path / "a"))
    assert await asyncio.to_thread(web.hung.wait, 5)
    task.cancel()
    begun = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert time.monotonic() - begun < 1
    assert at_work(before) == []
    assert "a" not in names(tmp_path)
    web.always.clear()
    await fetcher.get(f"{web.url}/a.bin", tmp_path / "a")
    await fetcher.close()
    assert (tmp_path / "a").read_bytes() == BIG
    assert names(tmp_path) == ["a"]


async def test_listing_a_file_tells_its_size(fetcher: Fetcher, web: LyingServer) -> None:
    """One file can be looked at without fetching it."""
    web.files["/a.bin"] = Served(SMALL)
    found = [entry async for entry in fetcher.list(f"{web.url}/a.bin")]

    assert [(entry.name, entry.size) for entry in found] == [("a.bin", len(SMALL))]
    assert [asked.method for asked in web.asked] == ["HEAD"]
