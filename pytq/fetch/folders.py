"""Whole folders: many files side by side, none of them half."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

AHEAD: Final = 10_000  # files that are listed before they are begun


async def each(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Do `work` for every item, `at_once` at a time; the first failure ends all of it."""
    queue: asyncio.Queue[T | None] = asyncio.Queue(AHEAD)

    async def worker() -> None:
        while (item := await queue.get()) is not None:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
            async for item in items:
                await queue.put(item)
            for _ in range(at_once):
                await queue.put(None)
    except BaseExceptionGroup as failures:
        raise first_of(failures) from None


def first_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that made a group of tasks end."""
    first = failures.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


def regular_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every regular file below a folder of this machine, with its path from there.

    Symlinks are not followed; what is neither file nor folder is left out.
    """
    for where, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            found = Path(where, name)
            if stat.S_ISREG(found.lstat().st_mode):
                yield found, str(found.relative_to(folder))


def _raise(error: OSError) -> None:
    raise error
