"""Whose a task's folders are: containers run as root, or as anybody, and so do workers.

An image may run as a user of its own, who must be able to write; and root in a container leaves
files that a worker who is not root could neither read, carry away nor remove.
"""

import contextlib
import io
import logging
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any, Final

from aiodocker import DockerError

from pytq.schema import tasks
from pytq.worker.rooms import Room
from pytq.worker.runners.docker.dockerd import Dockerd, DockerdAway

log = logging.getLogger(__name__)

HELPER: Final = "pytq/chown:1"  # an image without anything in it: it borrows this machine's chown
SYSTEM: Final = ("bin", "lib", "lib64", "usr")
WRITABLE: Final = (tasks.INPUT, tasks.OUTPUT, tasks.WORK)
ROOT: Final = frozenset({"", "0", "root"})
LOOKED_AT: Final = 100_000  # files, before the whole room is believed to be like them


def open_up(room: Room, user: str) -> None:
    """Let whoever a container runs as write into a room, and nobody of this machine beside."""
    room.touched = True
    Path(room.path).chmod(0o700)  # what dockerd mounts needs no way through here
    Path(room.places[tasks.TEMP]).chmod(0o1777)  # as every image expects
    if user.partition(":")[0] not in ROOT:
        for place in WRITABLE:
            Path(room.places[place]).chmod(0o777)


def is_foreign(room: Room) -> bool:
    """Whether anything in a room is not ours. Slow: for a thread."""
    me, seen = os.getuid(), 0
    for folder, folders, files in os.walk(room.path):
        for name in (*folders, *files):
            seen += 1
            with contextlib.suppress(OSError):
                if os.lstat(os.path.join(folder, name)).st_uid != me:  # noqa: PTH118 - there may be many
                    return True
        if seen > LOOKED_AT:
            return False
    return False


async def reclaim(dockerd: Dockerd, room: Room, name: str, labels: dict[str, str]) -> None:
    """Make everything in a room ours, as root, through dockerd. Says so when that fails."""
    try:
        await _have_helper(dockerd)
        try:
            await dockerd.create(name, _config(room, labels))
            await dockerd.start(name)
            code = await dockerd.wait(name)
        finally:
            await dockerd.remove(name)
        if code:
            log.warning("chown ended with %d in %s; some files stay another's", code, room.path)
    except (DockerError, DockerdAway, OSError) as error:
        log.warning("files in %s stay another's: %s", room.path, error)


async def _have_helper(dockerd: Dockerd) -> None:
    if await dockerd.image(HELPER) is None:
        await dockerd.import_image(HELPER, _empty_root())


def _empty_root() -> bytes:
    """A file system of empty folders, with the links to /usr that this machine has."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in (*SYSTEM, "room"):
            entry = tarfile.TarInfo(name)
            place = Path("/", name)
            if name in SYSTEM and place.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(place.readlink())
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
    return out.getvalue()


def _config(room: Room, labels: dict[str, str]) -> dict[str, Any]:
    program = shutil.which("chown", path="/usr/bin:/bin") or "/bin/chown"
    borrowed = [Path("/", name) for name in SYSTEM]
    mounts = [(str(p), str(p), True) for p in borrowed if p.is_dir() and not p.is_symlink()]
    mounts.append((room.path, "/room", False))
    return {
        "Image": HELPER,
        "Entrypoint": [program],
        "Cmd": ["-R", "-h", f"{os.getuid()}:{os.getgid()}", "/room"],
        "User": "0:0",
        "Labels": labels,
        "HostConfig": {
            "NetworkMode": "none",
            "UsernsMode": "host",
            "SecurityOpt": ["label=disable"],
            "Mounts": [
                {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}
                for source, target, read_only in mounts
            ],
        },
    }
