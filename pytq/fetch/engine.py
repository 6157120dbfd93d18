"""What every engine is to the `Fetcher`: one attempt at one file, and the names of many."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from pytq.fetch.transfer import Entry, Meter, Progress
from pytq.schema.uris import Uri


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of a file before it comes."""

    size: int | None = None  # it must have so many bytes
    checksum: str | None = None  # and this checksum
    listed: Entry | None = None  # what its listing said; the file may have been replaced since


@dataclass(frozen=True, slots=True)
class Item:
    """One file below a folder, ready to be fetched."""

    uri: Uri
    entry: Entry

    @property
    def wanted(self) -> Wanted:
        """What its listing promised."""
        return Wanted(listed=self.entry)


class Engine(Protocol):
    """Reads files of one scheme. Every method is one attempt: retries are the Fetcher's."""

    async def get(self, uri: Uri, place: Path, wanted: Wanted, meter: Meter) -> None:
        """Bring one file, whole and checked, to `place`."""

    def walk(self, uri: Uri) -> AsyncIterator[Item]:
        """Every file below a folder, or the one file."""

    async def close(self) -> None:
        """Let go of connections."""


@runtime_checkable
class Bringer(Engine, Protocol):
    """An engine that brings a folder in its own way."""

    async def bring(self, uri: Uri, place: Path, progress: Progress) -> None:
        """Bring everything to below `place`."""


@runtime_checkable
class Store(Engine, Protocol):
    """An engine that writes, too."""

    async def put(self, place: Path, uri: Uri, tag: str, meter: Meter) -> None:
        """Take one file to `uri`, and make sure that it is safe there."""

    async def remove(self, uri: Uri) -> None:
        """Remove one file."""

    def folder(self, uri: Uri, tag: str) -> AbstractAsyncContextManager[Uri]:
        """Where to put a folder's files; at a clean end they are all at `uri`."""
