"""The table of jobs."""

from typing import Final

from pytq.schema.recruit import JOB_ENDED, JobStatus, JobView
from pytq.tui import words
from pytq.tui.cells import Bar, Cell, Tone, text
from pytq.tui.columns import Column
from pytq.tui.looks import JOB
from pytq.tui.tables.listing import Listing, Moment

COLUMNS: Final = (
    Column("id", "JOB", 4, right=True),
    Column("status", "STATUS", 11),
    Column("title", "WHAT", 20, flex=3, most=60),
    Column("progress", "PROGRESS", 10, rank=1, flex=1, most=24),
    Column("took", "TOOK", 7, rank=2, right=True),
    Column("detail", "DETAIL", 16, rank=4, flex=4),
    Column("batch", "BATCH", 10, rank=5),
    Column("created", "BEGAN", 8, rank=3, right=True),
)
_TONES: Final[dict[JobStatus, Tone]] = {
    JobStatus.SUCCEEDED: "good",
    JobStatus.FAILED: "bad",
    JobStatus.CANCELLED: "odd",
}


def took(job: JobView, at: Moment) -> float | None:
    """For how long a job has been under way, or was; None before it has begun."""
    if job.started_at is None:
        return None
    end = job.ended_at or at.store.clock(at.now)
    return (end - job.started_at).total_seconds()


def _cells(job: JobView, at: Moment) -> tuple[Cell, ...]:
    seconds = took(job, at)
    return (
        text(job.id),
        JOB[job.status].line,
        text(words.clean(job.title), "bold"),
        Bar(((job.progress, _TONES.get(job.status, "busy")),)),
        text("" if seconds is None else words.duration(seconds)),
        text(words.clean(job.detail), "bad" if job.status is JobStatus.FAILED else "dim"),
        text(words.clean(job.batch or words.NOTHING)),
        text(words.time_of_day(job.started_at or job.created_at), "dim"),
    )


LISTING: Final[Listing[JobView]] = Listing(
    columns=COLUMNS,
    things=lambda store: store.jobs.values(),
    key=lambda job: job.id,
    says=lambda job: (job.title, job.status, job.kind, job.detail, job.batch or "", *job.workers),
    cells=_cells,
    by={
        # The newest first, and above them what is not over.
        "id": lambda job, _: (job.status in JOB_ENDED, -job.id),
        "status": lambda job, _: job.status,
        "title": lambda job, _: job.title,
        "progress": lambda job, _: job.progress,
        "took": lambda job, at: -(took(job, at) or 0.0),
        "batch": lambda job, _: job.batch or "",
    },
)
