"""Files of this machine: whole copies or none, and nothing outside the allowed roots."""

import asyncio
import errno
import hashlib
import os
import pickle
import time
from pathlib import Path

import pytest
from fetch_parts import at_work, names

from pytq.fetch import Fetcher, FetchError, FetchFailure, FetchOptions, Progress


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b").write_bytes(b"one")
    (folder / "50%41").write_bytes(b"percent")
    (folder / "sub" / "two").write_bytes(b"two" * 1_000_000)
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    return folder


async def fails(doing: object) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await doing  # type: ignore[misc]
    return caught.value


async def test_a_folder_is_copied(fetcher: Fetcher, data: Path, tmp_path: Path) -> None:
    """Regular files come and go, with any name; links are not followed, pipes do not block."""
    there, back = Progress(), Progress()
    await fetcher.get(f"file://{data}/", tmp_path / "out", directory=True, progress=there)
    for _ in range(2):  # the same once more does no harm
        uri = f"file://{tmp_path}/to/"
        await fetcher.put(tmp_path / "out", uri, directory=True, tag="7.1", progress=back)

    assert names(tmp_path / "out") == ["50%41", "a b", "sub/two"]
    assert names(tmp_path / "to") == names(tmp_path / "out")
    assert (tmp_path / "to" / "50%41").read_bytes() == b"percent"
    assert there.done == there.total == 3_000_010
    assert back.done == back.total == 2 * 3_000_010


async def test_a_folder_shows_only_when_it_is_whole(
    fetcher: Fetcher, data: Path, tmp_path: Path
) -> None:
    """When one file cannot be copied, none of the folder's files is at its place."""
    (data / "sub" / "x").symlink_to("nowhere")
    target = tmp_path / "to"
    (target / "sub").mkdir(parents=True)
    os.mkfifo(target / "older")
    (data / "z").write_bytes(b"z")
    (target / "z").mkdir()  # so that the last rename fails
    error = await fails(fetcher.put(data, f"file://{target}/", directory=True, tag="7.1"))

    assert error.kind is FetchFailure.LOCAL
    assert not [name for name in names(target) if name.startswith(".pytq")]


@pytest.mark.parametrize(
    ("uri", "wanted", "kind", "said"),
    [
        ("file:///DATA/none", {}, FetchFailure.MISSING, "No such file"),
        ("file:///DATA/a b", {"size": 4}, FetchFailure.CORRUPT, "3 bytes"),
        ("file:///DATA/a b", {"checksum": "md5:" + "0" * 32}, FetchFailure.CORRUPT, "md5"),
        ("file:///proc/self/environ", {}, FetchFailure.DENIED, "no place"),
        ("file:///etc/passwd", {}, FetchFailure.DENIED, "outside"),
        ("file:///DATA/link", {}, FetchFailure.DENIED, "outside"),
        ("file:///DATA/pipe", {}, FetchFailure.UNSUPPORTED, "not a regular file"),
        ("file:///DATA/sub/", {}, FetchFailure.UNSUPPORTED, "is a folder"),
        ("file:///DATA/sub/../x", {}, FetchFailure.UNSUPPORTED, "'..'"),
        ("nope", {}, FetchFailure.UNSUPPORTED, "is not a URI"),
    ],
)
async def test_what_cannot_come(
    data: Path,
    tmp_path: Path,
    uri: str,
    wanted: dict[str, object],
    kind: FetchFailure,
    said: str,
) -> None:
    """What cannot be copied is told with its URI and a reason, at once; no half file stays."""
    uri = uri.replace("/DATA", str(data))
    async with Fetcher(FetchOptions(file_roots=(tmp_path,))) as fetcher:
        error = await fails(fetcher.get(uri, tmp_path / "in" / "x", **wanted))  # type: ignore[arg-type]

    assert (error.kind, error.transient, error.tried) == (kind, False, 1 if error.tried else 0)
    assert said in str(error)
    assert str(error).startswith(uri)
    assert names(tmp_path / "in") == [] if (tmp_path / "in").exists() else True


async def test_a_checksum_that_is_right(fetcher: Fetcher, data: Path, tmp_path: Path) -> None:
    """A copy is checked against its checksum."""
    wanted = f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    await fetcher.get(f"file://{data}/a b", tmp_path / "x", size=3, checksum=wanted)

    assert (tmp_path / "x").read_bytes() == b"one"


async def test_the_longest_name_there_is(fetcher: Fetcher, tmp_path: Path) -> None:
    """A name of 255 bytes has no room for a suffix, and is copied all the same."""
    name = "ä" * 127 + "x"
    (tmp_path / name).write_bytes(b"1")
    await fetcher.get(f"file://{tmp_path}/{name}", tmp_path / "to" / name)

    assert names(tmp_path / "to") == [name]


async def test_a_full_disk_names_its_place(
    fetcher: Fetcher, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ENOSPC is a kind of its own, and names the file that did not fit."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "x"))

    monkeypatch.setattr(os, "copy_file_range", full)
    error = await fails(fetcher.get(f"file://{data}/a b", tmp_path / "x"))

    assert error.kind is FetchFailure.DISK
    assert str(tmp_path / "x") in str(error)
    assert not error.transient


async def test_a_copy_that_nobody_waits_for_ends(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled copy ends within a moment, its thread with it, and leaves no file."""
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*_: object) -> int:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(0.01)
        return 1  # byte: at this pace it takes hours

    monkeypatch.setattr(os, "copy_file_range", slow)
    before = asyncio.all_tasks()
    task = asyncio.create_task(fetcher.get(f"file://{tmp_path}/big", tmp_path / "x"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert at_work(before) == []
    assert names(tmp_path) == ["big"]


async def test_errors_travel(fetcher: Fetcher, tmp_path: Path) -> None:
    """An error keeps what it knows when another process is told of it."""
    error = await fails(fetcher.get(f"file://{tmp_path}/none", tmp_path / "x"))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert (again.uri, again.reason, again.kind) == (error.uri, error.reason, error.kind)
    assert str(again) == str(error)
