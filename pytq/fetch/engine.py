"""What every engine is to the `Fetcher`: one attempt at one file, and the names of many."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytq.fetch.transfer import Entry, Meter
from pytq.schema.uris import Uri


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of a file before it comes: from its task, or from a listing."""

    size: int | None = None
    checksum: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One file below a folder, ready to be fetched."""

    uri: Uri
    entry: Entry

    @property
    def wanted(self) -> Wanted:
        """What its listing promised."""
        return Wanted(self.entry.size, self.entry.checksum, self.entry.version)


class Engine(Protocol):
    """Moves files of one scheme. Every method is one attempt: retries are the Fetcher's."""

    async def get(self, uri: Uri, place: Path, wanted: Wanted, meter: Meter) -> None:
        """Bring one file, whole and checked, to `place`."""

    async def put(self, place: Path, uri: Uri, tag: str, meter: Meter) -> None:
        """Take one file to `uri`, and make sure that it is safe there."""

    def walk(self, uri: Uri) -> AsyncIterator[Item]:
        """Every file below a folder, or the one file."""

    async def remove(self, uri: Uri) -> None:
        """Remove one file."""

    def folder(self, uri: Uri, tag: str) -> AbstractAsyncContextManager[Uri]:
        """Where to put a folder's files; at a clean end they are all at `uri`."""

    async def close(self) -> None:
        """Let go of connections."""
