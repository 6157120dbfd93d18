"""S3: objects and prefixes, both ways, whole or not at all; on moto's server and on Ceph's own."""

import asyncio
import hashlib
import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fetch_parts import CALM, QUICK, at_work, folders, names
from servers.meddler import Fault, Meddler
from servers.s3 import S3Server

from pytq.fetch import Fetcher, FetchError, FetchFailure, Progress

SMALL = os.urandom(300_000)
MIDDLE = os.urandom(3_000_000)  # one request, but not in memory
BIG = os.urandom(40_000_000)  # three parts

ODD_KEYS = [
    "a b",
    "a+b",
    "a%b",
    "a%20b",
    "a#b",
    "ä/ö.txt",
    "a?b=c&d",
    "q'uo\"te",
    "~x",
    "[x]*",
    "-rf",
]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def open_uploads(store: S3Server) -> int:
    return len(store.client().list_multipart_uploads(Bucket="data").get("Uploads", []))


async def fails(doing: object) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await doing  # type: ignore[misc]
    return caught.value


@pytest.mark.parametrize(
    "content",
    [b"", b"x", SMALL, MIDDLE, BIG],
    ids=["empty", "byte", "small", "middle", "big"],
)
async def test_a_file_goes_and_comes(
    calm: Fetcher, store: S3Server, tmp_path: Path, content: bytes
) -> None:
    """Any size goes to S3 and comes back byte for byte, counted exactly, leaving nothing else."""
    write(tmp_path, {"a": content})
    there, back = Progress(), Progress()
    await calm.put(tmp_path / "a", "s3://data/x/a", progress=there)
    await calm.get("s3://data/x/a", tmp_path / "b", progress=back)

    assert (tmp_path / "b").read_bytes() == content
    assert names(tmp_path) == ["a", "b"]
    assert there == back == Progress(len(content), len(content))
    assert open_uploads(store) == 0


async def test_a_folder_goes_and_comes(calm: Fetcher, store: S3Server, tmp_path: Path) -> None:
    """Everything below a folder goes and comes: odd names, empty files, deep places, many files."""
    files = {f"many/{number:03}": os.urandom(number) for number in range(150)}
    files |= {f"deep/{key}": key.encode() for key in ODD_KEYS} | {"big": BIG}
    write(tmp_path / "in", files)
    (tmp_path / "in" / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "in" / "pipe")
    progress = Progress()
    await calm.put(
        tmp_path / "in", "s3://data/run 1/", directory=True, tag="7.1", progress=progress
    )
    await calm.get("s3://data/run 1/", tmp_path / "out", directory=True)

    found = {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out")}
    assert found == files
    keys = {
        one["Key"]
        for page in store.client().get_paginator("list_objects_v2").paginate(Bucket="data")
        for one in page["Contents"]
    }
    assert keys == {f"run 1/{name}" for name in files}
    assert progress.done == progress.total == sum(map(len, files.values()))


async def test_listing_and_removing(fetcher: Fetcher, store: S3Server, tmp_path: Path) -> None:
    """A listing tells names, sizes and MD5s, page by page; removing tells how many there were."""
    write(tmp_path / "in", {f"{number:04}": b"x" * (number % 3) for number in range(1_020)})
    await fetcher.put(tmp_path / "in", "s3://data/p/", directory=True)
    listed = [entry async for entry in fetcher.list("s3://data/p/")]
    one = [entry async for entry in fetcher.list("s3://data/p/0001")]

    assert [entry.name for entry in listed] == [f"{number:04}" for number in range(1_020)]
    assert one[0].uri == "s3://data/p/0001"
    assert one[0].checksum == f"md5:{hashlib.md5(b'x', usedforsecurity=False).hexdigest()}"
    assert await fetcher.remove("s3://data/p/0001") == 1
    assert await fetcher.remove("s3://data/p/") == 1_019
    assert [entry async for entry in fetcher.list("s3://data/p/")] == []


@pytest.mark.parametrize("key", ["p/../../b", "p//etc/b", "p/x/./y", "p/dir/"])
async def test_keys_that_would_leave_their_folder_are_refused(
    fetcher: Fetcher, store: S3Server, tmp_path: Path, key: str
) -> None:
    """A key that is no plain path stops the download with its name, and writes nothing outside."""
    store.client().put_object(Bucket="data", Key=key, Body=b"evil")
    error = await fails(fetcher.get("s3://data/p/", tmp_path / "in" / "out", directory=True))

    assert error.kind is FetchFailure.UNSAFE
    assert repr(key.removeprefix("p/")) in str(error)
    assert names(tmp_path) == []


async def test_markers_of_folders_are_no_files(
    fetcher: Fetcher, store: S3Server, tmp_path: Path
) -> None:
    """The empty objects that consoles make for folders do not disturb."""
    for key, content in {"p/": b"", "p/sub/": b"", "p/sub/a": b"1"}.items():
        store.client().put_object(Bucket="data", Key=key, Body=content)
    await fetcher.get("s3://data/p/", tmp_path / "out", directory=True)

    assert names(tmp_path) == ["out/sub/a"]


async def test_an_empty_prefix_is_an_empty_folder(
    fetcher: Fetcher, store: S3Server, tmp_path: Path
) -> None:
    """Nothing below a prefix is an empty folder: S3 knows no other."""
    await fetcher.get("s3://data/nothing/", tmp_path / "out", directory=True)

    assert (names(tmp_path), folders(tmp_path)) == ([], ["out"])


@pytest.mark.parametrize(
    ("uri", "kind", "said"),
    [
        ("s3://data/none", FetchFailure.MISSING, "no such object"),
        ("s3://no-such-bucket/x", FetchFailure.MISSING, "no such bucket"),
    ],
)
async def test_what_is_not_there(
    fetcher: Fetcher, store: S3Server, tmp_path: Path, uri: str, kind: FetchFailure, said: str
) -> None:
    """A missing object and a missing bucket are told apart, at once."""
    error = await fails(fetcher.get(uri, tmp_path / "a"))

    assert (error.kind, error.transient) == (kind, False)
    assert said in str(error)
    assert error.uri == uri
    assert names(tmp_path) == []


@pytest.mark.parametrize("store", ["ceph"], indirect=True)
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_SECRET_ACCESS_KEY", "hunter2hunter2", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "hunter2hunter2", "AWS_ACCESS_KEY_ID"),
    ],
)
async def test_wrong_credentials_are_told_but_not_shown(
    fetcher: Fetcher,
    store: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    said: str,
) -> None:
    """A wrong key is an error that says which setting to look at, and never its value."""
    monkeypatch.setenv(name, value)
    write(tmp_path, {"a": b"x"})
    error = await fails(fetcher.put(tmp_path / "a", "s3://data/a"))

    assert error.kind is FetchFailure.DENIED
    assert said in str(error)
    assert "hunter2" not in repr(error) + repr(error.__cause__)


