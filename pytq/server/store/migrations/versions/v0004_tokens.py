"""Tokens, by hash; and whose each task is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema one step forward."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "tokens",
        sa.Column("id", big, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", big, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", big, nullable=True),
        sa.Column("revoked_at", big, nullable=True),
        sa.CheckConstraint(
            "role IN ('viewer', 'submitter', 'operator', 'admin', 'worker')",
            name=op.f("token_role_is_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("tokens_pk")),
    )
    good = sa.text("revoked_at IS NULL")
    op.create_index(
        "token_name_is_unique",
        "tokens",
        ["name"],
        unique=True,
        sqlite_where=good,
        postgresql_where=good,
    )
    op.add_column("tasks", sa.Column("owner", sa.Text(), nullable=True))


def downgrade() -> None:
    """PYTQ goes forward only: restore a backup instead."""
    raise NotImplementedError
