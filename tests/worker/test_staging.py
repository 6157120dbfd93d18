"""Inputs in, outputs out: whole files or none, and nothing that is not a task's business."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from pytq.schema.states import Cause
from pytq.schema.tasks import Mount, Output
from pytq.worker.rooms import Room, Rooms
from pytq.worker.staging import Stager, StagingError
from pytq.worker.staging.file import Files, Stopped

NEVER = threading.Event()


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Rooms(tmp_path / "home").take()


@pytest.fixture
def stager(tmp_path: Path) -> Stager:
    return Stager(Files((tmp_path,)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b").write_bytes(b"one")
    (folder / "sub" / "two").write_bytes(b"two" * 1_000_000)
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    return folder


def names(folder: str) -> list[str]:
    return sorted(place.name for place in Path(folder).iterdir())


def bring(stager: Stager, room: Room, **mount: object) -> None:
    stager.bring(room, [Mount.model_validate(mount)], NEVER)


def carry(stager: Stager, room: Room, to: Path | str, **output: object) -> None:
    known = {"path": "/output", "destination": f"file://{to}", "directory": True}
    stager.carry(room, (7, 1), [Output.model_validate(known | output)], NEVER)


def test_a_file_comes_in(stager: Stager, room: Room, data: Path) -> None:
    """A file is where the task expects it, whole and checked; no temporary file stays."""
    wanted = hashlib.sha256(b"one").hexdigest()
    bring(
        stager,
        room,
        source=f"file://{data}/a b",
        path="/input/deep/a",
        size=3,
        checksum=f"sha256:{wanted}",
    )

    assert Path(room.path, "input/deep/a").read_bytes() == b"one"
    assert names(f"{room.path}/input/deep") == ["a"]


def test_literal_content_comes_in(stager: Stager, room: Room) -> None:
    """Text given with the task becomes a file."""
    bring(stager, room, content="grüße\n", path="/work/script.sh")

    assert Path(room.work, "script.sh").read_text(encoding="utf-8") == "grüße\n"


def test_a_folder_comes_in(stager: Stager, room: Room, data: Path) -> None:
    """Regular files below a folder come; links are not followed, pipes do not block."""
    bring(stager, room, source=f"file://{data}/", path="/input", directory=True)

    found = sorted(
        str(p.relative_to(f"{room.path}/input")) for p in Path(room.path, "input").rglob("*")
    )
    assert found == ["a b", "sub", "sub/two"]


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ({"source": "file:///DATA/none", "path": "/input/x"}, "No such file"),
        ({"source": "file:///DATA/a b", "path": "/input/x", "size": 4}, "3 bytes"),
        ({"source": "file:///DATA/a b", "path": "/input/x", "checksum": "md5:" + "0" * 32}, "md5"),
        ({"source": "file:///proc/self/environ", "path": "/input/x"}, "no place"),
        ({"source": "file:///etc/passwd", "path": "/input/x"}, "outside"),
        ({"source": "file:///DATA/link", "path": "/input/x"}, "outside"),
        ({"source": "s3://bucket/key", "path": "/input/x"}, "cannot fetch s3://"),
        ({"source": "file:///DATA/a b|gunzip", "path": "/input/x"}, "gunzip"),
        ({"source": "file:///DATA/pipe", "path": "/input/x"}, "not a regular file"),
    ],
)
def test_what_cannot_come_names_its_uri(
    stager: Stager, room: Room, data: Path, mount: dict[str, object], said: str
) -> None:
    """An input that cannot be had fails with its URI and a reason, leaving no half file."""
    mount["source"] = str(mount["source"]).replace("/DATA", str(data))

    with pytest.raises(StagingError, match=said) as caught:
        bring(stager, room, **mount)

    assert str(mount["source"]) in str(caught.value)
    assert caught.value.cause is Cause.INPUT
    assert not names(f"{room.path}/input")


def test_outputs_go_out_whole(stager: Stager, room: Room, tmp_path: Path) -> None:
    """Everything regular below /output is at its destination; older files there stay."""
    out = tmp_path / "results" / "run1"
    out.mkdir(parents=True)
    (out / "older").touch()
    Path(room.path, "output/sub").mkdir()
    Path(room.path, "output/sub/two").write_bytes(b"2" * 100_000)
    Path(room.path, "output/one").write_bytes(b"1")
    Path(room.path, "output/secret").symlink_to("/etc/passwd")
    os.mkfifo(f"{room.path}/output/pipe")
    for _ in range(2):  # the same once more does no harm
        carry(stager, room, f"{out}/")

    assert sorted(str(p.relative_to(out)) for p in out.rglob("*")) == [
        "older",
        "one",
        "sub",
        "sub/two",
    ]
    assert (out / "sub/two").read_bytes() == b"2" * 100_000


def test_a_single_file_goes_out(stager: Stager, room: Room, tmp_path: Path) -> None:
    """One file may go to a place of its own."""
    Path(room.path, "output/one").write_bytes(b"1")
    carry(stager, room, tmp_path / "x" / "uno", path="/output/one", directory=False)

    assert (tmp_path / "x" / "uno").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("file:///proc/x/", "no place"),
        ("file:///etc/x/", "outside"),
        ("s3://bucket/x/", "cannot write to s3://"),
    ],
)
def test_what_cannot_go_names_its_uri(stager: Stager, room: Room, to: str, said: str) -> None:
    """An output that cannot be made safe fails with its destination and a reason."""
    with pytest.raises(StagingError, match=said) as caught:
        carry(stager, room, "", destination=to)

    assert to in str(caught.value)


def test_a_missing_output_file_is_an_error(stager: Stager, room: Room, tmp_path: Path) -> None:
    """A promised output file that is not there is not silently forgotten."""
    with pytest.raises(StagingError, match="No such file"):
        carry(stager, room, tmp_path / "x", path="/output/none", directory=False)


def test_staging_stops_when_nobody_waits(stager: Stager, room: Room, data: Path) -> None:
    """A cancelled execution's copying ends, and leaves no half file."""
    stop = threading.Event()
    stop.set()
    mount = Mount(source=f"file://{data}/sub/two", path="/input/x")

    with pytest.raises(Stopped):
        stager.bring(room, [mount], stop)
    assert not names(f"{room.path}/input")
