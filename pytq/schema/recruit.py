"""Recruiting: where workers' machines come from, and the server's own long acts (jobs)."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from pytq.schema import limits
from pytq.schema.text import Count, Label, Model, Name, Sentence
from pytq.schema.views import Time


class Flavor(Model):
    """A kind of machine that a provider offers in a region."""

    name: Label
    region: Label
    cpus: Count
    memory: Count  # bytes
    disk: Count  # bytes
    gpus: Count = 0
    price: Annotated[float, Field(ge=0)] | None = None  # an hour, in the provider's currency
    available: Count | None = None  # how many more could be had; None: nobody knows


class ProviderView(Model):
    """Somebody who has machines."""

    name: Name
    regions: list[Label]
    flavors: list[Flavor]
    currency: Label | None = None
    trouble: Sentence | None = None  # why nothing can be recruited now


class Recruit(Model):
    """So many new workers, please."""

    provider: Name = "local"
    region: Label | None = None  # None: the provider's first
    flavor: Label | None = None  # likewise
    count: Annotated[int, Field(ge=1, le=limits.RECRUITS)] = 1
    batch: Name = "default"
    concurrency: Annotated[int, Field(ge=1, le=limits.CONCURRENCY)] | None = None  # None: its CPUs
    prefetch: Annotated[int, Field(ge=0, le=limits.PREFETCH)] = 0


class JobKind(StrEnum):
    """What a job does."""

    RECRUIT = "recruit"
    RELEASE = "release"  # drain a worker, then give its machine back


class JobStatus(StrEnum):
    """Where a job is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


JOB_ENDED: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class JobView(Model):
    """A long act of the server itself."""

    id: Count
    kind: JobKind
    status: JobStatus
    title: Label  # "recruit 3 of local/standard into run7"
    progress: Annotated[float, Field(ge=0, le=1)]
    detail: Sentence = ""  # what it is doing now, or why it failed
    batch: Name | None
    workers: list[Name]  # it brought, or takes away
    created_at: Time
    started_at: Time | None
    ended_at: Time | None


class JobLog(Model):
    """A stretch of a job's log."""

    text: str
    next_offset: Count  # ask from here for what comes after; characters
    ended: bool  # nothing comes after
