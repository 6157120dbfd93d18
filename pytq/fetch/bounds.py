"""How much may go on at once: in this process, and with one host."""

import asyncio
from collections import defaultdict

from pytq.fetch.options import FetchOptions


class Bounds:
    """Slots for transfers. A big file in several streams takes a slot for each."""

    def __init__(self, options: FetchOptions) -> None:
        self._all = asyncio.Semaphore(options.concurrency)
        self._hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(options.per_host)
        )

    def slot(self, host: str) -> "_Slot":
        """Wait for a slot, and hold it."""
        return _Slot(self._hosts[host], self._all)


class _Slot:
    def __init__(self, host: asyncio.Semaphore, everything: asyncio.Semaphore) -> None:
        self._host, self._all = host, everything

    async def __aenter__(self) -> None:
        # The host's first: who waits for a slow host must not keep the others from theirs.
        await self._host.acquire()
        try:
            await self._all.acquire()
        except BaseException:
            self._host.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._all.release()
        self._host.release()
