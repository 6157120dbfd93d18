"""Why something could not be staged: every error in one sentence, with its cause."""

import os
from pathlib import Path
from typing import Final

from pytq.fetch import FetchError, FetchFailure
from pytq.fetch.errors import shown
from pytq.schema.states import Cause
from pytq.worker.staging import StagingError
from pytq.worker.staging.disk import FULL, look
from pytq.worker.staging.unpacking import BadArchiveError, NoRoomError

# What goes wrong here and now, and need not go wrong on another machine.
LOCAL: Final = frozenset({FetchFailure.LOCAL})
# What was worth another try there and then; after that nobody need try again.
FINAL: Final = frozenset({FetchFailure.CORRUPT})

Trouble = FetchError | BadArchiveError | NoRoomError | OSError | ValueError


def because(uri: str, error: Trouble, cause: Cause, where: Path) -> StagingError:
    """The error as one that names the URI; a full disk, which is that of `where`, is a cause."""
    if isinstance(error, NoRoomError):
        return StagingError(f"{shown(uri)}: {error}", Cause.DISK)
    known = error.__cause__ if isinstance(error, FetchError) else error
    full = isinstance(known, OSError) and known.errno in FULL
    if full or (isinstance(error, FetchError) and error.kind is FetchFailure.DISK):
        culprit = getattr(known, "filename", None) or where
        return StagingError(f"{shown(uri)}: {look(culprit).full}", Cause.DISK)
    if isinstance(error, FetchError):
        passing = error.transient and error.kind not in FINAL
        return StagingError(str(error), cause, transient=passing or error.kind in LOCAL)
    if isinstance(error, OSError) and error.errno is not None:
        which = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        text = f"{shown(uri)}: {os.strerror(error.errno)}{which}"
        return StagingError(text, cause, transient=True)
    return StagingError(f"{shown(uri)}: {error}", cause)
