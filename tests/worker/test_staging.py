"""Inputs in, outputs out: whole files or none, and nothing that is not a task's business."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from staging_parts import Yard, at, names

from pytq.fetch import FetchError, FetchFailure
from pytq.schema.states import Cause, Scope
from pytq.schema.tasks import TaskSpec
from pytq.worker.rooms import Room
from pytq.worker.staging import StagingError, outward
from pytq.worker.staging.reasons import because


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    one = Yard(tmp_path / "home", [tmp_path])
    await one.resources.open()
    yield one
    await one.fetcher.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b").write_bytes(b"one")
    (folder / "sub" / "two").write_bytes(b"two" * 1_000_000)
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    return folder


async def carry(yard: Yard, room: Room, *outputs: dict[str, object], whole: bool = True) -> None:
    known = {"path": "/output", "directory": True}
    spec = TaskSpec.model_validate(
        {"steps": [{"command": "true"}], "outputs": [known | output for output in outputs]}
    )
    await yard.outward.carry(yard.job(spec, room, whole=whole))


async def test_a_file_comes_in(yard: Yard, data: Path) -> None:
    """A file is where the task expects it, whole and checked; no temporary file stays."""
    wanted = hashlib.sha256(b"one").hexdigest()
    room = await yard.bring_mounts(
        {
            "source": f"file://{data}/a b",
            "path": "/input/deep/a",
            "size": 3,
            "checksum": f"sha256:{wanted}",
        }
    )

    assert at(room, "input/deep/a").read_bytes() == b"one"
    assert names(f"{room.path}/input") == ["deep", "deep/a"]


async def test_literal_content_comes_in(yard: Yard) -> None:
    """Text given with the task becomes a file."""
    room = await yard.bring_mounts({"content": "grüße\n", "path": "/work/script.sh"})

    assert at(room, "work/script.sh").read_text(encoding="utf-8") == "grüße\n"


async def test_a_folder_comes_in(yard: Yard, data: Path) -> None:
    """Regular files below a folder come; links are not followed, pipes do not block."""
    mount = {"source": f"file://{data}/", "path": "/input", "directory": True}
    room = await yard.bring_mounts(mount)

    assert names(f"{room.path}/input") == ["a b", "sub", "sub/two"]


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ({"source": "file:///DATA/none", "path": "/input/x"}, "No such file"),
        ({"source": "file:///DATA/a b", "path": "/input/x", "size": 4}, "3 bytes"),
        ({"source": "file:///DATA/a b", "path": "/input/x", "checksum": "md5:" + "0" * 32}, "md5"),
        ({"source": "file:///proc/self/environ", "path": "/input/x"}, "no place"),
        ({"source": "file:///etc/passwd", "path": "/input/x"}, "outside"),
        ({"source": "file:///DATA/link", "path": "/input/x"}, "outside"),
        ({"source": "file:///DATA/a b|gunzip", "path": "/input/x"}, "cannot be unpacked"),
        ({"source": "file:///DATA/a b", "path": "/input/x", "actions": ["bake"]}, "no action"),
        ({"source": "file:///DATA/pipe", "path": "/input/x"}, "not a regular file"),
        ({"source": "file:///DATA/none/", "path": "/input", "directory": True}, "not a folder"),
    ],
)
async def test_what_cannot_come_names_its_uri(
    yard: Yard, data: Path, mount: dict[str, object], said: str
) -> None:
    """An input that cannot be had fails for good, with its URI and a reason, leaving no half."""
    mount["source"] = str(mount["source"]).replace("/DATA", str(data))
    spec = TaskSpec.model_validate({"steps": [{"command": "true"}], "mounts": [mount]})
    job = yard.job(spec)

    with pytest.raises(StagingError, match=said) as caught:
        await yard.bring(job)

    assert str(mount["source"]) in str(caught.value)
    assert (caught.value.cause, caught.value.transient) == (Cause.INPUT, False)
    assert not names(f"{job.room.path}/input")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
async def test_a_tasks_own_user_owns_its_inputs(yard: Yard, data: Path) -> None:
    """What comes for a task that runs as somebody else is theirs; what is shared is not."""
    mounts = [
        {"source": f"file://{data}/", "path": "/input", "directory": True},
        {"source": f"file://{data}/a b", "path": "/resource/r", "scope": Scope.WORKER},
    ]
    steps = [{"command": "true"}]
    spec = TaskSpec.model_validate({"steps": steps, "mounts": mounts, "uid": 12345, "gid": 54321})
    room = await yard.bring(yard.job(spec))
    owners = {
        (at(room, path).stat().st_uid, at(room, path).stat().st_gid)
        for path in ("input", "input/sub", "input/sub/two", "work", "output")
    }

    assert owners == {(12345, 54321)}
    assert at(room, "resource/r").stat().st_uid == 0


async def test_a_place_outside_the_room_is_refused(yard: Yard) -> None:
    """A path that no task without a container can have is the command's mistake."""
    with pytest.raises(StagingError, match="/etc/x") as caught:
        await yard.bring_mounts({"content": "x", "path": "/etc/x"})

    assert caught.value.cause is Cause.COMMAND


