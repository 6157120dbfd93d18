"""What people can ask about recruiting: one method per endpoint."""

from pytq.schema.queries import LogFrom
from pytq.schema.recruit import JobLog, JobView, ProviderView, Recruit
from pytq.server.recruit.recruiter import Recruiter


class Office:
    """Providers and jobs, as people see them."""

    recruiter: Recruiter

    async def list_providers(self) -> list[ProviderView]:
        """List who has machines, and which."""
        return await self.recruiter.providers()

    async def recruit(self, body: Recruit) -> JobView:
        """Recruit new workers."""
        return (await self.recruiter.recruit(body)).view

    async def release_worker(self, name: str) -> JobView:
        """Drain a worker, wait until it is empty, end it, and give its machine back."""
        return (await self.recruiter.release(name)).view

    async def list_jobs(self) -> list[JobView]:
        """List jobs, newest first."""
        return list(self.recruiter.jobs.views.values())[::-1]

    async def get_job(self, job: int) -> JobView:
        """Show a job."""
        return self.recruiter.jobs.get(job).view

    async def get_job_log(self, job: int, query: LogFrom) -> JobLog:
        """Read a job's log."""
        return await self.recruiter.jobs.read_log(job, query.offset)

    async def cancel_job(self, job: int) -> JobView:
        """Cancel a job."""
        return self.recruiter.jobs.cancel(job).view
