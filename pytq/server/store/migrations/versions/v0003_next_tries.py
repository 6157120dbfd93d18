"""When a task is tried again, where not, and with how much memory."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema one step forward."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    columns: dict[str, sa.types.TypeEngine[Any]] = {
        "retry_delay": sa.Float(),
        "oom_factor": sa.Float(),
        "due_at": big,
        "avoid": big,
    }
    for name, kind in columns.items():
        op.add_column("tasks", sa.Column(name, kind, nullable=True))
    there = sa.text("due_at IS NOT NULL")
    op.create_index("tasks_due", "tasks", ["due_at"], sqlite_where=there, postgresql_where=there)
