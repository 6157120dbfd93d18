"""Sizes and checksums: what came is what should have come."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.threads import Stopped
from pytq.fetch.transfer import Meter

PIECE: Final = 1024 * 1024


def check_size(uri: object, found: int, wanted: int | None, *, transient: bool = False) -> None:
    """Raise FetchError (corrupt) unless the size is right; None is any size."""
    if wanted is not None and found != wanted:
        reason = f"has {found} bytes, not the {wanted} it should have"
        raise FetchError(uri, reason, FetchFailure.CORRUPT, transient=transient)


def check_sum(uri: object, found: str, wanted: str, *, transient: bool = False) -> None:
    """Raise FetchError (corrupt) unless the checksums, as `md5:…` or `sha256:…`, are the same."""
    if found != wanted:
        kind, _, value = wanted.partition(":")
        reason = f"its {kind} is {found.partition(':')[2]}, not the {value} it should have"
        raise FetchError(uri, reason, FetchFailure.CORRUPT, transient=transient)


def new_hash(kind: str) -> "hashlib._Hash":
    """A hash of a kind that a checksum names; MD5 finds accidents here, not forgeries."""
    return hashlib.new(kind, usedforsecurity=False)


def sum_of(
    path: Path, kind: str, stop: threading.Event | None = None, meter: Meter | None = None
) -> str:
    """A file's checksum, as `kind:hex`. Slow: for a thread."""
    hashed = new_hash(kind)
    feed(path, 0, path.stat().st_size, hashed.update, stop, meter)
    return f"{kind}:{hashed.hexdigest()}"


def feed(
    path: Path,
    offset: int,
    length: int,
    sink: Callable[[memoryview], Any],
    stop: threading.Event | None = None,
    meter: Meter | None = None,
) -> None:
    """Give a stretch of a file to `sink`, piece by piece."""
    buffer = memoryview(bytearray(min(PIECE, length) or 1))
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while length > 0:
            if stop is not None and stop.is_set():
                raise Stopped
            found = file.readinto(buffer[: min(PIECE, length)])
            if not found:
                return
            sink(buffer[:found])
            length -= found
            if meter is not None:
                meter.touch()