@pytest.mark.parametrize("store", ["ceph"], indirect=True)
async def test_credentials_come_from_a_profile(
    fetcher: Fetcher, store: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile of the standard AWS files tells endpoint, region and keys."""
    for name in store.environment:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = eu-west-3\nendpoint_url = {store.endpoint}\n"
    )
    (tmp_path / "credentials").write_text(
        f"[lab]\naws_access_key_id = {store.key}\naws_secret_access_key = {store.secret}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    await fetcher.put(tmp_path / "config", "s3://data/by-profile")

    assert [entry.name async for entry in fetcher.list("s3://data/")] == ["by-profile"]


@pytest.mark.parametrize("store", ["ceph"], indirect=True)
async def test_public_buckets_need_no_credentials(
    fetcher: Fetcher, store: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without credentials requests are anonymous; a private object is then denied."""
    client = store.client()
    client.put_object(Bucket="data", Key="open", Body=b"all", ACL="public-read")
    client.put_object(Bucket="data", Key="closed", Body=b"none")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    await fetcher.get("s3://data/open", tmp_path / "a")
    error = await fails(fetcher.get("s3://data/closed", tmp_path / "b"))

    assert (tmp_path / "a").read_bytes() == b"all"
    assert error.kind is FetchFailure.DENIED


async def test_checksums_are_checked(calm: Fetcher, store: S3Server, tmp_path: Path) -> None:
    """A checksum that is asked for is checked, also of an object in parts."""
    write(tmp_path, {"a": BIG})
    await calm.put(tmp_path / "a", "s3://data/a")
    right = f"sha256:{hashlib.sha256(BIG).hexdigest()}"
    await calm.get("s3://data/a", tmp_path / "b", checksum=right, size=len(BIG))
    error = await fails(calm.get("s3://data/a", tmp_path / "c", checksum="sha256:" + "0" * 64))

    assert error.kind is FetchFailure.CORRUPT
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.SLOW_DOWN, Fault.CUT, Fault.STALL])
@pytest.mark.parametrize("content", [SMALL, BIG], ids=["small", "big"])
async def test_a_download_survives(
    spoiled: Meddler, tmp_path: Path, fault: Fault, content: bytes
) -> None:
    """Resets, 503s, cuts and stalls of a download cost a retry of what is missing, no more."""
    write(tmp_path, {"a": content})
    async with Fetcher(replace(CALM, stall=3.0)) as fetcher:
        await fetcher.put(tmp_path / "a", "s3://data/a")
        spoiled.spoil(2, fault, method="GET")
        await fetcher.get("s3://data/a", tmp_path / "b")

    assert (tmp_path / "b").read_bytes() == content
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(
    "fault", [Fault.RESET, Fault.SLOW_DOWN, Fault.DEAF, Fault.LOST], ids=lambda fault: fault.value
)
@pytest.mark.parametrize("content", [SMALL, MIDDLE, BIG], ids=["small", "middle", "big"])
async def test_an_upload_survives(
    spoiled: Meddler,
    s3_servers: dict[str, S3Server],
    tmp_path: Path,
    fault: Fault,
    content: bytes,
) -> None:
    """Resets, 503s, silence and lost answers of an upload cost a retry of that part, no more."""
    write(tmp_path, {"a": content})
    spoiled.spoil(2, fault, method="PUT")
    progress = Progress()
    async with Fetcher(replace(CALM, stall=3.0)) as fetcher:
        await fetcher.put(tmp_path / "a", "s3://data/a", progress=progress)

    with closing(s3_servers["moto"].client().get_object(Bucket="data", Key="a")["Body"]) as body:
        assert body.read() == content
    assert progress == Progress(len(content), len(content))
    assert open_uploads(s3_servers["moto"]) == 0


