"""Whatever goes wrong, and in whatever order: a file at its final name is whole and right."""

import asyncio
import contextlib
import hashlib
import os
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from fetch_parts import QUICK, names
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.web import Lie, LyingServer, Served, lying_server

from pytq.fetch import Fetcher, FetchError, FetchFailure
from pytq.fetch.landing import Landing, merged
from pytq.fetch.parts import beside, inside

CONTENT = os.urandom(6_000_000)
LIES = st.lists(
    st.sampled_from([lie for lie in Lie if lie not in (Lie.STALL, Lie.SILENT)]), max_size=6
)


@settings(max_examples=25)
@given(lies=LIES, streams=st.integers(1, 3), known=st.booleans(), tagged=st.booleans())
def test_a_file_at_its_final_name_is_right(
    lies: list[Lie], streams: int, known: bool, tagged: bool
) -> None:
    """After any sequence of lies the file is one whole version, or it is not there at all."""
    with lying_server() as web, tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "a")
        asyncio.run(_try(web, place, lies, streams, known=known, tagged=tagged))
        versions = [CONTENT] if known else [CONTENT, CONTENT[::-1]]
        if not known and Lie.FLIP in lies:
            return  # a wrong byte cannot be seen without a checksum
        if not known and Lie.PACKED in lies:
            versions.append(b"\x1f\x8b....")
        assert not place.exists() or place.read_bytes() in versions


async def _try(
    web: LyingServer, place: Path, lies: list[Lie], streams: int, *, known: bool, tagged: bool
) -> None:
    web.files["/a.bin"] = Served(CONTENT, tagged=tagged)
    web.lie("/a.bin", *lies)
    wanted = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}" if known else None
    async with Fetcher(replace(QUICK, streams=streams, stall=10.0)) as fetcher:
        with contextlib.suppress(FetchError):
            await fetcher.get(f"{web.url}/a.bin", place, checksum=wanted)


def landed(place: Path, version: str = "v1", size: int = 8_000_000) -> Landing:
    landing = Landing("uri", place)
    landing.open()
    landing.begin(version, size)
    return landing


def test_what_has_come_is_known_again(tmp_path: Path) -> None:
    """A later try knows which stretches are there, of the same version only."""
    first = landed(tmp_path / "a")
    first.write(4_000_000, b"x" * 1_000)
    first.mark(4_000_000, 4_001_000)
    first.leave()
    second = landed(tmp_path / "a")
    known = second.stretches
    second.leave()
    third = landed(tmp_path / "a", "v2")

    assert known == [(4_000_000, 4_001_000)]
    assert third.stretches == []
    third.discard()
    assert names(tmp_path) == []


@pytest.mark.parametrize("spoil", ["torn", "noise", "beyond", "gone", "boot"])
def test_a_journal_that_cannot_be_trusted(tmp_path: Path, spoil: str) -> None:
    """A journal that is damaged, or of another start of this machine, is not believed."""
    first = landed(tmp_path / "a")
    first.write(0, b"x" * 1_000)
    first.mark(0, 1_000)
    first.leave()
    journal = tmp_path / "a.part-pytq.from"
    text = journal.read_text()
    spoiled = {
        "torn": text + "[0, 12\n[3",
        "noise": "\x00" * 100,
        "beyond": text + "[0, 7000000]\n",
        "gone": "",
        "boot": text.replace('"boot": "', '"boot": "x'),
    }
    journal.write_text(spoiled[spoil])
    again = landed(tmp_path / "a")
    found = again.stretches
    again.discard()

    assert found == ([(0, 1_000)] if spoil == "torn" else [])


def test_two_at_the_same_place_do_not_mix(tmp_path: Path) -> None:
    """Two that land at one place have parts of their own; the last to settle wins, whole."""
    one, two = landed(tmp_path / "a", size=5_000_000), landed(tmp_path / "a", size=5_000_000)
    one.write(0, b"1" * 10)
    two.write(0, b"2" * 10)
    one.settle()
    two.settle()

    assert (tmp_path / "a").read_bytes() == b"2" * 10
    assert names(tmp_path) == ["a"]


def test_a_part_that_was_taken_away_is_not_settled(tmp_path: Path) -> None:
    """A part whose name leads to another file by now does not get the final name."""
    one = landed(tmp_path / "a")
    one.path.unlink()
    one.path.write_bytes(b"evil")
    with pytest.raises(FetchError, match="replaced") as caught:
        one.settle()
    one.close()

    assert caught.value.kind is FetchFailure.LOCAL
    assert not (tmp_path / "a").exists()


def test_a_file_that_cannot_fit_is_refused_at_once(tmp_path: Path) -> None:
    """A file larger than the free space is told before a byte of it comes."""
    with pytest.raises(FetchError, match="No space left") as caught:
        landed(tmp_path / "a", size=1 << 60)

    assert caught.value.kind is FetchFailure.DISK
    assert str(tmp_path) in str(caught.value)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=12))
def test_stretches_are_counted_once(pairs: list[tuple[int, int]]) -> None:
    """Merged stretches hold the same bytes, do not touch, and are in order."""
    stretches = [(start, start + length) for start, length in pairs]
    found = merged(stretches)

    assert {b for s, e in found for b in range(s, e)} == {
        b for s, e in stretches for b in range(s, e)
    }
    assert all(before[1] < after[0] for before, after in pairwise(found))


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a//x", "a/", "", ".", "a/./b", "a\0b"])
def test_names_that_leave_their_folder(tmp_path: Path, name: str) -> None:
    """No name from the other side leads out of its folder."""
    with pytest.raises(FetchError) as caught:
        inside("uri", tmp_path, name)

    assert caught.value.kind is FetchFailure.UNSAFE


def test_a_part_has_a_name_that_fits(tmp_path: Path) -> None:
    """The longest name there is gets a shorter one while it is under way."""
    assert len(os.fsencode(beside(tmp_path / ("ä" * 127)).name)) <= 255
