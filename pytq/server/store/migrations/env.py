"""What Alembic runs: on a connection that `upgrade.py` hands over, never on one of its own."""

from alembic import context

from pytq.server.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True
)
with context.begin_transaction():
    context.run_migrations()
