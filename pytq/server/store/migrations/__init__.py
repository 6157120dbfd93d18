"""Alembic migrations, run by the server itself at start, under the database's lock."""
