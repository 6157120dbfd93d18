"""The server's own long acts: each runs as a task, with a progress and a log that are kept.

A job's view lives in memory and is written down a moment after it changes; its end is written down
before anybody hears of it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pytq.schema import limits
from pytq.schema.problems import (
    BusyError,
    ConflictError,
    NotFoundError,
    PytqError,
    StorageFullError,
)
from pytq.schema.recruit import JOB_ENDED, JobKind, JobLog, JobStatus, JobView
from pytq.schema.views import moment
from pytq.server.dispatcher import Dispatcher, clock
from pytq.server.store import jobs as store

log = logging.getLogger(__name__)

_GATHER_SECONDS: Final = 0.25
_STOP_SECONDS: Final = 10.0  # for a job to clean up after itself
_DETAIL_CHARS: Final = 500
_IN_TURN: Final = frozenset({JobKind.RECRUIT})  # releasing is mostly waiting, and never waits

Work = Callable[["Job"], Awaitable[str]]


class JobError(Exception):
    """Why a job failed; the text is fit for people."""


@dataclass(slots=True, eq=False)
class Job:
    """One job, as those see it who do its work."""

    view: JobView
    wish: str  # what was asked for, as JSON
    said: int = 0  # characters
    unsaved: list[str] = field(default_factory=list)
    changed: Callable[["Job"], None] = lambda _: None
    task: asyncio.Task[None] | None = None

    def say(self, text: str) -> None:
        """Add a line to the log."""
        self.unsaved.append(f"{time.strftime('%H:%M:%S')} {text.rstrip()}\n".replace("\0", "�"))
        self.changed(self)

    def step(self, progress: float, detail: str) -> None:
        """Tell how far it is, from 0 to 1, and what it is doing."""
        self.update(progress=min(1.0, max(0.0, progress)), detail=detail[:_DETAIL_CHARS])

    def update(self, **values: Any) -> None:
        """Change what is shown of it."""
        self.view = self.view.model_copy(update=values)
        self.changed(self)


class Jobs:
    """Every job that is remembered, and those that run."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._jobs: dict[int, Job] = {}
        self._unsaved: set[Job] = set()
        self._wake = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._slots = asyncio.Semaphore(limits.JOBS_AT_ONCE)
        self._closing = False

    # --- looking

    @property
    def views(self) -> Mapping[int, JobView]:
        """Every job that is remembered, by number, oldest first."""
        return {number: job.view for number, job in self._jobs.items()}

    def get(self, number: int) -> Job:
        """A job, by its number."""
        if number not in self._jobs:
            raise NotFoundError(f"there is no job {number}", field="job")
        return self._jobs[number]

    async def read_log(self, number: int, offset: int) -> JobLog:
        """A stretch of a job's log."""
        job = self.get(number)
        ended = job.view.status in JOB_ENDED
        text, end = await self._dispatcher.db.read(
            lambda conn: store.read_log(conn, number, offset)
        )
        return JobLog(text=text, next_offset=end, ended=ended and end >= job.said)

    # --- coming and going

    async def open(self) -> list[Job]:
        """Remember what there was; returns the jobs that had not ended when the server did."""
        found = await self._dispatcher.db.read(store.every)
        for view, wish, said in found:
            self._jobs[view.id] = Job(view, wish, said, changed=self._changed)
        self._saving = asyncio.create_task(self._save_for_ever(), name="jobs")
        return [job for job in self._jobs.values() if job.view.status not in JOB_ENDED]

    async def close(self) -> None:
        """Stop what runs; what becomes of it is decided when the server is back."""
        self._closing = True
        running = [job.task for job in self._jobs.values() if job.task is not None]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_STOP_SECONDS)
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
            await self._save()

    async def begin(self, work: Work, kind: JobKind, title: str, wish: str, **about: Any) -> Job:
        """Write down a new job and begin to work on it. `about`: its batch, its workers."""
        view = JobView(
            id=0,
            kind=kind,
            status=JobStatus.PENDING,
            title=title,
            progress=0.0,
            batch=about.get("batch"),
            workers=about.get("workers", []),
            created_at=moment(clock()),
            started_at=None,
            ended_at=None,
        )
        actor = about["actor"]
        view, changes = await self._dispatcher.db.write(
            lambda conn: store.create(conn, view, wish, actor)
        )
        job = self._jobs[view.id] = Job(view, wish, changed=self._changed)
        self._dispatcher.told(changes)
        self.resume(job, work)
        await asyncio.sleep(0)  # it has begun: a task that is cancelled before never runs at all
        await self._prune()
        return job

    def resume(self, job: Job, work: Work) -> None:
        """Work on a job, from its beginning."""
        job.task = asyncio.create_task(self._run(job, work), name=f"job-{job.view.id}")
        self._changed(job)

    def cancel(self, number: int) -> Job:
        """Have a job stop and clean up."""
        job = self.get(number)
        if job.view.status in JOB_ENDED or job.task is None:
            raise ConflictError(f"job {number} has ended: {job.view.status}", field="job")
        if not job.task.cancelling():
            job.say("cancelled")
            job.update(detail="being cancelled")
            job.task.cancel()
        return job

    async def give_up(self, job: Job, why: str) -> None:
        """End a job that cannot be gone on with."""
        job.say(why)
        await self._end(job, JobStatus.FAILED, why)

    # --- inside

    async def _run(self, job: Job, work: Work) -> None:
        turn = self._slots if job.view.kind in _IN_TURN else contextlib.nullcontext()
        try:
            async with turn:
                started = job.view.started_at or moment(clock())
                job.update(status=JobStatus.RUNNING, started_at=started)
                detail = await work(job)
        except asyncio.CancelledError:
            if self._closing:
                raise
            await self._end(job, JobStatus.CANCELLED, "cancelled")
        except (JobError, PytqError) as error:
            job.say(str(error))
            await self._end(job, JobStatus.FAILED, str(error))
        except Exception as error:
            log.exception("job %d failed", job.view.id)
            job.say(f"a mistake of the server's: {error!r}; its log tells more")
            await self._end(job, JobStatus.FAILED, f"a mistake of the server's: {error!r}")
        else:
            await self._end(job, JobStatus.SUCCEEDED, detail)

    async def _end(self, job: Job, status: JobStatus, detail: str) -> None:
        values = {"status": status, "detail": detail[:_DETAIL_CHARS], "ended_at": moment(clock())}
        if status is JobStatus.SUCCEEDED:
            values["progress"] = 1.0
        ended = job.view.model_copy(update=values)
        while True:
            try:
                await self._save()
                changes = await self._dispatcher.db.write(partial(store.end, view=ended))
                break
            except (BusyError, StorageFullError):  # it will be back, and what was done is done
                await asyncio.sleep(1.0)
        job.view, job.task = ended, None
        self._dispatcher.news.hear_of_job(ended.id)
        self._dispatcher.told(changes)

    def _changed(self, job: Job) -> None:
        self._unsaved.add(job)
        self._wake.set()
        self._dispatcher.news.hear_of_job(job.view.id)

    async def _save_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(_GATHER_SECONDS)
            try:
                await self._save()
            except PytqError as error:
                log.warning("jobs could not be written down, trying again: %s", error)
                self._wake.set()

    async def _save(self) -> None:
        """Write down what has changed since the last time."""
        async with self._one_at_a_time:
            changed, self._unsaved = self._unsaved, set()
            new = {job: len(job.unsaved) for job in changed}
            texts = {job: "".join(job.unsaved) for job in changed}
            said = [(job.view.id, job.said, text) for job, text in texts.items() if text]
            if not changed:
                return
            try:
                views = [job.view for job in changed]
                await self._dispatcher.db.write(partial(store.save, views=views, said=said))
            except BaseException:
                self._unsaved |= changed
                raise
            for job, text in texts.items():
                job.said += len(text)
                del job.unsaved[: new[job]]

    async def _prune(self) -> None:
        """Forget the oldest jobs that have ended, where there are too many."""
        surplus = len(self._jobs) - limits.JOBS_KEPT
        if surplus <= 0:
            return
        ended = [number for number, job in self._jobs.items() if job.view.status in JOB_ENDED]
        await self._forget(ended[:surplus])

    async def _forget(self, numbers: Iterable[int]) -> None:
        ids = list(numbers)
        await self._dispatcher.db.write(partial(store.forget, ids=ids))
        for number in ids:
            del self._jobs[number]
            self._dispatcher.news.hear_of_job(number)
