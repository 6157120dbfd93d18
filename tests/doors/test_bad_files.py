"""Whatever a task leaves behind and whatever files are called: carried whole, or refused."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system import System

from pytq.worker import mounts

ODD_NAMES = [
    b"-rf",
    b"--output=x",
    b"new\nline",
    b"\xff\xfe",
    b"x" * 255,
    b"a b",
    "é".encode(),
    b"~",
]
LEAVE = """
cd "$OUTPUT"
echo kept > file
ln -s /etc/passwd link; ln -s .. up; ln -s loop loop; ln -s / root
mkfifo pipe
cp /bin/true tool; chmod 4755 tool
mkdir locked; echo inside > locked/x; chmod 000 locked/x
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")' || true
"""


def run(system: System, *words: str) -> Any:
    """Launch, wait for the end; what `pytq launch --wait` came to."""
    return system.run("launch", "--wait", *words, timeout=90)


@pytest.fixture
def working(system: System) -> System:
    system.start_worker(2)
    return system


def test_odd_files_in_an_output(working: System, tmp_path: Path) -> None:
    """Links are not followed, pipes and sockets do not block, nothing arrives as another user."""
    done = run(working, "-o", f"file://{tmp_path}/out/", "sh", "-c", LEAVE)
    arrived = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")}

    assert done.returncode == 0, done.stderr
    assert arrived == {"file", "tool", "locked", "locked/x"}
    assert (tmp_path / "out/file").read_text() == "kept\n"
    assert not (tmp_path / "out/tool").stat().st_mode & 0o6000


def test_odd_names(working: System, tmp_path: Path) -> None:
    """Names that look like options, are no text, or are very long, arrive as they are."""
    source = os.fsencode(tmp_path / "in")
    Path(os.fsdecode(source)).mkdir()
    for name in ODD_NAMES:
        Path(os.fsdecode(source + b"/" + name)).write_bytes(name)
    copy = 'cp -r -- "$INPUT/." "$OUTPUT/"'
    done = run(
        working, "-i", f"file://{tmp_path}/in/", "-o", f"file://{tmp_path}/out/", "sh", "-c", copy
    )

    assert done.returncode == 0, done.stderr
    found = {
        name: Path(os.fsdecode(os.fsencode(tmp_path / "out") + b"/" + name)) for name in ODD_NAMES
    }
    assert {name: path.read_bytes() for name, path in found.items()} == {n: n for n in ODD_NAMES}


def test_a_sparse_tebibyte(working: System, tmp_path: Path) -> None:
    """A file of holes is carried as what it is, in no time, and takes no room where it arrives."""
    script = 'cd "$OUTPUT"; truncate -s 1T huge; printf end | dd of=huge seek=1T oflag=seek_bytes'
    done = run(working, "-o", f"file://{tmp_path}/out/", "sh", "-c", f"{script} conv=notrunc")
    facts = (tmp_path / "out/huge").stat()

    assert done.returncode == 0, done.stderr
    assert facts.st_size == 2**40 + 3
    assert facts.st_blocks < 2**12
    with (tmp_path / "out/huge").open("rb") as huge:
        huge.seek(2**40)
        assert huge.read() == b"end"


def test_an_output_where_the_input_is(working: System, tmp_path: Path) -> None:
    """Written back to where it came from, a folder has the new and the old files, whole."""
    (tmp_path / "both").mkdir()
    (tmp_path / "both/old").write_text("old")
    place = f"file://{tmp_path}/both/"
    done = run(working, "-i", place, "-o", place, "sh", "-c", 'cat "$INPUT/old" > "$OUTPUT/new"')

    assert done.returncode == 0, done.stderr
    assert {p.name: p.read_text() for p in (tmp_path / "both").iterdir()} == {
        "old": "old",
        "new": "old",
    }


def test_an_output_where_nobody_may_write(working: System) -> None:
    """A destination that cannot be written to fails the task, naming it."""
    done = run(working, "-o", "file:///proc/nowhere/", "sh", "-c", 'echo x > "$OUTPUT/x"')

    assert done.returncode != 0
    assert b"/proc/nowhere" in done.stderr


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody else; what was mounted during the test is unmounted after it."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "data").write_text("ten years of work")
    (folder / "data").chmod(0o640)
    os.utime(folder / "data", (1, 1))
    yield folder
    mounts.detach(str(tmp_path))


def another_takes_the_room(working: System) -> None:
    """Rooms are cleaned before the next task gets them, and at the latest when a worker starts."""
    for worker in working.workers:
        worker.terminate()
        worker.wait(30)
    working.start_worker(1)
    assert run(working, "true").returncode == 0


def test_a_hard_link_in_an_output(working: System, precious: Path, tmp_path: Path) -> None:
    """A hard link arrives as a file of its own; that which it links to is not touched by it."""
    before = (precious / "data").stat()
    script = f'ln {precious}/data "$OUTPUT/link"; ln {precious}/data "$TMPDIR/link"'
    done = run(working, "-o", f"file://{tmp_path}/out/", "sh", "-c", script)
    another_takes_the_room(working)
    arrived, after = (tmp_path / "out/link").stat(), (precious / "data").stat()

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/link").read_text() == "ten years of work"
    assert (arrived.st_nlink, arrived.st_ino != before.st_ino) == (1, True)
    assert (after.st_mode, after.st_uid, after.st_nlink, after.st_size, after.st_mtime) == (
        before.st_mode,
        before.st_uid,
        1,
        before.st_size,
        1,
    )


def test_locked_folders_and_mounts_left_behind(
    working: System, precious: Path, tmp_path: Path
) -> None:
    """Cleaning up after a task unlocks what it locked, and does not reach through its mounts."""
    if os.getuid():
        pytest.skip("needs root, to mount something")
    script = f"""
    set -e; mkdir mnt "$TMPDIR/mnt" locked; touch locked/x; chmod 000 locked
    mount --bind {precious} mnt; mount --bind {precious} "$TMPDIR/mnt"
    mount -t tmpfs none mnt; echo kept > "$OUTPUT/file" """
    done = run(working, "-o", f"file://{tmp_path}/out/", "sh", "-c", script)
    another_takes_the_room(working)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/file").read_text() == "kept\n"
    assert {path.name for path in precious.iterdir()} == {"data"}
    assert mounts.below(str(tmp_path)) == []
