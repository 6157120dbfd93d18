"""What people type to find things: words, and `key:value` pairs. Pure.

`status:failed,lost batch:run7 worker:vm-03 name:"sample 12" gzip` finds the failed tasks of batch
run7 whose last execution was on vm-03, whose name is exactly that, with gzip in name or command.
"""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from pydantic import ValidationError

from pytq.schema.queries import Sort, TaskFilter
from pytq.schema.states import TaskStatus

SORTS: Final[tuple[Sort, ...]] = ("id", "changed", "priority")
# What comes first, and what does when it is turned round.
SORT_WORDS: Final[dict[Sort, tuple[str, str]]] = {
    "id": ("newest first", "oldest first"),
    "changed": ("changed last", "changed first"),
    "priority": ("most urgent first", "least urgent first"),
}
KEYS: Final = ("status", "batch", "worker", "name")


class FilterError(ValueError):
    """A filter that means nothing; the text says what to write instead."""


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Which tasks to show, and in which order."""

    statuses: tuple[TaskStatus, ...] = ()
    batch: str | None = None
    worker: str | None = None
    name: str | None = None
    text: str = ""
    sort: Sort = "id"
    oldest_first: bool = False

    @property
    def countable(self) -> bool:
        """Whether the kept counts tell how many tasks it finds."""
        return not (self.worker or self.name or self.text)

    @property
    def narrow(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.statuses or self.batch) or not self.countable

    def page(self, after: str | None, limit: int, *, reverse: bool) -> TaskFilter:
        """What to ask the server for one page of it."""
        return TaskFilter(
            batch=self.batch,
            status=list(self.statuses),
            worker=self.worker,
            name=self.name,
            search=self.text or None,
            sort=self.sort,
            oldest_first=self.oldest_first != reverse,
            limit=limit,
            after=after,
        )


def parse_tasks(text: str, before: TaskQuery | None = None) -> TaskQuery:
    """Read a filter as people type it; the order stays as it was `before`."""
    before = before or TaskQuery()
    query = TaskQuery(sort=before.sort, oldest_first=before.oldest_first)
    loose: list[str] = []
    for word in _words(text):
        key, colon, value = word.partition(":")
        reader = _READERS.get(key) if colon else None
        if reader is None:
            loose.append(word)
        elif not value:
            raise FilterError(f"{key}: what? Write it right after the colon, as in {_AS_IN[key]}")
        else:
            query = reader(query, value)
    query = replace(query, text=" ".join(loose))
    try:
        query.page(None, 1, reverse=False)
    except ValidationError as error:
        [*_, field] = error.errors()[0]["loc"] or ("text",)
        raise FilterError(f"{field}: {error.errors()[0]['msg']}") from error
    return query


def write_tasks(query: TaskQuery) -> str:
    """A filter as people would type it: `parse_tasks` turned round."""
    parts = []
    if query.statuses:
        parts.append("status:" + ",".join(query.statuses))
    for key in ("batch", "worker", "name"):
        value = getattr(query, key)
        if value is not None:
            parts.append(f"{key}:{_quoted(value)}")
    if query.text:
        parts.append(
            query.text if _words(query.text) == query.text.split() else _quoted(query.text)
        )
    return " ".join(parts)


def matches(text: str, haystack: Iterable[str]) -> bool:
    """Whether every word of a filter is somewhere in what a row says; case does not matter."""
    wanted = text.lower().split()
    return not wanted or _all_in(wanted, " ".join(haystack).lower())


def _all_in(wanted: list[str], hay: str) -> bool:
    return all(word in hay for word in wanted)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is still open, because somebody is typing
        return text.replace('"', " ").replace("'", " ").split()


def _quoted(text: str) -> str:
    return text if text and not set(text) & set(" \"'\\") else shlex.quote(text)


def _read_status(query: TaskQuery, value: str) -> TaskQuery:
    found = []
    for word in value.lower().split(","):
        hits = [status for status in TaskStatus if word and status.startswith(word)]
        if not hits:
            raise FilterError(f"status:{word} is none of {', '.join(TaskStatus)}")
        found += hits
    return replace(query, statuses=tuple(dict.fromkeys((*query.statuses, *found))))


_READERS: Final[dict[str, Callable[[TaskQuery, str], TaskQuery]]] = {
    "status": _read_status,
    "batch": lambda query, value: replace(query, batch=value),
    "worker": lambda query, value: replace(query, worker=value),
    "name": lambda query, value: replace(query, name=value),
}
_AS_IN: Final = {
    "status": "status:failed",
    "batch": "batch:default",
    "worker": "worker:vm-1",
    "name": "name:sample-12",
}
