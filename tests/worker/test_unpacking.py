"""Archives: what is good in them comes out, what is evil does not."""

import bz2
import gzip
import lzma
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from evil_archives import EVIL, folder, link, many_files, plain, tar, zipped
from staging_parts import names

from pytq.schema.tasks import Mount
from pytq.worker.staging import unpacking
from pytq.worker.staging.actions import perform, plan
from pytq.worker.staging.unpacking import BadArchiveError, Stopped

NEVER = threading.Event()


@pytest.mark.parametrize("what", EVIL)
def test_evil_is_refused(what: str, tmp_path: Path) -> None:
    """An archive that would do harm, or is none, is refused in words; nothing leaves its folder."""
    action, make, said = EVIL[what]
    place = tmp_path / "cage" / "archive"
    place.parent.mkdir()
    place.write_bytes(make())

    with pytest.raises(BadArchiveError, match=said):
        perform([action], place, folder=False, stop=NEVER)

    assert [path.name for path in tmp_path.iterdir()] == ["cage"]


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, bz2.compress, lzma.compress],
    ids=["tar", "gz", "bz2", "xz"],
)
def test_a_tar_comes_out(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Files, folders, programs and links inside it are there, whichever way it is compressed."""
    place = tmp_path / "archive"
    place.write_bytes(
        pack(
            tar(
                folder("."),
                folder("./sub"),
                plain("./sub/data", b"d" * 100_000),
                ("run", {"mode": 0o6755}, b"#!"),
                link("latest", "sub/data"),
                link("same", "sub/data", tarfile.LNKTYPE),
                plain("deep/er/file"),
                plain("grüße \udcff"),
            )
        )
    )
    perform(["untar"], place, folder=False, stop=NEVER)

    assert (place / "sub/data").read_bytes() == b"d" * 100_000
    assert (place / "latest").read_bytes() == b"d" * 100_000
    assert (place / "same").samefile(place / "sub/data")
    assert stat.S_IMODE((place / "run").stat().st_mode) == 0o755
    assert (place / "deep/er/file").read_bytes() == b"x"
    assert (place / "grüße \udcff").exists()


def test_a_zip_comes_out(tmp_path: Path) -> None:
    """Files, folders, programs and links inside it are there."""
    place = tmp_path / "archive"
    place.write_bytes(
        zipped(
            ("sub/", b"", 0),
            ("sub/data", b"d", 0o100644),
            ("run", b"#!", 0o100755),
            ("latest", b"sub/data", stat.S_IFLNK | 0o777),
        )
    )
    perform(["unzip"], place, folder=False, stop=NEVER)

    assert names(place) == ["latest", "run", "sub", "sub/data"]
    assert (place / "latest").read_bytes() == b"d"
    assert (place / "run").stat().st_mode & 0o100


def test_actions_are_done_in_order(tmp_path: Path) -> None:
    """What one action makes is what the next one gets."""
    place = tmp_path / "archive"
    inner = tar(plain("sub/a.txt.gz", gzip.compress(b"inner")))
    place.write_bytes(gzip.compress(inner))
    perform(["gunzip", "untar", "gunzip"], place, folder=False, stop=NEVER)

    assert names(place) == ["sub", "sub/a.txt"]
    assert (place / "sub/a.txt").read_bytes() == b"inner"


def test_actions_on_a_folder(tmp_path: Path) -> None:
    """Every file that has the name for it is unpacked where it lies; the rest stays."""
    place = tmp_path / "run"
    (place / "more").mkdir(parents=True)
    (place / "R_1.fastq.gz").write_bytes(gzip.compress(b"one") + gzip.compress(b"two"))
    (place / "more" / "x.gz").write_bytes(gzip.compress(b"three"))
    (place / "README").write_text("stays")
    perform(["gunzip"], place, folder=True, stop=NEVER)

    assert names(place) == ["README", "R_1.fastq", "more", "more/x"]
    assert (place / "R_1.fastq").read_bytes() == b"onetwo"


def test_archives_in_a_folder_are_merged_into_it(tmp_path: Path) -> None:
    """Tars side by side may share folders, and no files."""
    place = tmp_path / "run"
    place.mkdir()
    (place / "1.tar").write_bytes(tar(plain("sub/a")))
    (place / "2.tgz").write_bytes(gzip.compress(tar(plain("sub/b"))))
    perform(["untar"], place, folder=True, stop=NEVER)
    assert names(place) == ["sub", "sub/a", "sub/b"]

    (place / "3.tar").write_bytes(tar(plain("sub/a")))
    with pytest.raises(BadArchiveError, match="two files would both be a"):
        perform(["untar"], place, folder=True, stop=NEVER)


def test_an_action_that_finds_nothing_to_do_is_a_mistake(tmp_path: Path) -> None:
    """Asking to unpack a folder that holds nothing packed is told, not passed over."""
    (tmp_path / "file").touch()

    with pytest.raises(BadArchiveError, match=r"no file in it ends in \.gz"):
        perform(["gunzip"], tmp_path, folder=True, stop=NEVER)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive cannot fill a disk with empty files either."""
    monkeypatch.setattr(unpacking, "ENTRIES", 50)
    place = tmp_path / "archive"
    place.write_bytes(many_files(51))

    with pytest.raises(BadArchiveError, match="more than 50 files"):
        perform(["untar"], place, folder=False, stop=NEVER)


def test_unpacking_stops_when_nobody_waits(tmp_path: Path) -> None:
    """Unpacking ends soon after nobody wants it any more."""
    place, stop = tmp_path / "archive", threading.Event()
    place.write_bytes(gzip.compress(bytes(10_000_000)))
    stop.set()

    with pytest.raises(Stopped):
        perform(["gunzip"], place, folder=False, stop=stop)


def test_what_pythons_own_tools_make_comes_out(tmp_path: Path) -> None:
    """Archives as people make them are no exception."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a").write_text("a")
    with tarfile.open(tmp_path / "t", "w:gz") as one:
        one.add(source, ".")
    with zipfile.ZipFile(tmp_path / "z", "w") as other:
        other.write(source / "sub" / "a", "sub/a")
    perform(["untar"], tmp_path / "t", folder=False, stop=NEVER)
    perform(["unzip"], tmp_path / "z", folder=False, stop=NEVER)

    assert names(tmp_path / "t") == names(tmp_path / "z") == ["sub", "sub/a"]


@pytest.mark.parametrize(
    ("mount", "path", "makes_folder"),
    [
        ({"source": "s3://bkt/a.gz|gunzip", "path": "/resource/a.gz"}, "/resource/a", False),
        ({"source": "s3://bkt/a.gz|gunzip", "path": "/resource/b"}, "/resource/b", False),
        ({"source": "s3://bkt/a.tgz|untar", "path": "/resource/a.tgz"}, "/resource", True),
        ({"source": "s3://bkt/a.tgz|untar|mv:x", "path": "/input/x/a.tgz"}, "/input/x", True),
        (
            {"source": "s3://bkt/a.zip|unzip", "path": "/input/db", "directory": True},
            "/input/db",
            True,
        ),
        ({"source": "s3://bkt/a/", "path": "/input", "directory": True}, "/input", True),
        ({"source": "s3://bkt/a/", "path": "/input/a"}, "/input/a", True),
        (
            {"source": "s3://bkt/a", "path": "/input/a", "actions": ["mv:x/y"]},
            "/input/x/y/a",
            False,
        ),
        (
            {"source": "s3://bkt/a.tar", "path": "/input/a.tar", "actions": ["untar", "mv:x"]},
            "/input/x",
            True,
        ),
        ({"source": "run+fastq/SRR000001/|gunzip", "path": "/input"}, "/input", True),
    ],
)
def test_where_the_result_goes(mount: dict[str, object], path: str, makes_folder: bool) -> None:
    """A file loses its .gz, an archive is unpacked where it would have been, mv: goes below."""
    found = plan(Mount.model_validate(mount))

    assert (found.path, found.makes_folder) == (path, makes_folder)