@pytest.mark.parametrize("fault", Fault)
async def test_a_folder_of_small_files_survives(
    spoiled: Meddler, tmp_path: Path, fault: Fault
) -> None:
    """What befalls some of many small files on their way costs a retry of these, no more."""
    files = {f"{number}": os.urandom(1_000 * number) for number in range(20)}
    write(tmp_path / "out", files)
    progress = Progress()
    async with Fetcher(replace(CALM, stall=3.0)) as fetcher:
        spoiled.spoil(2, fault, method="PUT")
        await fetcher.put(tmp_path / "out", "s3://data/x/", directory=True)
        spoiled.spoil(2, fault, method="GET", target="x/1")
        await fetcher.get("s3://data/x/", tmp_path / "in", directory=True, progress=progress)

    assert {name: (tmp_path / "in" / name).read_bytes() for name in files} == files
    assert names(tmp_path / "in") == sorted(files)
    assert progress.done == progress.total


async def test_a_bucket_that_wants_all_signed_gets_it(
    spoiled: Meddler, s3_servers: dict[str, S3Server], tmp_path: Path
) -> None:
    """Where a policy refuses a body that is not signed, it goes signed, and the next at once so."""
    files = {f"{number}": os.urandom(1_000) for number in range(4)}
    write(tmp_path / "out", files)
    spoiled.strict = True
    async with Fetcher(CALM) as fetcher:
        await fetcher.put(tmp_path / "out" / "0", "s3://data/0")
        first = sum(seen.method == "PUT" for seen in spoiled.seen)
        await fetcher.put(tmp_path / "out", "s3://data/x/", directory=True)

    puts = sum(seen.method == "PUT" for seen in spoiled.seen) - first
    assert (first, puts) == (2, len(files))
    client = s3_servers["moto"].client()
    for name, content in files.items():
        with closing(client.get_object(Bucket="data", Key=f"x/{name}")["Body"]) as body:
            assert body.read() == content


async def test_a_lost_answer_to_the_last_request_is_no_failure(
    spoiled: Meddler, s3_servers: dict[str, S3Server], tmp_path: Path
) -> None:
    """When the store has put the parts together but its answer is lost, the object is found."""
    write(tmp_path, {"a": BIG})
    spoiled.spoil(1, Fault.LOST, method="POST", target="uploadId=")
    async with Fetcher(CALM) as fetcher:
        await fetcher.put(tmp_path / "a", "s3://data/a")

    assert s3_servers["moto"].client().head_object(Bucket="data", Key="a")["ContentLength"] == len(
        BIG
    )


