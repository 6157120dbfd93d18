"""What a filter could go on with: keys, statuses, batches, workers."""

from collections.abc import Callable, Iterable

from textual.suggester import Suggester

from pytq.schema.states import TaskStatus
from pytq.tui.filters import KEYS
from pytq.tui.model import Store


class FilterSuggester(Suggester):
    """Completes the last word of a filter."""

    def __init__(self, store: Callable[[], Store]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._store = store

    async def get_suggestion(self, value: str) -> str | None:
        """The filter with its last word completed."""
        return completed(value, self._store())


def completed(value: str, store: Store) -> str | None:
    """A filter with its last word completed, if something fits."""
    start, space, word = value.rpartition(" ")
    key, colon, begun = word.partition(":")
    if not word:
        return None
    found = _first(
        f"{key}{colon}" if colon else "", begun if colon else word, _known(key, colon, store)
    )
    return None if found is None else f"{start}{space}{found}"


def _known(key: str, colon: str, store: Store) -> Iterable[str]:
    if not colon:
        return [f"{one}:" for one in KEYS]
    if key == "status":
        return list(TaskStatus)
    return sorted(store.batches if key == "batch" else store.workers if key == "worker" else ())


def _first(prefix: str, begun: str, known: Iterable[str]) -> str | None:
    return next((prefix + one for one in known if one.startswith(begun) and one != begun), None)
