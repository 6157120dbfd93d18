"""The tables, and the invariants the database itself refuses to break.

Times are microseconds since 1970 (UTC), sizes bytes. Every constraint has a name: the verbs
translate a refusal by it.
"""

from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from pytq.schema.access import Role
from pytq.schema.recruit import JobStatus
from pytq.schema.states import Outcome, Phase, TaskStatus

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "ck": "%(constraint_name)s",
        "ix": "%(column_0_label)s_ix",
    }
)

AnyRow = sa.Row[*tuple[Any, ...]]

BigInt: Final = BigInteger().with_variant(Integer, "sqlite")


def _one_of(column: str, words: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(word.value) for word in words)})"


batches = Table(
    "batches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("paused", Boolean, nullable=False),
    Column("created_at", BigInt, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    # Given out by `sequences`, so that ids of a submit are consecutive and never come back.
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("name", Text),
    Column("batch", Text, ForeignKey("batches.name"), nullable=False),
    Column("status", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("attempt", BigInt, nullable=False),  # of the latest execution: the fence
    Column("run_when", Text, nullable=False),
    Column("awaited", Boolean, nullable=False),  # some task requires this one
    Column("cpus", Float, nullable=False),
    Column("memory", BigInt, nullable=False),
    Column("disk", BigInt, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("containers", Boolean, nullable=False),
    Column("tags", Text),
    Column("cause", Text),
    Column("detail", Text),
    Column("spec", Text, nullable=False),
    Column("created_at", BigInt, nullable=False),
    Column("changed_at", BigInt, nullable=False),
    Column("retry_delay", Float),  # seconds before the first retry
    Column("oom_factor", Float),  # so many times as much memory after running out of it
    Column("due_at", BigInt),  # of the next try, while it waits for that
    Column("avoid", BigInt),  # the worker where it came to grief
    Column("owner", Text),  # the name of the token that it was submitted with
    CheckConstraint(_one_of("status", TaskStatus), name="task_status_is_known"),
    CheckConstraint("failures >= 0 AND losses >= 0 AND attempt >= 0", name="task_tries_count_up"),
)
# The lease reads this one and nothing else: as quick with a million tasks as with ten.
Index(
    "tasks_to_lease",
    tasks.c.batch,
    tasks.c.priority.desc(),
    tasks.c.id,
    sqlite_where=sa.text("status = 'pending'"),
    postgresql_where=sa.text("status = 'pending'"),
)
# Lists by batch, by status or by both merge stretches of this one; the counts tell which.
Index("tasks_by_batch", tasks.c.batch, tasks.c.status, tasks.c.id)
Index(
    "tasks_due",
    tasks.c.due_at,
    sqlite_where=sa.text("due_at IS NOT NULL"),
    postgresql_where=sa.text("due_at IS NOT NULL"),
)
Index(
    "tasks_by_name",
    tasks.c.name,
    tasks.c.id,
    sqlite_where=sa.text("name IS NOT NULL"),
    postgresql_where=sa.text("name IS NOT NULL"),
)

requirements = Table(
    "requirements",
    metadata,
    Column("task", BigInt, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("required", BigInt, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("any_end", Boolean, nullable=False),  # met by any end, not by success alone
    Column("met", Boolean, nullable=False),
)
Index("requirements_by_required", requirements.c.required)
Index(
    "requirements_unmet",
    requirements.c.task,
    sqlite_where=sa.text("NOT met"),
    postgresql_where=sa.text("NOT met"),
)

# How many tasks each batch has of each status: kept by every verb, so that counting is free.
task_counts = Table(
    "task_counts",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("status", Text, primary_key=True),
    Column("n", BigInt, nullable=False),
    CheckConstraint("n >= 0", name="count_is_never_negative"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("hostname", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("declared", Text, nullable=False),  # what its command line last asked for
    Column("batch", Text, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("prefetch", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("settings_version", BigInt, nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("memory", BigInt, nullable=False),
    Column("disk", BigInt, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("containers", Boolean, nullable=False),
    Column("gone", Boolean, nullable=False),
    Column("created_at", BigInt, nullable=False),
    Column("seen_at", BigInt, nullable=False),  # when it last came or went; never a heartbeat
)
Index(
    "worker_name_is_unique",
    workers.c.name,
    unique=True,
    sqlite_where=sa.text("NOT gone"),
    postgresql_where=sa.text("NOT gone"),
)

executions = Table(
    "executions",
    metadata,
    Column("task", BigInt, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", BigInt, primary_key=True, autoincrement=False),
    Column("worker", BigInt, ForeignKey("workers.id"), nullable=False),
    Column("phase", Text, nullable=False),
    Column("outcome", Text),
    Column("cause", Text),
    Column("detail", Text),
    Column("exit_code", Integer),
    Column("paused", Boolean, nullable=False),
    Column("stop_wanted", Text),
    Column("assigned_at", BigInt, nullable=False),
    Column("downloading_at", BigInt),
    Column("ready_at", BigInt),
    Column("running_at", BigInt),
    Column("uploading_at", BigInt),
    Column("ended_at", BigInt),
    Column("cpu_seconds", Float),
    Column("memory", BigInt),
    Column("stdout_bytes", BigInt, nullable=False),
    Column("stderr_bytes", BigInt, nullable=False),
    CheckConstraint(_one_of("phase", Phase), name="phase_is_known"),
    CheckConstraint(f"outcome IS NULL OR {_one_of('outcome', Outcome)}", name="outcome_is_known"),
    CheckConstraint(
        "(phase = 'ended') = (outcome IS NOT NULL) AND (phase = 'ended') = (ended_at IS NOT NULL)",
        name="ended_means_outcome",
    ),
)
Index(
    "one_open_execution",
    executions.c.task,
    unique=True,
    sqlite_where=sa.text("ended_at IS NULL"),
    postgresql_where=sa.text("ended_at IS NULL"),
)
Index("executions_by_worker", executions.c.worker, executions.c.task)

# What executions wrote, out of the way of the tables that everything else reads.
outputs = Table(
    "outputs",
    metadata,
    Column("task", BigInt, primary_key=True, autoincrement=False),
    Column("attempt", BigInt, primary_key=True, autoincrement=False),
    Column("stream", Text, primary_key=True),
    Column("offset", BigInt, primary_key=True, autoincrement=False),
    Column("size", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["task", "attempt"], ["executions.task", "executions.attempt"], ondelete="CASCADE"
    ),
)

submissions = Table(
    "submissions",
    metadata,
    Column("key", Text, primary_key=True),
    Column("body_hash", Text, nullable=False),
    Column("first", BigInt, nullable=False),
    Column("count", Integer, nullable=False),
    Column("created_at", BigInt, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("at", BigInt, nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("task", BigInt),
    Column("attempt", BigInt),
    Column("batch", Text),
    Column("worker", Text),
    Column("detail", Text),
)
Index(
    "events_by_task",
    events.c.task,
    events.c.id,
    sqlite_where=sa.text("task IS NOT NULL"),
    postgresql_where=sa.text("task IS NOT NULL"),
)

# The server's own long acts. What one has said is kept in stretches, like tasks' output.
jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("progress", Float, nullable=False),
    Column("detail", Text, nullable=False),
    Column("batch", Text),
    Column("workers", Text, nullable=False),  # JSON
    Column("wish", Text, nullable=False),  # JSON: what was asked for
    Column("created_at", BigInt, nullable=False),
    Column("started_at", BigInt),
    Column("ended_at", BigInt),
    CheckConstraint(_one_of("status", JobStatus), name="job_status_is_known"),
    CheckConstraint(
        "(status IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)",
        name="job_ended_means_time",
    ),
)
job_logs = Table(
    "job_logs",
    metadata,
    Column("job", BigInt, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("offset", BigInt, primary_key=True, autoincrement=False),  # characters
    Column("size", Integer, nullable=False),
    Column("text", Text, nullable=False),
)

# A token's row outlives its revocation: events go on telling of it by name.
tokens = Table(
    "tokens",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", BigInt, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", BigInt),
    Column("revoked_at", BigInt),
    CheckConstraint(_one_of("role", Role), name="token_role_is_known"),
)
Index(
    "token_name_is_unique",
    tokens.c.name,
    unique=True,
    sqlite_where=sa.text("revoked_at IS NULL"),
    postgresql_where=sa.text("revoked_at IS NULL"),
)

sequences = Table(
    "sequences",
    metadata,
    Column("name", Text, primary_key=True),
    Column("next", BigInt, nullable=False),
)
SEQUENCES: Final = ("tasks", "workers", "jobs")
