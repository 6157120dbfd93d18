"""A recruiting job at work: machines are made, and each one's worker is waited for."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final, Protocol

from pytq.schema import limits
from pytq.server.recruit.jobs import Job, JobError
from pytq.server.recruit.providers import Order, Provider, ProviderError

_LOOK_SECONDS: Final = 0.2
_LOOKS_PER_CHECK: Final = 10  # a provider may have to ask far away whether a machine is alive


class Fleet(Protocol):
    """The workers that are connected."""

    def connected(self) -> Mapping[str, int]:
        """Their names, and how many executions each holds."""


class Bringing:
    """Workers on their way: made, waited for, there, or in trouble."""

    def __init__(self, job: Job, provider: Provider, order: Order, fleet: Fleet) -> None:
        self._job = job
        self._provider = provider
        self._order = order
        self._fleet = fleet
        self._waiting: dict[str, float] = {}  # until when
        self._there: list[str] = []
        self._trouble: list[str] = []

    async def run(self) -> str:
        """Bring them all; `JobError` if some do not come. Cancelled, it takes back the rest."""
        making = asyncio.create_task(self._make())
        try:
            await self._welcome(making)
        except BaseException:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            await self._take_back()
            raise
        wanted = len(self._order.names)
        if self._trouble:
            raise JobError(f"{len(self._there)} of {wanted} came; {'; '.join(self._trouble)}")
        return f"{wanted} of {wanted} came"

    async def _make(self) -> None:
        loop = asyncio.get_running_loop()
        self._tell()
        try:
            async with aclosing(self._provider.create(self._order, self._job.say)) as made:
                async for name in made:
                    self._waiting[name] = loop.time() + limits.RECRUIT_SECONDS
                    self._tell()
        except ProviderError as error:
            self._job.say(str(error))
            self._trouble.append(str(error))

    async def _welcome(self, making: asyncio.Task[None]) -> None:
        """Until all have come or are given up."""
        looks = 0
        while self._waiting or not making.done():
            for name in self._fleet.connected().keys() & self._waiting.keys():
                self._arrived(name)
            looks += 1
            if looks % _LOOKS_PER_CHECK == 0:
                await self._check()
            await asyncio.sleep(_LOOK_SECONDS)
        making.result()

    def _arrived(self, name: str) -> None:
        del self._waiting[name]
        self._there.append(name)
        self._job.say(f"{name} is online")
        self._job.update(workers=sorted(self._there))
        self._tell()

    async def _check(self) -> None:
        """Give up those whose machine has died, or who are too late."""
        machines = {machine.worker: machine for machine in await self._provider.machines()}
        now = asyncio.get_running_loop().time()
        for name, until in list(self._waiting.items()):
            machine = machines.get(name)
            why = None
            if machine is None:
                why = "its machine is gone"
            elif not machine.alive:
                why = machine.detail
            elif now > until:
                why = f"it did not connect within {limits.RECRUIT_SECONDS:.0f} s"
            if why is not None:
                await self._give_up(name, why)

    async def _give_up(self, name: str, why: str) -> None:
        del self._waiting[name]
        self._job.say(f"{name}: {why}")
        self._trouble.append(f"{name}: {why}")
        await self._provider.destroy(name, self._job.say)

    async def _take_back(self) -> None:
        """Whoever is not online yet shall not come."""
        made = {machine.worker for machine in await self._provider.machines()}
        for name in self._order.names:
            if name in made and name not in self._there:
                await self._provider.destroy(name, self._job.say)
        if self._there:
            self._job.say(f"these had come and stay: {', '.join(sorted(self._there))}")

    def _tell(self) -> None:
        wanted, there = len(self._order.names), len(self._there)
        made = there + len(self._waiting)
        detail = f"{made} of {wanted} made, {there} online"
        self._job.step((made + there) / (2 * wanted), detail)
