"""Bringing the database's schema up to date when the server starts."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from pytq.server.store.tables import SEQUENCES, sequences

HERE = Path(__file__).parent / "migrations"


def config() -> Config:
    """Alembic's configuration, made here: there is no ini file to lose."""
    settings = Config()
    settings.set_main_option("script_location", str(HERE).replace("%", "%%"))
    return settings


def upgrade(connection: sa.Connection) -> None:
    """Run every migration that is missing. The caller holds the database's lock."""
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
    known = set(connection.execute(sa.select(sequences.c.name)).scalars())
    missing = [{"name": name, "next": 1} for name in SEQUENCES if name not in known]
    if missing:
        connection.execute(sa.insert(sequences), missing)


def upgrade_sqlite(engine: sa.Engine) -> None:
    """Upgrade with foreign keys off, which has to be said before a transaction begins.

    Alembic's batch mode copies tables; with foreign keys on, dropping the old copy would delete
    the rows that point at it.
    """
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None  # noqa: S101 - tells the type checker what `connect` promises
        driver.execute("PRAGMA foreign_keys = OFF")
        with connection.begin():
            upgrade(connection)
        driver.execute("PRAGMA foreign_keys = ON")
