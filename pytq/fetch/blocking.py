"""The same for programs without an event loop: each call runs one of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pytq.fetch.fetcher import Fetcher, parsed
from pytq.fetch.options import FetchOptions
from pytq.fetch.sync import Changes
from pytq.fetch.sync import sync as _sync
from pytq.fetch.transfer import Entry, Progress

T = TypeVar("T")


def get(
    uri: str,
    place: Path | str,
    *,
    size: int | None = None,
    checksum: str | None = None,
    progress: Progress | None = None,
    options: FetchOptions | None = None,
) -> None:
    """Bring a file to `place`, or, when the URI ends in `/`, all below it to below `place`."""
    folder = parsed(uri).is_folder

    async def work(fetcher: Fetcher) -> None:
        await fetcher.get(
            uri, Path(place), directory=folder, size=size, checksum=checksum, progress=progress
        )

    _run(work, options)


def put(
    place: Path | str,
    uri: str,
    *,
    progress: Progress | None = None,
    options: FetchOptions | None = None,
) -> None:
    """Take a file to `uri`, or all below a folder to below `uri`."""
    folder = Path(place).is_dir()
    _run(lambda one: one.put(Path(place), uri, directory=folder, progress=progress), options)


def entries(uri: str, *, options: FetchOptions | None = None) -> list[Entry]:
    """Every file below a folder, or the one file."""

    async def work(fetcher: Fetcher) -> list[Entry]:
        return [entry async for entry in fetcher.list(uri)]

    return _run(work, options)


def remove(uri: str, *, options: FetchOptions | None = None) -> int:
    """Remove a file, or every file below a folder; tells how many there were."""
    return _run(lambda one: one.remove(uri), options)


def sync(
    source: str,
    target: str,
    *,
    delete: bool = False,
    dry_run: bool = False,
    options: FetchOptions | None = None,
) -> Changes:
    """Copy what differs between two folders, one of them of this machine."""
    return _run(lambda one: _sync(one, source, target, delete=delete, dry_run=dry_run), options)


def _run(work: Callable[[Fetcher], Awaitable[T]], options: FetchOptions | None) -> T:
    async def run() -> T:
        async with Fetcher(options) as fetcher:
            return await work(fetcher)

    return asyncio.run(run())