@pytest.mark.parametrize(
    ("kind", "transient"),
    [
        (FetchFailure.MISSING, False),
        (FetchFailure.DENIED, False),
        (FetchFailure.CORRUPT, False),
        (FetchFailure.UNSAFE, False),
        (FetchFailure.UNSUPPORTED, False),
        (FetchFailure.CHANGED, True),
        (FetchFailure.BROKEN, True),
        (FetchFailure.STALLED, True),
        (FetchFailure.BUSY, True),
        (FetchFailure.UNREACHABLE, True),
        (FetchFailure.LOCAL, True),  # this machine's own trouble is no other's
    ],
)
def test_each_failure_is_final_or_not(tmp_path: Path, kind: FetchFailure, transient: bool) -> None:
    """After the transfer's own retries a wrong file is wrong; who does not answer may yet."""
    error = FetchError("s3://bucket/x", "so it is", kind)
    if kind is FetchFailure.CORRUPT:
        error.transient = True  # it was tried again at once, and came wrong again
    found = because("s3://bucket/x", error, Cause.INPUT, tmp_path)

    assert (found.cause, found.transient) == (Cause.INPUT, transient)
    assert str(found) == "s3://bucket/x: so it is"


async def test_what_may_pass_is_told_apart(yard: Yard) -> None:
    """An input whose server does not answer may come another time, or to another worker."""
    with pytest.raises(StagingError, match=r"127\.0\.0\.1:9/x") as caught:
        await yard.bring_mounts({"source": "http://127.0.0.1:9/x", "path": "/input/x"})

    assert (caught.value.cause, caught.value.transient) == (Cause.INPUT, True)


async def test_outputs_go_out_whole(yard: Yard, tmp_path: Path) -> None:
    """Everything regular below /output is at its destination; older files there stay."""
    room, out = yard.rooms.take(), tmp_path / "results" / "run1"
    out.mkdir(parents=True)
    (out / "older").touch()
    at(room, "output/sub").mkdir()
    at(room, "output/sub/two").write_bytes(b"2" * 100_000)
    at(room, "output/one").write_bytes(b"1")
    at(room, "output/secret").symlink_to("/etc/passwd")
    os.mkfifo(f"{room.path}/output/pipe")
    for _ in range(2):  # the same once more does no harm
        await carry(yard, room, {"destination": f"file://{out}/"})

    assert names(out) == ["older", "one", "sub", "sub/two"]
    assert (out / "sub/two").read_bytes() == b"2" * 100_000


