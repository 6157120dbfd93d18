"""Jobs and what they say; lists of tasks by batch and status from one index instead of two."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema one step forward."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "jobs",
        sa.Column("id", big, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=True),
        sa.Column("workers", sa.Text(), nullable=False),
        sa.Column("wish", sa.Text(), nullable=False),
        sa.Column("created_at", big, nullable=False),
        sa.Column("started_at", big, nullable=True),
        sa.Column("ended_at", big, nullable=True),
        sa.CheckConstraint(
            "(status IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)",
            name=op.f("job_ended_means_time"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'succeeded', 'failed', 'cancelled')",
            name=op.f("job_status_is_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pk")),
    )
    op.create_table(
        "job_logs",
        sa.Column("job", big, nullable=False),
        sa.Column("offset", big, autoincrement=False, nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name=op.f("job_logs_job_fk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job", "offset", name=op.f("job_logs_pk")),
    )
    for index in ("tasks_by_status", "tasks_by_batch", "tasks_by_name"):
        op.drop_index(index, "tasks")
    op.create_index("tasks_by_batch", "tasks", ["batch", "status", "id"])
    named = sa.text("name IS NOT NULL")
    op.create_index(
        "tasks_by_name", "tasks", ["name", "id"], sqlite_where=named, postgresql_where=named
    )


def downgrade() -> None:
    """PYTQ goes forward only: restore a backup instead."""
    raise NotImplementedError
