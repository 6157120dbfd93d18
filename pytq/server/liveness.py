"""Noticing workers that have been silent for longer than a lease, and handing on what they held.

Suspicion is free and shown at once; the decision waits for the whole lease, counted on this
server's monotonic clock alone.
"""

import asyncio
import logging
from typing import Final

from pytq.schema.problems import PytqError
from pytq.server.dispatcher import Dispatcher, clock
from pytq.server.store import crew

log = logging.getLogger(__name__)

_TICKS_PER_LEASE: Final = 30
_SLEPT: Final = 3  # ticks late: the server itself was frozen, and nobody else is to blame


class Liveness:
    """Counts the silence of every worker that holds something."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._silent_since: dict[int, float] = {}

    async def run(self) -> None:
        """Look around for as long as the server lives."""
        loop = asyncio.get_running_loop()
        tick = min(5.0, self._dispatcher.lease_seconds / _TICKS_PER_LEASE)
        last = loop.time()
        while True:
            await asyncio.sleep(tick)
            now = loop.time()
            if now - last > _SLEPT * tick:
                log.warning("the server was asleep for %.0f s: every lease starts anew", now - last)
                self._silent_since.clear()
            last = now
            try:
                await self.sweep(now)
                await self._dispatcher.wake_due()  # those of the server before, too
                # What kept away from a worker may go there by now, and a commit that seemed to
                # fail may have made tasks pending without a word.
                self._dispatcher.fleet.awaken_all()
                self._dispatcher.lease_soon()
            except PytqError as error:
                log.warning("could not look after silent workers: %s", error)
            except Exception:
                log.exception("looking after silent workers failed; it will be tried again")

    async def sweep(self, now: float) -> None:
        """Close what workers held that have been silent for a whole lease. `now` is monotonic."""
        holders = await self._dispatcher.db.read(crew.who_holds)
        online = self._dispatcher.fleet.members
        silent = {worker: name for worker, name in holders.items() if worker not in online}
        self._silent_since = {worker: self._silent_since.get(worker, now) for worker in silent}
        for worker, name in silent.items():
            quiet = now - self._silent_since[worker]
            if quiet >= self._dispatcher.lease_seconds:
                await self._close(worker, name, quiet)

    async def _close(self, worker: int, name: str, quiet: float) -> None:
        detail = f"worker {name} was silent for {quiet:.0f} s"
        refs, changes = await self._dispatcher.db.write(
            lambda conn: crew.close_all(conn, clock(), worker, detail)
        )
        log.warning("%s: %d executions are handed on", detail, len(refs))
        changes.workers.add(name)  # what it held is shown beside its name
        self._dispatcher.told(changes)
