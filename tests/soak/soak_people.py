"""People who turn every knob while all that goes on; and put everything right at the end."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
from soak_load import Load

from pytq.client import Client
from pytq.schema.problems import PytqError
from pytq.schema.queries import ExecutionFilter
from pytq.schema.states import Signal
from pytq.schema.views import BatchUpdate, WorkerUpdate

PAUSE_SECONDS: Final = 1.0
LATEST: Final = 400  # tasks that are still interesting
NAMES: Final = ("w1", "w2", "w3", "w4")
BATCHES: Final = ("odd", "even")


class People:
    """Acts by chance."""

    def __init__(self, client: Client, load: Load, chance: random.Random) -> None:
        self.client, self.load, self.chance = client, load, chance
        self.done: Counter[str] = Counter()
        self._acts: list[Callable[[], Awaitable[object]]] = [
            *[self.tune] * 4,
            *[self.cancel] * 3,
            *[self.signal] * 2,
            self.hold,
            self.hold_batch,
        ]

    async def run(self) -> None:
        """Act until cancelled."""
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / PAUSE_SECONDS))
            act = self.chance.choice(self._acts)
            with contextlib.suppress(PytqError, aiohttp.ClientError, OSError):
                await act()
                self.done[act.__name__] += 1

    async def tune(self) -> None:
        """Turn a worker's knobs."""
        change = WorkerUpdate(
            concurrency=self.chance.randint(4, 40), prefetch=self.chance.choice((0, 1, 4, 20))
        )
        await self.client.update_worker(self.chance.choice(NAMES), change)

    async def cancel(self) -> None:
        """Cancel one of the latest tasks."""
        latest = list(self.load.known)[-LATEST:]
        if latest:
            task = self.chance.choice(latest)
            self.load.known[task].cancelled = True  # whether or not we hear of it
            await self.client.cancel_task(task)

    async def signal(self) -> None:
        """Hold a running execution for a moment."""
        page = await self.client.list_executions(ExecutionFilter(open=True, limit=100))
        running = [one for one in page.items if one.running_at is not None]
        if running:
            one = self.chance.choice(running)
            await self.client.signal_execution(one.task, one.attempt, Signal.PAUSE)
            await asyncio.sleep(self.chance.uniform(0, 2))
            await self.client.signal_execution(one.task, one.attempt, Signal.RESUME)

    async def hold(self) -> None:
        """Let a worker take nothing new for a moment."""
        name = self.chance.choice(NAMES)
        await self.client.update_worker(name, WorkerUpdate(paused=True))
        await asyncio.sleep(self.chance.uniform(0, 3))
        await self.client.update_worker(name, WorkerUpdate(paused=False))

    async def hold_batch(self) -> None:
        """Let a batch stand still for a moment."""
        name = self.chance.choice(BATCHES)
        await self.client.update_batch(name, BatchUpdate(paused=True))
        await asyncio.sleep(self.chance.uniform(0, 3))
        await self.client.update_batch(name, BatchUpdate(paused=False))

    async def put_right(self) -> None:
        """Everything runs again."""
        for batch in BATCHES:
            await self.client.update_batch(batch, BatchUpdate(paused=False))
            await self.client.signal_batch(batch, Signal.RESUME)
        for number, name in enumerate(NAMES, 1):
            change = WorkerUpdate(
                paused=False,
                draining=False,
                concurrency=24,
                prefetch=4,
                batch=BATCHES[(number + 1) % 2],
            )
            await self.client.update_worker(name, change)
