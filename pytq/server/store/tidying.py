"""Forgetting what nobody will ask for again, a little at a time."""

from typing import Final

import sqlalchemy as sa

from pytq.schema import limits
from pytq.server.store.tables import events, submissions

PIECE: Final = 2_000  # rows to a transaction: nobody else waits for long


def forget_events(conn: sa.Connection) -> int:
    """Drop the oldest events beyond those that are kept; returns how many there were."""
    newest = sa.select(sa.func.max(events.c.id)).scalar_subquery()
    old = (
        sa.select(events.c.id)
        .where(events.c.id <= newest - limits.EVENTS_KEPT)
        .order_by(events.c.id)
        .limit(PIECE)
    )
    return int(conn.execute(sa.delete(events).where(events.c.id.in_(old))).rowcount)


def forget_keys(conn: sa.Connection, now: int) -> int:
    """Drop Idempotency-Keys that nobody repeats any more; returns how many there were."""
    old = (
        sa.select(submissions.c.key)
        .where(submissions.c.created_at < now - round(limits.KEYS_KEPT_SECONDS * 1e6))
        .limit(PIECE)
    )
    return int(conn.execute(sa.delete(submissions).where(submissions.c.key.in_(old))).rowcount)
