"""The recruiting half of the fake queue: one provider, and jobs that wait."""

from dataclasses import dataclass, field
from typing import Any

from fake_views import NOW, missing

from pytq.schema.problems import (
    ConflictError,
)
from pytq.schema.queries import (
    LogFrom,
)
from pytq.schema.recruit import (
    Flavor,
    JobKind,
    JobLog,
    JobStatus,
    JobView,
    ProviderView,
    Recruit,
)


@dataclass
class FakeRecruiting:
    """Jobs by their number."""

    jobs: dict[int, JobView] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    async def list_providers(self) -> list[ProviderView]:
        flavor = Flavor(name="small", region="local", cpus=1, memory=2**30, disk=2**30)
        return [ProviderView(name="local", regions=["local"], flavors=[flavor])]

    async def recruit(self, body: Recruit) -> JobView:
        self.calls.append(("recruit", body))
        if body.provider != "local":
            missing(f"provider {body.provider}")
        return self.begin(JobKind.RECRUIT, f"recruit {body.count} of local/small", [])

    def begin(self, kind: JobKind, title: str, workers: list[str]) -> JobView:
        number = len(self.jobs) + 1
        self.jobs[number] = JobView(
            id=number,
            kind=kind,
            status=JobStatus.PENDING,
            title=title,
            progress=0.0,
            batch="default",
            workers=workers,
            created_at=NOW,
            started_at=None,
            ended_at=None,
        )
        return self.jobs[number]

    async def list_jobs(self) -> list[JobView]:
        return list(reversed(self.jobs.values()))

    async def get_job(self, job: int) -> JobView:
        return self.jobs.get(job) or missing(f"job {job}")

    async def get_job_log(self, job: int, query: LogFrom) -> JobLog:
        await self.get_job(job)
        return JobLog(text="asked for a machine\n"[query.offset :], next_offset=20, ended=False)

    async def cancel_job(self, job: int) -> JobView:
        if (await self.get_job(job)).status is JobStatus.CANCELLED:
            raise ConflictError(f"job {job} has ended")
        self.jobs[job] = self.jobs[job].model_copy(update={"status": JobStatus.CANCELLED})
        return self.jobs[job]
