"""Showing a transfer while it goes on: a bar on a terminal, a line now and then elsewhere."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from pytq.cli import screen
from pytq.cli.wire import harmless
from pytq.fetch import Progress

LOOK_SECONDS: Final = 0.2
PLAIN_SECONDS: Final = 5.0
NAME_CHARS: Final = 50


@asynccontextmanager
async def shown(name: str, progress: Progress, *, quiet: bool) -> AsyncIterator[None]:
    """Show how far a transfer has come, on stderr, while the body runs."""
    begun = time.monotonic()
    if quiet:
        yield
        return
    name = harmless(name if len(name) <= NAME_CHARS else f"…{name[1 - NAME_CHARS :]}")
    watching = _bars if sys.stderr.isatty() else _lines
    task = asyncio.create_task(watching(name, progress))
    try:
        yield
        seconds = time.monotonic() - begun
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    rate = progress.done / seconds if seconds else 0.0
    print(
        f"{name}: {screen.size(progress.done)} in {seconds:.1f} s, {screen.size(rate)}/s",
        file=sys.stderr,
    )


async def _bars(name: str, progress: Progress) -> None:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(name, total=None)
        while True:
            bars.update(bar, completed=progress.done, total=progress.total)
            await asyncio.sleep(LOOK_SECONDS)


async def _lines(name: str, progress: Progress) -> None:
    before = 0
    while True:
        await asyncio.sleep(PLAIN_SECONDS)
        rate = max(0, progress.done - before) / PLAIN_SECONDS
        before = progress.done
        whole = screen.size(progress.total) or "?"
        print(
            f"{name}: {screen.size(progress.done)} of {whole}, {screen.size(rate)}/s",
            file=sys.stderr,
            flush=True,
        )
