"""Making a folder of this machine and one somewhere else the same, by copying what differs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytq.fetch import folders
from pytq.fetch.engine import Item
from pytq.fetch.errors import FetchError, FetchFailure
from pytq.fetch.fetcher import Fetcher, as_folder, below, parsed
from pytq.fetch.parts import inside
from pytq.fetch.transfer import Progress
from pytq.fetch.verify import sum_of
from pytq.schema.uris import Uri

CLOCK_SECONDS: Final = 1.0  # FTP and S3 tell times to the second


@dataclass(frozen=True, slots=True)
class Changes:
    """What a sync does, or would do: names of files, in order."""

    copied: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    same: int = 0
    size: int = 0  # bytes to copy, where known


async def sync(
    fetcher: Fetcher,
    source: str | Uri,
    target: str | Uri,
    *,
    delete: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Changes:
    """Copy what differs from one folder to another; `delete`: remove what only the target has.

    One of them has to be of this machine (file://). Files of the same size are compared by their
    MD5 where the other side tells it, else by time: what is older than its copy is the same.
    """
    origin, goal = as_folder(parsed(source)), as_folder(parsed(target))
    if "file" not in (origin.scheme, goal.scheme):
        reason = "a sync needs one folder of this machine: file:///folder/"
        raise FetchError(target, reason, FetchFailure.UNSUPPORTED)
    there = {item.entry.name: item async for item in fetcher.walk(origin)}
    here = await _present(fetcher, goal)
    wanted = [name for name, item in there.items() if await _differs(item, here.get(name))]
    extra = sorted(here.keys() - there.keys()) if delete else []
    size = sum(there[name].entry.size or 0 for name in wanted)
    if not dry_run:
        await _copy(fetcher, origin, goal, [there[name] for name in wanted], progress or Progress())
        for name in extra:
            await fetcher.remove(here[name].uri)
    return Changes(wanted, extra, len(there) - len(wanted), size)


async def _present(fetcher: Fetcher, goal: Uri) -> dict[str, Item]:
    """What the target has; a folder that is not there yet has nothing."""
    try:
        return {item.entry.name: item async for item in fetcher.walk(goal)}
    except FetchError as error:
        if error.kind is not FetchFailure.MISSING:
            raise
        return {}


async def _differs(source: Item, target: Item | None) -> bool:
    if target is None or source.entry.size != target.entry.size:
        return True
    known = source.entry.checksum or target.entry.checksum
    if known is not None:
        local = source if source.uri.scheme == "file" else target
        kind = known.partition(":")[0]
        return await asyncio.to_thread(sum_of, Path(local.uri.path), kind) != known
    if source.entry.modified is None or target.entry.modified is None:
        return True
    ahead = source.entry.modified - target.entry.modified
    return ahead.total_seconds() > CLOCK_SECONDS


async def _copy(
    fetcher: Fetcher, origin: Uri, goal: Uri, wanted: list[Item], progress: Progress
) -> None:
    for item in wanted:
        progress.grow(item.entry.size or 0)

    async def planned() -> AsyncIterator[Item]:
        for item in wanted:
            yield item

    async def one(item: Item) -> None:
        part = Progress()
        if goal.scheme == "file":
            place = inside(origin, Path(goal.path), item.entry.name)
            await fetcher.get(item.uri, place, progress=part)
        else:
            await fetcher.put(Path(item.uri.path), below(goal, item.entry.name), progress=part)
        progress.advance(part.done)

    await folders.each(planned(), one, fetcher.options.concurrency)