async def test_an_upload_that_fails_is_given_up(
    spoiled: Meddler, s3_servers: dict[str, S3Server], tmp_path: Path
) -> None:
    """When a part cannot be sent, nothing stays in the store: no object, no open upload."""
    write(tmp_path, {"a": BIG})
    spoiled.spoil(1_000, Fault.SLOW_DOWN, target="partNumber=2")
    async with Fetcher(replace(QUICK, stall=20.0)) as fetcher:
        error = await fails(fetcher.put(tmp_path / "a", "s3://data/a"))

    assert error.kind is FetchFailure.BUSY
    assert "tried 3 times" in str(error)
    assert open_uploads(s3_servers["moto"]) == 0
    assert s3_servers["moto"].client().list_objects_v2(Bucket="data")["KeyCount"] == 0


async def test_a_cancelled_upload_is_given_up(
    spoiled: Meddler, s3_servers: dict[str, S3Server], tmp_path: Path
) -> None:
    """A cancelled upload ends at once, and leaves no open upload, no task, no thread at work."""
    write(tmp_path, {"a": BIG})
    spoiled.spoil(1_000, Fault.DEAF, target="partNumber")
    async with Fetcher(CALM) as fetcher:
        before = asyncio.all_tasks()
        task = asyncio.create_task(fetcher.put(tmp_path / "a", "s3://data/a"))
        assert await asyncio.to_thread(spoiled.stalled.wait, 20)
        task.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert time.monotonic() - begun < 3
        assert at_work(before) == []
        assert open_uploads(s3_servers["moto"]) == 0


async def test_a_cancelled_download_is_resumed(spoiled: Meddler, tmp_path: Path) -> None:
    """A cancelled download leaves no task and no final file; the next one fetches only the rest."""
    write(tmp_path, {"a": BIG})
    async with Fetcher(CALM) as fetcher:
        await fetcher.put(tmp_path / "a", "s3://data/a")
        before = asyncio.all_tasks()
        spoiled.spoil(1_000, Fault.STALL, method="GET")
        task = asyncio.create_task(fetcher.get("s3://data/a", tmp_path / "b"))
        assert await asyncio.to_thread(spoiled.stalled.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert at_work(before) == []
        assert "b" not in names(tmp_path)
        spoiled.spoil(0, Fault.STALL)
        await fetcher.get("s3://data/a", tmp_path / "b")

    assert (tmp_path / "b").read_bytes() == BIG
    assert names(tmp_path) == ["a", "b"]


async def test_an_object_replaced_under_way_is_noticed(
    spoiled: Meddler, s3_servers: dict[str, S3Server], tmp_path: Path
) -> None:
    """When an object is replaced between two ranges, one version comes, and no mixture."""
    write(tmp_path, {"a": BIG})
    client = s3_servers["moto"].client()
    async with Fetcher(replace(CALM, streams=1, stall=2.0)) as fetcher:
        await fetcher.put(tmp_path / "a", "s3://data/a")
        spoiled.spoil(1, Fault.STALL, method="GET")
        task = asyncio.create_task(fetcher.get("s3://data/a", tmp_path / "b"))
        assert await asyncio.to_thread(spoiled.stalled.wait, 20)
        client.put_object(Bucket="data", Key="a", Body=BIG[::-1])
        await task

    assert (tmp_path / "b").read_bytes() == BIG[::-1]


async def test_a_file_that_changes_while_it_is_sent_is_told(
    spoiled: Meddler, tmp_path: Path
) -> None:
    """An output that something still writes to is not taken for safe."""
    place = write(tmp_path, {"a": SMALL}) / "a"

    def meanwhile(_: object) -> None:
        place.write_bytes(os.urandom(len(SMALL)))

    spoiled.choose = meanwhile  # type: ignore[assignment]
    async with Fetcher(QUICK) as fetcher:
        error = await fails(fetcher.put(place, "s3://data/a"))

    assert error.kind is FetchFailure.CHANGED
    assert str(place) in str(error)


async def test_nobody_there(
    fetcher: Fetcher, store: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that is down is told within seconds, and may pass."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    write(tmp_path, {"a": b"1"})
    came = await fails(fetcher.get("s3://data/a", tmp_path / "b"))
    went = await fails(fetcher.put(tmp_path / "a", "s3://data/a"))
    listed = await fails(fetcher.remove("s3://data/a/"))

    assert [error.kind for error in (came, went, listed)] == [FetchFailure.UNREACHABLE] * 3
    assert all(error.transient for error in (came, went, listed))
