"""Who recruits and releases workers: from the wish to the job, and back to work after a restart."""

import asyncio
from collections.abc import Sequence

from pytq.schema.problems import ConflictError, InvalidError, NotFoundError
from pytq.schema.recruit import Flavor, JobKind, ProviderView, Recruit
from pytq.server.keyring import actor
from pytq.server.recruit.bringing import Bringing
from pytq.server.recruit.jobs import Job, Jobs
from pytq.server.recruit.providers import Order, Provider
from pytq.server.recruit.releasing import Owner, Releasing, Workers


class Recruiter:
    """Recruits from providers, and releases."""

    def __init__(self, workers: Workers, jobs: Jobs, providers: Sequence[Provider]) -> None:
        self.jobs = jobs
        self._workers = workers
        self._providers = {provider.name: provider for provider in providers}

    async def open(self) -> None:
        """Go on with what can be gone on with after a restart, and end the rest."""
        for job in await self.jobs.open():
            if job.view.kind is JobKind.RELEASE:
                job.say("the server was restarted: beginning again")
                self.jobs.resume(job, self._release)
            elif job.view.started_at is None:
                self.jobs.resume(job, self._recruit)
            else:
                came = ", ".join(job.view.workers) or "none"
                await self.jobs.give_up(job, f"the server was restarted; these had come: {came}")

    async def close(self) -> None:
        """Stop what runs."""
        await self.jobs.close()

    async def providers(self) -> list[ProviderView]:
        """Who has machines, and which."""
        return list(await asyncio.gather(*[each.view() for each in self._providers.values()]))

    async def recruit(self, wish: Recruit) -> Job:
        """Begin to recruit."""
        view = await self._provider(wish.provider).view()
        if view.trouble is not None:
            raise ConflictError(f"nothing can be recruited now: {view.trouble}", field="provider")
        flavor = _flavor(view, wish)
        if flavor.available is not None and flavor.available < wish.count:
            raise ConflictError(
                f"only {flavor.available} of {view.name}/{flavor.name} can be had now",
                field="count",
                cure="recruit fewer, choose another flavor, or release workers first",
            )
        exact = wish.model_copy(update={"region": flavor.region, "flavor": flavor.name})
        title = f"recruit {wish.count} of {view.name}/{flavor.name} into {wish.batch}"
        return await self.jobs.begin(
            self._recruit,
            JobKind.RECRUIT,
            title,
            exact.model_dump_json(),
            batch=wish.batch,
            actor=actor(),
        )

    async def release(self, name: str) -> Job:
        """Begin to release a worker; or the job that is about it already."""
        for number, view in self.jobs.views.items():
            if view.ended_at is None and view.kind is JobKind.RELEASE and name in view.workers:
                return self.jobs.get(number)
        try:
            batch = (await self._workers.get_worker(name)).settings.batch
        except NotFoundError:
            if await self._owner(name) is None:
                raise
            batch = None  # a machine whose worker never came
        return await self.jobs.begin(
            self._release,
            JobKind.RELEASE,
            f"release {name}",
            "{}",
            batch=batch,
            workers=[name],
            actor=actor(),
        )

    async def _recruit(self, job: Job) -> str:
        wish = Recruit.model_validate_json(job.wish)
        provider = self._provider(wish.provider)
        flavor = _flavor(await provider.view(), wish)
        order = Order(
            # Numbers of jobs never come back, so nor do names.
            names=[f"{provider.name}-{job.view.id}-{n + 1}" for n in range(wish.count)],
            flavor=flavor,
            batch=wish.batch,
            concurrency=wish.concurrency or max(1, flavor.cpus),
            prefetch=wish.prefetch,
        )
        return await Bringing(job, provider, order, self._workers).run()

    async def _release(self, job: Job) -> str:
        return await Releasing(job, self._workers, self._owner).run()

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            known = ", ".join(self._providers) or "none"
            raise NotFoundError(
                f"there is no provider {name!r}", field="provider", cure=f"there is: {known}"
            )
        return self._providers[name]

    async def _owner(self, worker: str) -> Owner | None:
        """The provider that a worker's machine is from."""
        for provider in self._providers.values():
            for machine in await provider.machines():
                if machine.worker == worker:
                    return provider, machine
        return None


def _flavor(view: ProviderView, wish: Recruit) -> Flavor:
    """The flavor that is wished for; the first where none is named."""
    if wish.region is not None and wish.region not in view.regions:
        raise InvalidError(
            f"{view.name} has no region {wish.region!r}",
            field="region",
            cure=f"choose one of: {', '.join(view.regions)}",
        )
    region = wish.region or next(iter(view.regions), None)
    offered = [flavor for flavor in view.flavors if flavor.region == region]
    for flavor in offered:
        if wish.flavor in (None, flavor.name):
            return flavor
    raise InvalidError(
        f"{view.name} has no flavor {wish.flavor!r} in region {region}",
        field="flavor",
        cure=f"choose one of: {', '.join(flavor.name for flavor in offered)}",
    )
