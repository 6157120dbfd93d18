"""The porter's own side: a thread with an event loop, and all that lives in it."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from pytq.fetch import Fetcher, FetchOptions, Progress
from pytq.schema.frames import Ref
from pytq.schema.states import Cause
from pytq.schema.tasks import Mount
from pytq.schema.views import Pin
from pytq.worker.options import WorkerOptions
from pytq.worker.rooms import Rooms
from pytq.worker.runners.process import locate
from pytq.worker.staging import StagingError, threads
from pytq.worker.staging.actions import Plan
from pytq.worker.staging.inward import Inward
from pytq.worker.staging.job import Job
from pytq.worker.staging.outward import Outward
from pytq.worker.staging.resources import Resources
from pytq.worker.staging.shelf import Shelf
from pytq.worker.staging.space import Space

log = logging.getLogger(__name__)

ATTEMPTS: Final = 8  # at one file, over about a minute, before a task is handed back
CLOSE_SECONDS: Final = 10.0  # for transfers to be let go


class Yard:
    """The porter's thread and all that lives in it."""

    def __init__(
        self,
        options: WorkerOptions,
        rooms: Rooms,
        evict_images: Callable[[int], Coroutine[Any, Any, int]],
        changed: Callable[[], None],
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.fetcher = Fetcher(
            FetchOptions(
                concurrency=options.transfers,
                per_host=options.transfers_per_host,
                attempts=ATTEMPTS,
                file_roots=options.file_roots,
            )
        )

        def fetch(
            todo: Plan, mount: Mount, place: Path, progress: Progress
        ) -> Coroutine[Any, Any, None]:
            return self.inward.fetch(todo, mount, place, progress)

        self.resources = Resources(Shelf(options.home / "resources"), fetch, changed)

        async def evict_failed(wanted: int) -> int:
            return await threads.in_thread(lambda _: rooms.evict(wanted))

        self.space = Space(
            options.home, options.disk_high, [evict_failed, self.resources.evict, evict_images]
        )
        self.inward = Inward(self.fetcher, self.resources, self.space, locate)
        self.outward = Outward(self.fetcher, locate)
        self._opening = self.loop.create_task(self.resources.open())
        self._thread = threading.Thread(target=self._run, name="porter", daemon=True)
        self._thread.start()

    async def when_open(self, work: Callable[["Yard"], Coroutine[Any, Any, Any]]) -> Any:
        """Do something as soon as it is known what is kept."""
        await asyncio.wait([self._opening])
        self._opening.result()
        return await work(self)

    async def bring(self, job: Job) -> None:
        """Stage in."""
        job.task = asyncio.current_task()
        try:
            await self.inward.bring(job)
        except asyncio.CancelledError:
            if job.short:
                raise StagingError(job.short, Cause.DISK) from None
            raise

    async def claim(self, ref: Ref, keys: list[str]) -> None:
        """These are in use already."""
        for key in keys:
            self.resources.claim(ref, key)

    async def leave(self, ref: Ref) -> None:
        """Nothing is in use by this one any more."""
        await self.resources.leave(ref)
        await self.space.tidy()

    async def pin(self, pin: Pin) -> None:
        """Keep something whatever happens, or no longer."""
        await self.resources.pin(pin.uri, pinned=pin.pinned)

    async def close(self) -> None:
        """End the thread. Called from the agent's."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await threads.in_loop(self.loop, self._close())
        except TimeoutError:
            log.warning("transfers did not end in time, and are left to themselves")
        self.loop.call_soon_threadsafe(self.loop.stop)
        await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    async def _close(self) -> None:
        me = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not me]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.fetcher.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()
