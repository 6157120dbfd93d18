"""The schema that migrations make is the schema that the code believes in."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from pytq.server.store.database import Database
from pytq.server.store.tables import metadata


def differences(conn: sa.Connection) -> list[object]:
    context = MigrationContext.configure(conn, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_migrations_make_what_the_code_expects(database_uri: str) -> None:
    """After all migrations nothing is left to change, and running them again changes nothing."""
    for _ in range(2):
        db = await Database.open(database_uri)
        assert await db.read(differences) == []
        await db.close()


async def test_the_lease_reads_its_index(database_uri: str) -> None:
    """Leasing walks the index of pending tasks in order, however many tasks there are."""
    db = await Database.open(database_uri)
    query = (
        "SELECT id FROM tasks WHERE status = 'pending' AND batch = 'b'"
        " ORDER BY priority DESC, id LIMIT 5"
    )
    explain = "EXPLAIN QUERY PLAN " if db.kind == "sqlite" else "EXPLAIN "
    plan = await db.write(
        lambda conn: "\n".join(str(row) for row in conn.execute(sa.text(explain + query)))
    )
    await db.close()

    assert "tasks_to_lease" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan
