"""A releasing job at work: a worker finishes what it holds, ends, and its machine is given back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from pytq.schema.problems import NotFoundError
from pytq.schema.queries import WorkerRemoval
from pytq.schema.states import WorkerStatus
from pytq.schema.views import WorkerUpdate, WorkerView
from pytq.server.recruit.bringing import Fleet
from pytq.server.recruit.jobs import Job, JobError
from pytq.server.recruit.providers import Machine, Provider

_LOOK_SECONDS: Final = 0.2
_ASK_SECONDS: Final = 2.0  # between two questions that memory cannot answer
_GOODBYE_SECONDS: Final = 30.0

Owner = tuple[Provider, Machine]


class Workers(Fleet, Protocol):
    """What can be done to workers."""

    async def get_worker(self, name: str) -> WorkerView:
        """Show a worker."""

    async def update_worker(self, name: str, body: WorkerUpdate) -> WorkerView:
        """Tune a worker."""

    async def delete_worker(self, name: str, query: WorkerRemoval) -> None:
        """Forget a worker that is offline."""

    def dismiss(self, name: str) -> None:
        """Have a connected worker end."""


class Releasing:
    """A worker on its way out. `owner` finds the provider that its machine is from."""

    def __init__(
        self, job: Job, workers: Workers, owner: Callable[[str], Awaitable[Owner | None]]
    ) -> None:
        self._job = job
        self._name = job.view.workers[0]
        self._workers = workers
        self._owner = owner

    async def run(self) -> str:
        """Drain it, wait, end it, forget it. Cancelled while it waits, it undoes the draining."""
        worker = await self._find()
        drains = worker is not None and not worker.settings.draining
        try:
            if drains:
                await self._workers.update_worker(self._name, WorkerUpdate(draining=True))
                self._job.say(f"{self._name} takes nothing new")
            await self._until_empty()
        except asyncio.CancelledError:
            if drains and await self._find() is not None:
                await self._workers.update_worker(self._name, WorkerUpdate(draining=False))
                self._job.say(f"{self._name} takes tasks again")
            raise
        await self._dismiss()
        return f"{self._name} is gone"

    async def _until_empty(self) -> None:
        """Wait for its last execution: twice none, as a lease may have been on its way."""
        first, said, empty = 1, -1, 0
        while empty < 2:  # noqa: PLR2004 - see above
            held = self._workers.connected().get(self._name)
            if held is None:
                held = await self._held_while_away()
                await asyncio.sleep(_ASK_SECONDS if held else 0)
            empty = 0 if held else empty + 1
            if held != said:
                first, said = max(first, held), held
                self._job.step(0.9 * (1 - held / first), f"{self._name} still holds {held}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _held_while_away(self) -> int:
        worker = await self._find()
        if worker is None or worker.open == 0:
            return 0
        owner = await self._owner(self._name)
        if owner is not None and not owner[1].alive:
            self._job.say(f"its machine is dead: what it held ({worker.open}) is handed on")
            return 0
        return worker.open

    async def _dismiss(self) -> None:
        """End the worker, give its machine back, and strike it off."""
        self._job.step(0.9, f"ending {self._name}")
        owner = await self._owner(self._name)
        if owner is not None:
            await owner[0].destroy(self._name, self._job.say)
        elif self._name in self._workers.connected():
            self._workers.dismiss(self._name)
            self._job.say(f"told {self._name} to end")
        for _ in range(int(_GOODBYE_SECONDS / _LOOK_SECONDS)):
            if self._name not in self._workers.connected():
                if await self._find() is not None:
                    await self._workers.delete_worker(self._name, WorkerRemoval(force=True))
                return
            await asyncio.sleep(_LOOK_SECONDS)
        raise JobError(f"{self._name} was told to end, and is still there")

    async def _find(self) -> WorkerView | None:
        try:
            worker = await self._workers.get_worker(self._name)
        except NotFoundError:
            return None
        return None if worker.status is WorkerStatus.GONE else worker
