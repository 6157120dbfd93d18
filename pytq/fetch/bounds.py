"""How much may go on at once: in this process, and with one host."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pytq.fetch.options import FetchOptions


class Bounds:
    """Slots for transfers. A big file in several streams takes a slot for each."""

    def __init__(self, options: FetchOptions) -> None:
        self._all = asyncio.Semaphore(options.concurrency)
        self._hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(options.per_host)
        )

    @asynccontextmanager
    async def slot(self, host: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it."""
        # The host's first: who waits for a slow host must not keep the others from theirs.
        async with self._hosts[host], self._all:
            yield
