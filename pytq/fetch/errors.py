"""What can go wrong with a transfer: one error, which says what kind it is and how to cure it."""

import errno
import os
from enum import StrEnum
from functools import partial
from typing import Final


class FetchFailure(StrEnum):
    """Why a transfer failed, in a word that programs can read."""

    MISSING = "missing"  # there is no such file, folder, bucket, host or accession
    DENIED = "denied"  # it is there, but not for these credentials, or outside the allowed roots
    CORRUPT = "corrupt"  # what came has another size or checksum than it should have
    CHANGED = "changed"  # the source was replaced while it was read
    BROKEN = "broken"  # the connection ended before the file did
    STALLED = "stalled"  # no byte for a while
    BUSY = "busy"  # the other side asks to come back later
    UNREACHABLE = "unreachable"  # nobody answers there
    DISK = "disk"  # no space or quota left on this machine
    LOCAL = "local"  # this machine's own file cannot be read or written
    UNSAFE = "unsafe"  # a name from the other side that would leave its folder
    UNSUPPORTED = "unsupported"  # nothing here can do that


# What another try, a little later or on another machine, may well cure.
PASSING: Final = frozenset(
    {
        FetchFailure.CHANGED,
        FetchFailure.BROKEN,
        FetchFailure.STALLED,
        FetchFailure.BUSY,
        FetchFailure.UNREACHABLE,
    }
)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class FetchError(Exception):
    """A transfer that failed. The text names the URI and the reason, with its cure where known.

    `transient`: trying again, later or elsewhere, may help. `retry_after`: seconds to wait first,
    as the other side asked for.
    """

    def __init__(
        self,
        uri: object,
        reason: str,
        kind: FetchFailure,
        *,
        transient: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.uri = shown(uri)
        self.reason = reason
        self.kind = kind
        self.transient = kind in PASSING if transient is None else transient
        self.retry_after = retry_after
        self.tried = 0  # how often, by those who try again; then nobody above them does
        super().__init__(f"{self.uri}: {reason}")

    def note_tries(self, tried: int) -> None:
        """Say in the text how often it was tried."""
        if tried > 1 and not self.tried:
            self.args = (f"{self} (tried {tried} times)",)
        self.tried = max(self.tried, tried)

    def __reduce__(self) -> tuple[object, ...]:
        again = partial(
            FetchError, transient=self.transient, retry_after=self.retry_after
        )  # the arguments that an exception does not keep by itself
        return again, (self.uri, self.reason, self.kind)


def shown(uri: object) -> str:
    """A URI fit for people and logs: a query may be a signature, so its content stays out."""
    plain, mark, query = str(uri).partition("?")
    _, action, actions = query.partition("|")
    return f"{plain}?…{action}{actions}" if mark else plain


def local_error(uri: object, error: OSError) -> FetchError:
    """Tell of this machine's own trouble: which file, and whether its disk is full."""
    place = f" ({os.fsdecode(error.filename)})" if error.filename else ""
    text = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        reason = f"{text}{place}: the disk is full; free some space there"
        return FetchError(uri, reason, FetchFailure.DISK)
    return FetchError(uri, f"{text}{place}", FetchFailure.LOCAL)
