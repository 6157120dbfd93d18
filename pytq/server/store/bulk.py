"""The hot statements, without SQLAlchemy's work per execution and per row.

Core compiles a statement once for the dialect; from then on it goes straight to the driver's
cursor, with parameters only picked into a tuple. That is most of what a tiny task costs the
server, and most of the wait of a single submit.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

Row = dict[str, Any]
Statement = sa.Insert | sa.Update | sa.Delete | sa.Select[Any] | sa.TextClause


def fetch(conn: sa.Connection, statement: Statement, parameters: Row) -> list[tuple[Any, ...]]:
    """Run `statement` once; returns its rows as plain tuples, in the order of its columns."""
    sql, pick = _prepared(statement, conn.dialect, tuple(parameters))
    cursor = conn.connection.cursor()
    try:
        cursor.execute(sql, pick(parameters))
        return list(cursor.fetchall()) if cursor.description else []
    finally:
        cursor.close()


def execute_many(conn: sa.Connection, statement: Statement, rows: Sequence[Row]) -> None:
    """Run `statement` once for each row. All rows have the same keys."""
    sql, pick = _prepared(statement, conn.dialect, tuple(rows[0]))
    cursor = conn.connection.cursor()
    try:
        if len(rows) == 1:
            cursor.execute(sql, pick(rows[0]))
        else:
            cursor.executemany(sql, [pick(row) for row in rows])
    finally:
        cursor.close()


@lru_cache(maxsize=200)
def _prepared(
    statement: Statement, dialect: Dialect, keys: tuple[str, ...]
) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    names = list(keys) if isinstance(statement, sa.Insert) else None
    compiled = statement.compile(dialect=dialect, column_keys=names)
    order = getattr(compiled, "positiontup", None) or []
    constant = {k: v for k, v in compiled.params.items() if k not in keys}
    if not constant and len(order) > 1:
        return str(compiled), itemgetter(*order)

    def pick(row: Row) -> tuple[Any, ...]:
        return tuple([row[name] if name in row else constant[name] for name in order])

    return str(compiled), pick
