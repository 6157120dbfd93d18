"""Tokens at rest: whose they are and what they are good for, never what they are."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from pytq.schema.access import TokenOrder
from pytq.schema.problems import ConflictError, NotFoundError
from pytq.server.store.changes import Changes
from pytq.server.store.tables import AnyRow, tokens


def create(
    conn: sa.Connection, now: int, order: TokenOrder, secret_hash: bytes, actor: str
) -> AnyRow:
    """Keep a new token; refuse a name that another one bears."""
    lasts = None if order.expires_in is None else now + int(order.expires_in * 1e6)
    taken = conn.execute(_good().where(tokens.c.name == order.name)).one_or_none()
    if taken is not None:
        raise _is_taken(order.name)
    try:
        row = conn.execute(
            sa.insert(tokens)
            .values(
                name=order.name,
                role=order.role.value,
                hash=secret_hash,
                created_at=now,
                created_by=actor,
                expires_at=lasts,
            )
            .returning(tokens)
        ).one()
    except IntegrityError as error:  # by a writer beside this one
        raise _is_taken(order.name) from error
    changes = Changes()
    changes.note(now, "token made", actor, detail=f"{order.name}, {order.role}")
    changes.write(conn)
    return row


def _is_taken(name: str) -> ConflictError:
    return ConflictError(
        f"there is a token named {name!r} already",
        field="name",
        cure="choose another name, or revoke that one first",
    )


def revoke(conn: sa.Connection, now: int, name: str, actor: str) -> int:
    """Revoke a token; returns its id. The row stays, to tell whose old events are."""
    row = conn.execute(_good().where(tokens.c.name == name).with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no token named {name!r}", field="name")
    conn.execute(sa.update(tokens).where(tokens.c.id == row.id).values(revoked_at=now))
    changes = Changes()
    changes.note(now, "token revoked", actor, detail=f"{row.name}, {row.role}")
    changes.write(conn)
    return int(row.id)


def every(conn: sa.Connection) -> Sequence[AnyRow]:
    """Every token that was not revoked, expired ones included."""
    return conn.execute(_good().order_by(tokens.c.id)).all()


def _good() -> sa.Select[tuple[object, ...]]:
    return sa.select(tokens).where(tokens.c.revoked_at.is_(None))
