"""What is done to something fetched before a task sees it: `|gunzip`, `|untar`, `|unzip`.

They are done in the order in which they are written; `|mv:FOLDER` only says where the result goes.
On a folder each is done to every file in it that has the name for it. Slow: for threads.
"""

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytq.schema import uris
from pytq.schema.tasks import Mount
from pytq.schema.uris import Uri
from pytq.worker.staging.unpacking import BadArchiveError, Growth, gunzip, untar, unzip

TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
MOVE: Final = "mv:"

Unpack = Callable[[Path, Path, Growth], None]
UNPACKERS: Final[dict[str, Unpack]] = {"gunzip": gunzip, "untar": untar, "unzip": unzip}
NAMES: Final = {"gunzip": (".gz",), "untar": TARS, "unzip": (".zip",)}
TO_FOLDERS: Final = frozenset({"untar", "unzip"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mount asks for: what to fetch, what to do to it, and where it goes."""

    source: Uri  # without its actions
    chain: tuple[str, ...]
    fetches_folder: bool
    makes_folder: bool
    path: str  # as the task sees it; of the folder that is filled, or of the file

    @property
    def uri(self) -> str:
        """The source as it was written, what is done to it included."""
        return "|".join((str(self.source), *self.chain))


def plan(mount: Mount) -> Plan:
    """Read a mount that has a source. Raises `UriError` for an action that nobody knows."""
    written = "".join(f"|{action}" for action in mount.actions)
    uri = uris.parse(f"{mount.source or ''}{written}")
    chain = tuple(action for action in uri.actions if not action.startswith(MOVE))
    unpacks = bool(TO_FOLDERS.intersection(chain))
    fetches_folder = uri.is_folder or (mount.directory and not unpacks)
    return Plan(
        source=Uri(uri.scheme, uri.options, uri.host, uri.path, ()),
        chain=chain,
        fetches_folder=fetches_folder,
        makes_folder=fetches_folder or unpacks,
        path=_path(mount, uri, chain),
    )


def _path(mount: Mount, uri: Uri, chain: Sequence[str]) -> str:
    """Where the result goes. What `-i` and `-r` say of moving is in the mount's path already."""
    folder, _, name = mount.path.rpartition("/")
    if mount.directory or uri.is_folder:
        folder, name = mount.path.rstrip("/"), ""
    elif TO_FOLDERS.intersection(chain):
        name = ""  # it is unpacked where the archive would have been
    elif "gunzip" in chain:
        name = name.removesuffix(".gz") or name
    for action in mount.actions:
        if action.startswith(MOVE):
            folder = f"{folder}/{action.removeprefix(MOVE)}"
    return f"{folder}/{name}".rstrip("/") or "/"


def perform(chain: Sequence[str], place: Path, *, folder: bool, stop: threading.Event) -> None:
    """Do what is to be done to a file or folder; the result takes its place.

    Raises `BadArchiveError`, `NoRoomError`, `Stopped`, `OSError`.
    """
    for action in chain:
        if folder:
            _unpack_all(action, place, stop)
        else:
            out = unpacked(place)
            UNPACKERS[action](place, out, Growth(place, stop))
            place.unlink()
            out.rename(place)
            folder = action in TO_FOLDERS


def _unpack_all(action: str, folder: Path, stop: threading.Event) -> None:
    endings = NAMES[action]
    found = [p for p in sorted(folder.rglob("*")) if p.name.endswith(endings) and _is_file(p)]
    if not found:
        raise BadArchiveError(f"|{action}: no file in it ends in {' or '.join(endings)}")
    for archive in found:
        out = unpacked(archive)
        UNPACKERS[action](archive, out, Growth(archive, stop))
        archive.unlink()
        if action in TO_FOLDERS:
            merge(out, archive.parent)
        else:
            _settle(out, archive.with_name(archive.name.removesuffix(endings[0])))


def unpacked(archive: Path) -> Path:
    """Where something is unpacked, before it takes its archive's place."""
    return archive.with_name(".pytq-unpacked")


def merge(folder: Path, into: Path) -> None:
    """Move all in a folder into another; what is a folder on both sides is merged too.

    Raises `BadArchiveError` where both have a file.
    """
    into.mkdir(parents=True, exist_ok=True)
    for child in list(folder.iterdir()):
        target = into / child.name
        if _is_folder(child) and _is_folder(target):
            merge(child, target)
        else:
            _settle(child, target)
    folder.rmdir()


def _settle(found: Path, place: Path) -> None:
    if place.is_symlink() or place.exists():
        raise BadArchiveError(f"two files would both be {place.name}")
    shutil.move(found, place)


def _is_file(place: Path) -> bool:
    return place.is_file() and not place.is_symlink()


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()
