"""Archives from anywhere, unpacked without harm. Everything here is slow and runs in threads.

An archive is refused, with a sentence, when a name in it is absolute, leaves its folder or comes
twice; when it holds a device, a pipe, or a link out of its folder; and when it grows beyond all
reason. Owners, times and setuid bits are not taken over.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Protocol, Self, cast

from isal import igzip, isal_zlib

from pytq.worker.staging.disk import look

PIECE: Final = 1024 * 1024
RATIO: Final = 200  # times its size: more is a bomb
HARMLESS_BYTES: Final = 256 * 2**20  # so much may come out of anything, however small
ENTRIES: Final = 1_000_000
LINK_BYTES: Final = 4096
HEADER_BYTES: Final = 4 * 2**20  # of one entry in a tar: names and attributes
LOOK_BYTES: Final = 64 * 2**20  # written between two looks at the disk
BROKEN: Final[tuple[type[Exception], ...]] = (
    gzip.BadGzipFile,
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    lzma.LZMAError,
    zlib.error,
    cast("type[Exception]", isal_zlib.error),
    NotImplementedError,
)
DAMAGED: Final = (
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined] # typeshed lacks it
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined] # typeshed lacks it
    tarfile.SubsequentHeaderError,  # type: ignore[attr-defined] # typeshed lacks it
)


class BadArchiveError(Exception):
    """Why an archive is not unpacked."""


class NoRoomError(Exception):
    """What an archive holds does not fit on the disk; the text names it."""


class Stopped(Exception):  # noqa: N818 - a wish, not an error
    """Nobody waits for this any more."""


class Readable(Protocol):
    """A stream of unpacked bytes."""

    def read(self, size: int, /) -> bytes:
        """Give up to so many of them."""


class Growth:
    """Watches what comes out of an archive: how much, from how little, and who still waits."""

    def __init__(self, archive: Path, stop: threading.Event) -> None:
        self._packed = max(1, archive.stat().st_size)
        self._folder = archive.parent
        self._stop = stop
        self._bytes = self._unseen = self._entries = 0

    def entry(self) -> None:
        """One more file, folder or link."""
        self._entries += 1
        if self._entries > ENTRIES:
            raise BadArchiveError(f"it holds more than {ENTRIES:,} files")
        self._heed()

    def grow(self, amount: int) -> None:
        """So many bytes more."""
        self._bytes += amount
        self._unseen += amount
        if self._bytes > max(HARMLESS_BYTES, self._packed * RATIO):
            raise BadArchiveError(
                f"it unpacks to more than {RATIO} times its size, as only bombs do"
            )
        if self._unseen >= LOOK_BYTES:
            self._unseen = 0
            disk = look(self._folder)
            if disk.low:
                raise NoRoomError(f"{disk.full}, while unpacking")
        self._heed()

    def _heed(self) -> None:
        if self._stop.is_set():
            raise Stopped


class Tree:
    """A new folder, filled by an archive: every name in it once, and none outside."""

    def __init__(self, top: Path, growth: Growth) -> None:
        self._top = top
        self._growth = growth
        self._folders = {""}
        self._links: list[str] = []
        top.mkdir()

    def folder(self, name: str) -> None:
        """Make a folder; that it comes twice does no harm."""
        self._growth.entry()
        path = _plain(name)
        if path:
            self._enter(path)

    def file(self, name: str, content: Readable, *, executable: bool) -> None:
        """Make a file."""
        place = self._new(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(place, flags, 0o755 if executable else 0o644)
        except FileExistsError:
            raise BadArchiveError(f"{name!r} comes twice in it") from None
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123 - it is a descriptor
            pour(content, file, self._growth)

    def symlink(self, name: str, target: str) -> None:
        """Make a link to something in the same folder."""
        place = self._new(name)
        here = os.path.dirname(_plain(name))  # noqa: PTH120 - a name, not a place
        there = os.path.normpath(os.path.join(here, target))  # noqa: PTH118
        if target.startswith("/") or there.startswith("../") or there == "..":
            raise BadArchiveError(f"{name!r} is a link that leads out of it, to {target!r}")
        with _once(name):
            place.symlink_to(target)
        self._links.append(name)

    def hard_link(self, name: str, target: str) -> None:
        """Make another name for a file that came before."""
        place, other = self._new(name), self._top / _plain(target)
        if not stat.S_ISREG(_mode(other)) or not self._is_folder(other.parent):
            raise BadArchiveError(f"{name!r} is a link to {target!r}, which is no file before it")
        with _once(name):
            os.link(other, place, follow_symlinks=False)

    def check(self) -> None:
        """See where the links lead, now that all is there."""
        top = os.path.realpath(self._top)
        for name in self._links:
            real = os.path.realpath(self._top / _plain(name))
            if not f"{real}/".startswith(f"{top}/"):
                raise BadArchiveError(f"{name!r} is a link that leads out of it")

    def _new(self, name: str) -> Path:
        self._growth.entry()
        path = _plain(name)
        if not path or path in self._folders:
            raise BadArchiveError(f"{name!r} comes twice in it")
        self._enter(os.path.dirname(path))  # noqa: PTH120 - a name, not a place
        return self._top / path

    def _enter(self, path: str) -> None:
        """Make a folder and those above it; never through a link."""
        if path in self._folders:
            return
        self._enter(os.path.dirname(path))  # noqa: PTH120 - a name, not a place
        try:
            (self._top / path).mkdir()
        except FileExistsError:
            raise BadArchiveError(f"{path!r} is a folder and something else in it") from None
        self._folders.add(path)

    def _is_folder(self, place: Path) -> bool:
        return place == self._top or str(place.relative_to(self._top)) in self._folders


def gunzip(archive: Path, place: Path, growth: Growth) -> None:
    """Unpack a gzip file to a file."""
    with (
        _told(),
        archive.open("rb") as packed,
        _open_gzip(packed) as content,
        place.open("xb", buffering=0) as file,
    ):
        pour(content, file, growth)


def untar(archive: Path, place: Path, growth: Growth) -> None:
    """Unpack a tar, compressed in any way that Python knows, to a new folder."""
    tree = Tree(place, growth)
    with _told(), _open_tar(archive) as content:
        source = _Source(content)
        with tarfile.open(
            fileobj=cast("IO[bytes]", source), mode="r|", bufsize=PIECE, tarinfo=_Header
        ) as tar:
            while (member := source.headers(tar)) is not None:
                _take_member(tar, member, tree)
        while rest := content.read(PIECE):  # to its end, where a checksum may be
            growth.grow(len(rest))
    tree.check()


def unzip(archive: Path, place: Path, growth: Growth) -> None:
    """Unpack a zip to a new folder."""
    tree = Tree(place, growth)
    with _told(), zipfile.ZipFile(archive) as content:
        for info in content.infolist():
            mode = info.external_attr >> 16
            if info.flag_bits & 1:
                raise BadArchiveError(f"{info.filename!r} is encrypted, and there is no password")
            if info.is_dir():
                tree.folder(info.filename)
            elif stat.S_ISLNK(mode):
                with content.open(info) as file:
                    tree.symlink(info.filename, os.fsdecode(file.read(LINK_BYTES)))
            elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                with content.open(info) as file:
                    tree.file(info.filename, file, executable=bool(mode & 0o100))
            else:
                raise BadArchiveError(f"{info.filename!r} is neither file, folder nor link")
    tree.check()


def pour(content: Readable, file: IO[bytes] | io.RawIOBase, growth: Growth) -> None:
    """Write a stream to a file."""
    while piece := content.read(PIECE):
        growth.grow(len(piece))
        rest = memoryview(piece)
        while rest:
            rest = rest[file.write(rest) :]


class _Header(tarfile.TarInfo):
    """A header that must be whole: tarfile itself takes a damaged one for the archive's end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """The next one."""
        try:
            return super().fromtarfile(tarfile)
        except DAMAGED as error:
            raise BadArchiveError(f"cannot be unpacked: {error}") from error