async def test_a_single_file_goes_out(yard: Yard, tmp_path: Path) -> None:
    """One file may go to a place of its own."""
    room = yard.rooms.take()
    at(room, "output/one").write_bytes(b"1")
    destination = f"file://{tmp_path}/x/uno"
    await carry(yard, room, {"path": "/output/one", "directory": False, "destination": destination})

    assert (tmp_path / "x" / "uno").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("to", "said"), [("file:///proc/x/", "no place"), ("file:///etc/x/", "outside")]
)
async def test_what_cannot_go_names_its_uri(yard: Yard, to: str, said: str) -> None:
    """An output that cannot be made safe fails with its destination and a reason."""
    with pytest.raises(StagingError, match=said) as caught:
        await carry(yard, yard.rooms.take(), {"destination": to})

    assert to in str(caught.value)
    assert caught.value.cause is Cause.OUTPUT


async def test_each_output_is_tried(yard: Yard, tmp_path: Path) -> None:
    """One output that cannot be made safe keeps no other from being safe."""
    room = yard.rooms.take()
    at(room, "output/one").write_bytes(b"1")
    bad, good = {"destination": "file:///etc/x/"}, {"destination": f"file://{tmp_path}/good/"}

    with pytest.raises(StagingError, match=r"outside.*; and 1 more of its 3 outputs"):
        await carry(yard, room, bad, good, bad)
    assert names(tmp_path / "good") == ["one"]


async def test_a_missing_output_file(yard: Yard, tmp_path: Path) -> None:
    """A promised output that is not there is an error of a success, and none of a failure."""
    promised = {
        "path": "/output/none",
        "directory": False,
        "destination": f"file://{tmp_path}/x",
    }
    with pytest.raises(StagingError, match="No such file"):
        await carry(yard, yard.rooms.take(), promised)

    await carry(yard, yard.rooms.take(), promised, whole=False)


async def test_an_output_that_is_a_way_out_is_refused(yard: Yard, tmp_path: Path) -> None:
    """A link in place of an output is not followed out of the task's folders."""
    room = yard.rooms.take()
    at(room, "output").rmdir()
    at(room, "output").symlink_to("/etc")

    with pytest.raises(StagingError, match="link leads out"):
        await carry(yard, room, {"destination": f"file://{tmp_path}/x/"})


async def test_staging_stops_when_nobody_waits(yard: Yard, data: Path) -> None:
    """A cancelled execution's copying ends, and leaves no half file."""
    mount = {"source": f"file://{data}/", "path": "/input", "directory": True}
    spec = TaskSpec.model_validate({"steps": [{"command": "true"}], "mounts": [mount]})
    job = yard.job(spec)
    going = asyncio.create_task(yard.bring(job))
    await asyncio.sleep(0)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)

    assert going.cancelled()
    assert not [name for name in names(f"{job.room.path}/input") if name.endswith(".part")]


class Away:
    """A store that does not answer, so many times."""

    def __init__(self, yard: Yard, times: int, kind: FetchFailure) -> None:
        self.times, self.kind = times, kind
        self.tried = 0
        self._put = yard.fetcher.put
        yard.fetcher.put = self.put  # type: ignore[method-assign]

    async def put(self, place: Path, uri: str, **more: object) -> None:
        self.tried += 1
        if self.tried <= self.times:
            raise FetchError(uri, "not now", self.kind)
        await self._put(place, uri, **more)  # type: ignore[arg-type]


async def test_an_output_waits_for_its_store(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that is done is not thrown away because a store is down for a while."""
    monkeypatch.setattr(outward, "PAUSE", 0.001)
    room = yard.rooms.take()
    at(room, "output/one").write_bytes(b"1")
    away = Away(yard, 5, FetchFailure.UNREACHABLE)
    await carry(yard, room, {"destination": f"file://{tmp_path}/x/"})

    assert away.tried == 6
    assert names(tmp_path / "x") == ["one"]


@pytest.mark.parametrize("kind", [FetchFailure.DENIED, FetchFailure.CHANGED])
async def test_an_output_does_not_wait_for_what_will_not_pass(
    yard: Yard, tmp_path: Path, kind: FetchFailure
) -> None:
    """What waiting cannot mend is told at once."""
    away = Away(yard, 5, kind)

    with pytest.raises(StagingError, match="not now"):
        await carry(yard, yard.rooms.take(), {"destination": f"file://{tmp_path}/x/"})
    assert away.tried == 1
