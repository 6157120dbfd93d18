"""A recruiting office: the real one, over a provider whose machines are only names."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from rig import Rig

from pytq.schema.queries import LogFrom
from pytq.schema.recruit import JOB_ENDED, Flavor, JobView, ProviderView
from pytq.server.queue import Queue
from pytq.server.recruit.providers import Machine, Order, ProviderError, Say
from pytq.server.store.database import Database

SECONDS = 20.0


@dataclass
class Played:
    """A provider that does what it is told; what was asked of it is written down."""

    name: str = "played"
    trouble: str | None = None
    fail_after: int | None = None  # machines
    gate: asyncio.Event | None = None  # before each machine
    made: dict[str, Machine] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    destroyed: list[str] = field(default_factory=list)

    async def view(self) -> ProviderView:
        flavors = [
            Flavor(name="small", region="north", cpus=1, memory=1, disk=1, available=5),
            Flavor(name="big", region="north", cpus=16, memory=1, disk=1),
            Flavor(name="tiny", region="south", cpus=0, memory=1, disk=1),
        ]
        return ProviderView(
            name=self.name, regions=["north", "south"], flavors=flavors, trouble=self.trouble
        )

    async def create(self, order: Order, say: Say) -> AsyncGenerator[str, None]:
        self.orders.append(order)
        for number, name in enumerate(order.names):
            if self.gate is not None:
                await self.gate.wait()
            if number == self.fail_after:
                raise ProviderError("no more machines today")
            self.made[name] = Machine(name, order.flavor.region, order.flavor.name, alive=True)
            say(f"made {name}")
            yield name

    async def destroy(self, worker: str, say: Say) -> None:
        say(f"destroyed {worker}")
        self.destroyed.append(worker)
        self.made.pop(worker, None)

    async def machines(self) -> Sequence[Machine]:
        return list(self.made.values())


class Office:
    """A queue with its database, which can be closed and opened again as by a restart."""

    def __init__(self, uri: str, provider: Played) -> None:
        self._uri = uri
        self.provider = provider

    async def open(self) -> None:
        self.db = await Database.open(self._uri)
        self.rig = Rig(self.db)
        self.queue = self.rig.queue = Queue(self.rig.dispatcher, providers=[self.provider])
        await self.queue.recruiter.open()

    async def close(self) -> None:
        await self.queue.recruiter.close()
        self.rig.dispatcher.close()
        await self.db.close()

    async def restart(self) -> None:
        await self.close()
        await self.open()

    async def until(self, job: int, *statuses: str) -> JobView:
        """Wait until a job has one of these statuses, or has ended where none is given."""
        for _ in range(int(SECONDS / 0.02)):
            view = await self.queue.get_job(job)
            if view.status in (statuses or JOB_ENDED):
                return view
            await asyncio.sleep(0.02)
        raise AssertionError(f"{view} and {await self.log(job)}")

    async def log(self, job: int) -> str:
        return (await self.queue.get_job_log(job, LogFrom())).text

    async def said(self, job: int, words: str) -> None:
        """Wait until something stands in a job's log."""
        for _ in range(int(SECONDS / 0.02)):
            if words in await self.log(job):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(await self.log(job))
