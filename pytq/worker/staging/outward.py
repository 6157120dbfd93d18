"""Outputs, taken to where their task wants them, and made safe there.

A store may be away for hours. What a task has computed is worth waiting for: transfers that may
yet succeed are tried again, with growing pauses, until the task's own time limit for it has passed
or `PATIENCE`. The task keeps its slot meanwhile, so that finished work cannot pile up behind a
store that does not answer.
"""

import asyncio
import logging
import os
import random
from pathlib import Path
from typing import Final

from pytq.fetch import Fetcher, FetchError, FetchFailure, Progress
from pytq.schema import uris
from pytq.schema.states import Cause
from pytq.schema.tasks import Output
from pytq.worker.runners.process import CannotRun
from pytq.worker.staging import StagingError
from pytq.worker.staging.gauge import Item
from pytq.worker.staging.inward import Locate
from pytq.worker.staging.job import Job
from pytq.worker.staging.reasons import because
from pytq.worker.staging.threads import in_thread

log = logging.getLogger(__name__)

PATIENCE: Final = 24 * 3600.0
PATIENCE_FAILED: Final = 600.0  # for what a failed command has left
PAUSE: Final = 2.0
PAUSE_MAX: Final = 60.0
# What waiting may mend. A destination's own disk may be given room.
PASSING: Final = frozenset(
    {
        FetchFailure.BROKEN,
        FetchFailure.STALLED,
        FetchFailure.BUSY,
        FetchFailure.UNREACHABLE,
        FetchFailure.DISK,
    }
)


class Outward:
    """Takes away everything that a task has put out."""

    def __init__(self, fetcher: Fetcher, locate: Locate) -> None:
        self._fetcher = fetcher
        self._locate = locate

    async def carry(self, job: Job) -> None:
        """Take every output to its destination; StagingError when one is not safe there.

        Each of them is tried, whatever becomes of the others.
        """
        outputs = job.spec.outputs
        came = await asyncio.gather(
            *(self._carry(job, output) for output in outputs), return_exceptions=True
        )
        failures = [failure for failure in came if failure is not None]
        if not failures:
            return
        first = failures[0]
        if isinstance(first, StagingError) and len(failures) > 1:
            more = f"; and {len(failures) - 1} more of its {len(outputs)} outputs are not safe"
            raise StagingError(f"{first}{more}", first.cause)
        raise first

    async def _carry(self, job: Job, output: Output) -> None:
        try:
            place = Path(self._locate(job.room, output.path))
        except CannotRun as error:
            raise StagingError(f"{output.destination}: {error}", Cause.OUTPUT) from error
        if not job.whole and not await in_thread(lambda _: os.path.lexists(place)):
            return  # the command failed before it made it
        item = job.gauge.add(output.destination)
        try:
            await self._persist(job, output, place, item)
        except FetchError as error:
            where = _disk_of(output, place)
            raise because(output.destination, error, Cause.OUTPUT, where) from error
        item.over = True

    async def _persist(self, job: Job, output: Output, place: Path, item: Item) -> None:
        loop = asyncio.get_running_loop()
        patience = PATIENCE if job.whole else PATIENCE_FAILED
        deadline, pause = loop.time() + patience, PAUSE
        while True:
            try:
                return await self._fetcher.put(
                    place,
                    output.destination,
                    directory=output.directory,
                    tag=job.name,
                    progress=item.progress,
                )
            except FetchError as error:
                if error.kind not in PASSING or loop.time() + pause > deadline:
                    raise
                log.warning("output of task %d waits: %s", job.ref[0], error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - to spread load
            pause = min(PAUSE_MAX, pause * 2)
            item.progress = Progress()  # it begins anew


def _disk_of(output: Output, place: Path) -> Path:
    """The place whose disk a failure may be about."""
    uri = uris.parse(output.destination)
    return Path(uri.path) if uri.scheme == "file" else place
