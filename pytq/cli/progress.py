"""The live view of `pytq up` and the demo: counts, throughput, workers."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pytq.cli import screen
from pytq.cli.stack import Stack
from pytq.client import Client
from pytq.schema.problems import PytqError
from pytq.schema.views import Counts, WorkerView

_LOOK_SECONDS: Final = 0.3
_PLAIN_SECONDS: Final = 2.0
_WINDOW_SECONDS: Final = 5.0


def ended(counts: Counts) -> int:
    """How many tasks have ended."""
    return counts.succeeded + counts.failed + counts.cancelled


def total(counts: Counts) -> int:
    """How many tasks there are."""
    return ended(counts) + counts.waiting + counts.pending + counts.active


class Tempo:
    """Tasks ended per second, over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, now: float, number: int) -> float:
        """Take in how many have ended by `now`; the tempo since the window's beginning."""
        self._seen.append((now, number))
        while now - self._seen[0][0] > _WINDOW_SECONDS:
            self._seen.popleft()
        began, before = self._seen[0]
        return max(0, number - before) / (now - began) if now > began else 0.0


def picture(counts: Counts, workers: Sequence[WorkerView], rate: float) -> RenderableType:
    """What the terminal shows."""
    tally = Table(box=None, pad_edge=False)
    for status in Counts.model_fields:
        tally.add_column(Text(status, style=screen.COLOURS[status]), justify="right")
    tally.add_row(*(str(amount) for amount in counts.model_dump().values()))
    bar = Padding(ProgressBar(max(1, total(counts)), ended(counts), width=60), 0)
    tempo = Text(f"{ended(counts)} of {total(counts)} tasks ended, {rate:.0f} per second")
    crew = screen.table(
        ("WORKER", "STATUS", "RUNNING", "HELD", "CONCURRENCY", "CPU %"),
        [
            (
                worker.name,
                worker.status.value,
                worker.running,
                worker.open,
                worker.settings.concurrency,
                "" if worker.load is None else f"{worker.load.cpu:.0f}",
            )
            for worker in workers
        ],
    )
    return Group(tally, bar, tempo, Text(""), crew)


def line(counts: Counts, rate: float) -> str:
    """What a log shows."""
    said = f"{ended(counts)} of {total(counts)} tasks ended: {screen.counts(counts)}"
    return f"{said}; {rate:.0f} per second"


class Watch:
    """Shows how things stand until told to stop."""

    def __init__(self, console: Console, client: Client, stack: Stack) -> None:
        self._console = console
        self._client = client
        self._stack = stack
        self._tempo = Tempo()
        self._plain_said = ("", 0.0)

    async def until(self, stop: asyncio.Event, enough: Callable[[Counts], bool]) -> bool:
        """Watch until `stop` is set (False) or the counts are `enough` (True)."""
        live = Live(console=self._console, auto_refresh=False, transient=True)
        with live if self._console.is_terminal else nullcontext():
            while not stop.is_set():
                self._stack.check()
                counts = await self._look(live)
                if counts is not None and enough(counts):
                    return True
                await _sleep(stop)
        return False

    async def _look(self, live: Live) -> Counts | None:
        try:
            counts = await self._client.count_tasks()
            workers = await self._client.list_workers()
        except PytqError:
            return None  # busy; if it has ended, the stack will say so
        now = time.monotonic()
        rate = self._tempo.rate(now, ended(counts))
        if self._console.is_terminal:
            live.update(picture(counts, workers, rate), refresh=True)
        else:
            self._say_plainly(now, counts, rate)
        return counts

    def _say_plainly(self, now: float, counts: Counts, rate: float) -> None:
        said, at = self._plain_said
        stand = screen.counts(counts)
        if stand != said and now - at >= _PLAIN_SECONDS:
            self._plain_said = (stand, now)
            self._console.print(line(counts, rate))


async def _sleep(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)
    except TimeoutError:
        return
