"""How inputs come and outputs go. Everything here is slow and runs in threads.

One file per URI scheme; this one chooses among them and reads a task's mounts and outputs.
"""

import errno
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytq.schema import uris
from pytq.schema.frames import Ref
from pytq.schema.states import Cause
from pytq.schema.tasks import Mount, Output
from pytq.worker.rooms import Room
from pytq.worker.runners.process import CannotRun, locate
from pytq.worker.staging.file import Files, Stopped

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StagingError(Exception):
    """Why something could not be staged; the text names the URI."""

    def __init__(self, text: str, cause: Cause) -> None:
        super().__init__(text)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Stager:
    """Stages one execution's inputs in and outputs out."""

    files: Files

    def bring(self, room: Room, mounts: Sequence[Mount], stop: threading.Event) -> None:
        """Put every mount in its place."""
        for mount in mounts:
            origin = mount.source or f"the content of {mount.path}"
            try:
                self._bring(room, mount, stop)
            except CannotRun as error:
                raise StagingError(str(error), Cause.COMMAND) from error
            except Stopped:
                raise
            except (OSError, ValueError) as error:
                raise _reason(origin, error, Cause.INPUT) from error

    def carry(self, room: Room, ref: Ref, outputs: Sequence[Output], stop: threading.Event) -> None:
        """Take every output to its destination, and make it safe there."""
        for output in outputs:
            try:
                uri = uris.parse(output.destination)
                if uri.scheme != "file":
                    raise ValueError(f"this worker cannot write to {uri.scheme}:// yet")  # noqa: TRY301 - one place makes the sentence
                self.files.carry(Path(locate(room, output.path)), uri.path, output, ref, stop)
            except Stopped:
                raise
            except (OSError, ValueError, CannotRun) as error:
                raise _reason(output.destination, error, Cause.OUTPUT) from error

    def _bring(self, room: Room, mount: Mount, stop: threading.Event) -> None:
        place = Path(locate(room, mount.path))
        place.parent.mkdir(parents=True, exist_ok=True)
        if mount.content is not None:
            place.write_text(mount.content, encoding="utf-8")
            return
        uri = uris.parse(mount.source or "")
        if uri.scheme != "file":
            raise ValueError(f"this worker cannot fetch {uri.scheme}:// yet")
        if any(not action.startswith("mv:") for action in uri.actions) or mount.actions:
            done = ", ".join([*uri.actions, *mount.actions])
            raise ValueError(f"this worker cannot do |{done} yet")
        self.files.bring(uri.path, place, mount, stop)


def _reason(what: str, error: Exception, cause: Cause) -> StagingError:
    if isinstance(error, OSError) and error.errno is not None:
        where = f" ({error.filename})" if error.filename else ""
        text = f"{os.strerror(error.errno)}{where}"
        return StagingError(f"{what}: {text}", Cause.DISK if error.errno in FULL else cause)
    return StagingError(f"{what}: {error}", cause)
