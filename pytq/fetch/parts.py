"""Part files: where bytes gather beside their place until they are whole."""

import hashlib
import os
from pathlib import Path
from typing import Final

from pytq.fetch.errors import FetchError, FetchFailure

NAME_BYTES: Final = 255
SUFFIX: Final = ".part-pytq"


def beside(place: Path, suffix: str = SUFFIX) -> Path:
    """A temporary name beside `place`; a name that would get too long is abbreviated."""
    name = place.name + suffix
    if len(os.fsencode(name)) > NAME_BYTES:
        digest = hashlib.sha256(os.fsencode(place.name)).hexdigest()
        name = f".{digest}{suffix}"
    return place.with_name(name)


def inside(uri: object, folder: Path, name: str) -> Path:
    """The place of a file of a folder, from the name that the other side gives it.

    Raises FetchError (unsafe) for a name that would not stay in the folder.
    """
    words = name.split("/")
    if "" in words or "." in words or ".." in words or "\0" in name:
        reason = f"holds {name!r}, which is no plain path below a folder; rename it there"
        raise FetchError(uri, reason, FetchFailure.UNSAFE)
    return folder.joinpath(*words)


def stretch(place: Path, position: int, amount: int) -> bytes:
    """Read some bytes of a file; it is not held open for whoever may be called off meanwhile."""
    with place.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), amount, position)
