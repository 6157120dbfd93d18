"""One execution's inputs coming or outputs going: what the porter works on."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from pytq.schema.frames import Ref
from pytq.schema.tasks import TaskSpec
from pytq.worker.rooms import Room
from pytq.worker.staging.gauge import Gauge


@dataclass(slots=True, eq=False)
class Job:
    """What is to be staged, and how far it has come."""

    ref: Ref
    spec: TaskSpec
    room: Room
    gauge: Gauge
    whole: bool = True  # of outputs: the command succeeded, so that all of them must be there
    short: str = ""  # why it was ended: it does not fit on the disk
    task: "asyncio.Task[None] | None" = None  # in the porter's loop

    @property
    def name(self) -> str:
        """As people write it, and for the names of temporary files."""
        return f"{self.ref[0]}.{self.ref[1]}"

    def give_up(self, short: str) -> None:
        """End it: there is no room for it."""
        self.short = short
        if self.task is not None:
            self.task.cancel()


async def side_by_side(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of this at once; the first failure ends the rest, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