class _Source:
    """What a tar is read from; bounds what tarfile would keep in memory of a single header."""

    def __init__(self, content: Readable) -> None:
        self._content = content
        self._left: int | None = HEADER_BYTES

    def read(self, size: int) -> bytes:
        """As of a file."""
        data = self._content.read(size)
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise BadArchiveError("the name or the attributes of a file in it have no end")
        return data

    def headers(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        """The next member."""
        self._left = HEADER_BYTES
        member = tar.next()
        self._left = None
        tar.members.clear()  # type: ignore[attr-defined] # it would remember every one of them
        return member


def _take_member(tar: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree) -> None:
    if member.isdir():
        tree.folder(member.name)
    elif member.issym():
        tree.symlink(member.name, member.linkname)
    elif member.islnk():
        tree.hard_link(member.name, member.linkname)
    elif member.isreg() and (content := tar.extractfile(member)) is not None:
        tree.file(member.name, content, executable=bool(member.mode & 0o100))
    else:
        raise BadArchiveError(f"{member.name!r} is neither file, folder nor link")


@contextlib.contextmanager
def _open_tar(archive: Path) -> Iterator[Readable]:
    """The tar in a file, whichever way it is compressed."""
    with archive.open("rb") as packed:
        magic = packed.read(6)
        packed.seek(0)
        opener = next((way for start, way in WAYS.items() if magic.startswith(start)), None)
        if opener is None:
            yield packed
        else:
            with opener(packed) as content:
                yield content


def _open_gzip(packed: IO[bytes]) -> Any:
    return igzip.GzipFile(fileobj=packed)  # type: ignore[no-untyped-call]


def _open_zstd(packed: IO[bytes]) -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found] # Python 3.14 and later
    except ImportError:
        raise BadArchiveError(
            "it is compressed with zstd, which needs Python 3.14 on the worker; use gzip or xz"
        ) from None
    return zstd.ZstdFile(packed)


WAYS: Final[dict[bytes, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b": _open_gzip,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _open_zstd,
}


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say in words that an archive is none, or is cut short."""
    try:
        yield
    except BROKEN as error:
        raise BadArchiveError(f"cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno is None:  # bz2's own way to say so
            raise BadArchiveError(f"cannot be unpacked: {error}") from error
        raise


@contextlib.contextmanager
def _once(name: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise BadArchiveError(f"{name!r} comes twice in it") from None


def _plain(name: str) -> str:
    """A name in an archive as a path below its folder; empty for the folder itself."""
    words = name.split("/")
    if name.startswith("/") or ".." in words or "\0" in name:
        raise BadArchiveError(f"{name!r} is a name that leads out of its folder")
    return "/".join(word for word in words if word not in ("", "."))


def _mode(place: Path) -> int:
    try:
        return place.lstat().st_mode
    except OSError:
        return 0
