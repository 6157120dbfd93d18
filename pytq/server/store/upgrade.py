"""Bringing the database's schema up to date when the server starts."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncEngine

from pytq.server.store.tables import SEQUENCES, sequences

HERE = Path(__file__).parent / "migrations"


def config() -> Config:
    """Alembic's configuration, made here: there is no ini file to lose."""
    settings = Config()
    settings.set_main_option("script_location", str(HERE).replace("%", "%%"))
    return settings


async def upgrade(engine: AsyncEngine) -> None:
    """Run every migration that is missing. The caller holds the database's lock."""
    if engine.dialect.name == "sqlite":
        async with engine.connect() as connection:
            # Alembic's batch mode copies tables; with foreign keys on, dropping the old copy
            # would delete the rows that point at it.
            await connection.exec_driver_sql("COMMIT")
            await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            await connection.run_sync(_run)
            await connection.commit()
            await connection.exec_driver_sql("COMMIT")
            await connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            await connection.exec_driver_sql("BEGIN")
    else:
        async with engine.begin() as connection:
            await connection.run_sync(_run)


def _run(connection: sa.Connection) -> None:
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
    known = set(connection.execute(sa.select(sequences.c.name)).scalars())
    missing = [{"name": name, "next": 1} for name in SEQUENCES if name not in known]
    if missing:
        connection.execute(sa.insert(sequences), missing)
