"""`pytq fetch`: the same transfers, for people."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fetch_parts import names
from servers.s3 import S3Server
from servers.web import Lie, LyingServer, Served

import pytq.fetch
from pytq.fetch import FetchError, FetchOptions

COMMAND = [sys.executable, "-m", "pytq.cli.main", "fetch"]


def fetch(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **more,  # type: ignore[call-overload]
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "one").write_bytes(b"1")
    (folder / "sub" / "two|50%").write_bytes(b"22")
    return folder


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_there_and_back(store: S3Server, data: Path, tmp_path: Path) -> None:
    """put, list, get and rm do what they say, and end with 0."""
    there = fetch("put", data, "s3://data/x/")
    listed = fetch("list", "--json", "s3://data/x/")
    shown = fetch("list", "s3://data/x/")
    back = fetch("get", "s3://data/x/", tmp_path / "back")
    one = fetch("get", "s3://data/x/one", cwd=tmp_path)
    refused = fetch("rm", "s3://data/x/")
    gone = fetch("rm", "-r", "s3://data/x/")

    codes = [done.returncode for done in (there, listed, shown, back, one, refused, gone)]
    assert codes == [0, 0, 0, 0, 0, 2, 0]
    assert [(entry["name"], entry["size"]) for entry in json.loads(listed.stdout)] == [
        ("one", 1),
        ("sub/two|50%", 2),
    ]
    assert "sub/two|50%" in shown.stdout
    assert names(tmp_path / "back") == ["one", "sub/two|50%"]
    assert (tmp_path / "one").read_bytes() == b"1"
    assert "--recursive" in refused.stderr
    assert "2 removed" in gone.stderr
    assert "3 B in" in there.stderr


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_sync_copies_only_what_differs(store: S3Server, data: Path, tmp_path: Path) -> None:
    """In both directions only what differs is copied, and nothing is removed unless asked."""
    first = pytq.fetch.sync(f"file://{data}/", "s3://data/x/")
    (data / "one").write_bytes(b"!")
    (data / "new").write_bytes(b"3")
    (data / "sub" / "two|50%").unlink()
    planned = fetch("sync", "--dry-run", "--delete", data, "s3://data/x/")
    up = pytq.fetch.sync(f"file://{data}/", "s3://data/x/")
    deleting = fetch("sync", "--delete", data, "s3://data/x/")
    down = fetch("sync", "s3://data/x/", tmp_path / "copy")
    again = pytq.fetch.sync("s3://data/x/", f"file://{tmp_path}/copy/")

    assert first.copied == ["one", "sub/two|50%"]
    assert planned.stdout.splitlines() == ["copy new", "copy one", "remove sub/two|50%"]
    assert (up.copied, up.removed, up.same) == (["new", "one"], [], 0)
    assert "0 copied (0 B), 1 removed, 2 the same" in deleting.stderr
    assert down.returncode == 0
    assert (again.copied, again.same) == ([], 2)
    assert {name: (tmp_path / "copy" / name).read_bytes() for name in ("one", "new")} == {
        "one": b"!",
        "new": b"3",
    }


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["get", "nope://x"], 2, "no scheme 'nope'"),
        (["get", "s3://data/x.gz|gunzip"], 2, "a worker does that"),
        (["get", "file:///no/such/file"], 1, "file:///no/such/file: No such file"),
        (["get", "--stall", "0", "file:///x"], 2, "above 0"),
        (["get", "--concurrency", "0", "file:///x"], 2, "1 or more"),
        (["put", "/no/such/file", "file:///tmp/x"], 1, "/no/such/file"),
        (["sync", "s3://data/a/", "s3://data/b/"], 2, "of this machine"),
        (["put", "/dev/null", "http://127.0.0.1:1/x"], 1, "nothing can be written"),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], code: int, said: str) -> None:
    """Errors are one sentence on stderr; 2 is the user's mistake, 1 is everything else."""
    done = fetch(*words)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_leaves_nothing_half(web: LyingServer, tmp_path: Path) -> None:
    """Interrupted, it ends with 130 at once, without a final file."""
    web.files["/a.bin"] = Served(os.urandom(100_000))
    web.always["/a.bin"] = Lie.STALL
    process = subprocess.Popen(
        [*COMMAND, "get", f"{web.url}/a.bin", str(tmp_path / "a")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert web.hung.wait(30)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=15)

    assert process.returncode == 130
    assert "Traceback" not in said
    assert "a" not in names(tmp_path)


def test_a_terminal_sees_a_bar(web: LyingServer, tmp_path: Path) -> None:
    """On a terminal bytes, rate and time left are drawn while it goes on."""
    web.files["/a.bin"] = Served(os.urandom(1_000_000))
    web.always["/a.bin"] = Lie.DRIP
    web.drip_seconds = 0.2
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "get", f"{web.url}/a.bin", str(tmp_path / "a")],
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # how a terminal tells its end
        while piece := os.read(ours, 65536):
            seen += piece
    os.close(ours)

    assert process.wait(30) == 0
    assert b"MB/s" in seen or b"kB/s" in seen
    assert b"976.6 KiB in" in seen


def test_programs_without_a_loop(web: LyingServer, tmp_path: Path) -> None:
    """`pytq.fetch.get` and its siblings work as plain functions, with the same errors."""
    web.files["/a.bin"] = Served(b"abc")
    pytq.fetch.get(f"{web.url}/a.bin", tmp_path / "a")
    pytq.fetch.put(tmp_path / "a", f"file://{tmp_path}/to/b")

    assert [entry.name for entry in pytq.fetch.entries(f"file://{tmp_path}/to/")] == ["b"]
    assert pytq.fetch.remove(f"file://{tmp_path}/to/b") == 1
    with pytest.raises(FetchError, match="404"):
        pytq.fetch.get(f"{web.url}/b", tmp_path / "b", options=FetchOptions(attempts=1))
