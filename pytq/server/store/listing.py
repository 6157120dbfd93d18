"""Lists of tasks, as cheap with a million of them as with ten.

In the order of their numbers, a list is merged from *stretches*: parts of an index that are in that
order already. There is one for each batch and status that is wanted; the kept counts tell which
there are. What no index answers (words in a command, say) is looked for in windows of numbers, so
many in one request; a page may then be short, and its cursor tells where to go on.

The other orders have no index: they would be paid for at every change of every task. They cost a
look at every task that fits, and where batch and status are given, that is as many as there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from pydantic_core import to_json

from pytq.schema import limits
from pytq.schema.queries import TaskFilter
from pytq.schema.states import TaskStatus
from pytq.schema.views import Page, TaskView
from pytq.server.store.engine import among, listed
from pytq.server.store.reading import task_views
from pytq.server.store.tables import executions, task_counts, tasks, workers

Stretch = sa.Select[tuple[int]]
Clause = sa.ColumnElement[bool]

_MERGED: Final = 50  # stretches in one statement
_WINDOW: Final = 5_000  # task numbers; grows as long as little is found
_WINDOW_MAX: Final = 50_000
_ALL: Final = sa.select(tasks.c.id)
_LATEST: Final = sa.and_(executions.c.task == tasks.c.id, executions.c.attempt == tasks.c.attempt)


def list_tasks(conn: sa.Connection, wanted: TaskFilter) -> Page[TaskView]:
    """One page of tasks."""
    ids, cursor = (_by_id if wanted.sort == "id" else _sorted)(conn, wanted)
    dialect = conn.dialect.name
    found = conn.execute(
        sa.select(tasks).where(among(dialect, tasks.c.id, "ids")), {"ids": listed(dialect, ids)}
    )
    rows = {row.id: row for row in found}
    views = task_views(conn, [rows[one] for one in ids if one in rows])
    return Page[TaskView](items=views, next=cursor)


# --- in the order of their numbers


def _by_id(conn: sa.Connection, wanted: TaskFilter) -> tuple[list[int], str | None]:
    stretches = _stretches(conn, wanted)
    rest = _rest(conn.dialect.name, wanted)
    merge = _Merge(conn, stretches, oldest_first=wanted.oldest_first)
    after = int(wanted.after.split(".")[0]) if wanted.after else None
    if rest and not wanted.ids:
        return _look_through(merge, rest, after, wanted.limit)
    found = merge.take(wanted.limit + 1, after, where=rest)
    return found[: wanted.limit], _cursor(found, wanted.limit)


def _cursor(found: Sequence[int], limit: int) -> str | None:
    return str(found[limit - 1]) if len(found) > limit else None


class _Merge:
    """Stretches, and in which direction they are read."""

    def __init__(
        self, conn: sa.Connection, stretches: Sequence[Stretch], *, oldest_first: bool
    ) -> None:
        self._conn = conn
        self._stretches = stretches
        self._oldest_first = oldest_first

    def take(
        self, most: int, after: int | None, upto: int | None = None, where: Sequence[Clause] = ()
    ) -> list[int]:
        """The next `most` ids after one, up to another one and including it."""
        found: list[int] = []
        for some in _in_pieces(self._stretches):
            parts = [self._part(stretch, most, after, upto, where) for stretch in some]
            query: Any = parts[0]
            if len(parts) > 1:
                query = sa.union_all(*[sa.select(part.subquery().c.id) for part in parts])
            found += self._conn.execute(query).scalars()
        return sorted(found, reverse=not self._oldest_first)[:most]

    def _part(
        self,
        stretch: Stretch,
        most: int,
        after: int | None,
        upto: int | None,
        where: Sequence[Clause],
    ) -> Stretch:
        # The column that the stretch's index has: executions.task where that is the source.
        number = next(iter(stretch.selected_columns))
        up = self._oldest_first
        if after is not None:
            stretch = stretch.where(number > after if up else number < after)
        if upto is not None:
            stretch = stretch.where(number <= upto if up else number >= upto)
        return stretch.where(*where).order_by(number if up else number.desc()).limit(most)

    def window(self, after: int | None, width: int) -> int | None:
        """The last number of a window that begins at the next id after one; None at the end."""
        nearest = self.take(1, after)
        if not nearest:
            return None
        return nearest[0] + width - 1 if self._oldest_first else nearest[0] - width + 1


def _look_through(
    merge: _Merge, rest: Sequence[Clause], after: int | None, limit: int
) -> tuple[list[int], str | None]:
    """Look for what no index answers, window by window, so far and no further."""
    found: list[int] = []
    width, looked = _WINDOW, 0
    while looked < limits.SEARCH_IDS:
        upto = merge.window(after, width)
        if upto is None:
            return found, None
        found += merge.take(limit + 1 - len(found), after, upto, rest)
        if len(found) > limit:
            return found[:limit], str(found[limit - 1])
        after, looked, width = max(0, upto), looked + width, min(width * 2, _WINDOW_MAX)
    return found, str(after)


def _in_pieces(stretches: Sequence[Stretch]) -> Iterator[list[Stretch]]:
    left = iter(stretches)
    while some := list(islice(left, _MERGED)):
        yield some


def _stretches(conn: sa.Connection, wanted: TaskFilter) -> Sequence[Stretch]:
    if wanted.ids:
        return [_ALL.where(tasks.c.id.in_(wanted.ids))]
    if wanted.worker is not None:
        mine = sa.select(executions.c.task.label("id")).join(tasks, _LATEST)
        named = sa.select(workers.c.id).where(workers.c.name == wanted.worker)
        every = conn.execute(named).scalars()
        return [mine.where(executions.c.worker == worker) for worker in every]
    if wanted.name is not None:
        return [_ALL.where(tasks.c.name == wanted.name)]
    if wanted.batch is not None or wanted.status:
        return [
            _ALL.where(tasks.c.batch == batch, tasks.c.status == status)
            for batch, status in _kinds(conn, wanted)
        ]
    return [_ALL]


def _kinds(conn: sa.Connection, wanted: TaskFilter) -> list[tuple[str, str]]:
    """The batches and statuses that are wanted, and of which there are tasks."""
    query = sa.select(task_counts.c.batch, task_counts.c.status).where(task_counts.c.n > 0)
    if wanted.batch is not None:
        query = query.where(task_counts.c.batch == wanted.batch)
    if wanted.status:
        query = query.where(task_counts.c.status.in_(wanted.status))
    return [(row.batch, row.status) for row in conn.execute(query)]


def _rest(dialect: str, wanted: TaskFilter) -> list[Clause]:
    """What the stretches have not answered yet."""
    if wanted.ids:
        return _all_of(dialect, wanted)
    rest: list[Clause] = []
    if wanted.worker is not None and wanted.name is not None:
        rest.append(tasks.c.name == wanted.name)
    if wanted.worker is not None or wanted.name is not None:
        rest += _group(wanted)
    return rest + _words(dialect, wanted.search)


# --- in other orders


def _sorted(conn: sa.Connection, wanted: TaskFilter) -> tuple[list[int], str | None]:
    changed = wanted.sort == "changed"
    key: sa.ColumnElement[int] = limits.PRIORITY - tasks.c.priority
    order: list[sa.ColumnElement[Any]] = [tasks.c.priority.desc(), tasks.c.id]
    if changed:
        key, order = tasks.c.changed_at, [tasks.c.changed_at.desc(), tasks.c.id.desc()]
    if wanted.oldest_first:
        order = [_reversed(each) for each in order]
    query = sa.select(tasks.c.id, key).where(*_all_of(conn.dialect.name, wanted))
    if wanted.after is not None:
        query = query.where(_beyond(key, wanted.after, up=changed == wanted.oldest_first))
    rows = conn.execute(query.order_by(*order).limit(wanted.limit + 1)).all()
    shown = rows[: wanted.limit]
    cursor = f"{shown[-1][1]}.{shown[-1][0]}" if len(rows) > wanted.limit else None
    return [row[0] for row in shown], cursor


def _reversed(order: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return order.element if isinstance(order, sa.UnaryExpression) else order.desc()


def _beyond(key: sa.ColumnElement[int], cursor: str, *, up: bool) -> Clause:
    first, _, second = cursor.partition(".")
    place = sa.tuple_(sa.literal(int(first)), sa.literal(int(second or 0)))
    here = sa.tuple_(key, tasks.c.id)
    return here > place if up else here < place


def _all_of(dialect: str, wanted: TaskFilter) -> list[Clause]:
    where = [*_group(wanted), *_words(dialect, wanted.search)]
    if wanted.ids:
        where.append(tasks.c.id.in_(wanted.ids))
    if wanted.name is not None:
        where.append(tasks.c.name == wanted.name)
    if wanted.worker is not None:
        named = sa.select(workers.c.id).where(workers.c.name == wanted.worker)
        where.append(sa.exists().where(_LATEST, executions.c.worker.in_(named)))
    return where


def _group(wanted: TaskFilter) -> list[Clause]:
    where: list[Clause] = []
    if wanted.batch is not None:
        where.append(tasks.c.batch == wanted.batch)
    if wanted.status:
        where.append(tasks.c.status.in_([_literal(status) for status in wanted.status]))
    return where


def _literal(status: TaskStatus) -> sa.ColumnElement[str]:
    """A status as the text of the query: a parameter would hide a partial index."""
    return sa.literal_column(f"'{status.value}'")


# --- words

_COMMANDS: Final = {
    "sqlite": "(SELECT group_concat(json_extract(value, '$.command'), ' ')"
    " FROM json_each(tasks.spec, '$.steps'))",
    "postgresql": "(SELECT string_agg(step ->> 'command', ' ')"
    " FROM json_array_elements(CAST(tasks.spec AS json) -> 'steps') AS step)",
}


def _words(dialect: str, search: str | None) -> list[Clause]:
    """Each word stands in the name or in a step's command."""
    words = search.split() if search else []
    command = sa.literal_column(_COMMANDS[dialect], sa.Text)
    found = []
    for word in words:
        quoted = to_json(word).decode()[1:-1]  # as it stands in JSON
        # Commands are taken out of the JSON only where the word is somewhere in it.
        in_command = _any_like(dialect, [(command, word), (command, quoted)])
        found.append(
            sa.or_(
                _like(dialect, tasks.c.name, word),
                sa.and_(_like(dialect, tasks.c.spec, quoted), in_command),
            )
        )
    return found


def _any_like(dialect: str, pairs: Iterable[tuple[sa.ColumnElement[str], str]]) -> Clause:
    return sa.or_(*[_like(dialect, column, word) for column, word in dict.fromkeys(pairs)])


def _like(dialect: str, column: sa.ColumnElement[Any], word: str) -> Clause:
    pattern = word.replace("/", "//").replace("%", "/%").replace("_", "/_")
    # SQLite's LIKE ignores case by itself; its ILIKE would cost two copies of the text.
    like = column.like if dialect == "sqlite" else column.ilike
    return like(f"%{pattern}%", escape="/")
