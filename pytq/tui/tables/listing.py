"""A table over things that the store holds: filtered, ordered, turned into rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pytq.tui.cells import Cell, Row
from pytq.tui.columns import Column
from pytq.tui.filters import matches
from pytq.tui.model import Store

T = TypeVar("T")


class Moment(NamedTuple):
    """The store, and when it is looked at (monotonic seconds)."""

    store: Store
    now: float


class Order(NamedTuple):
    """By which column a table is ordered, and whether that order is turned round."""

    column: str
    turned: bool = False


class Rows(Protocol):
    """Where a table's rows come from."""

    total: int

    def row(self, index: int) -> Row | None:
        """The row at a place; None while it is on its way."""

    def find(self, key: str | int) -> int | None:
        """Where the row of that key is, as far as is known."""


class ListedRows:
    """Rows that are all here, each made when it is looked at."""

    def __init__(
        self,
        things: Sequence[Any],
        key: Callable[[Any], str | int],
        make: Callable[[Any], Row],
    ) -> None:
        self._things = things
        self._key = key
        self._make = make
        self._made: dict[int, Row] = {}
        self._places: dict[str | int, int] | None = None
        self.total = len(things)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "ListedRows":
        """Rows that have been made already."""
        return cls(rows, lambda row: row.key, lambda row: row)

    def row(self, index: int) -> Row | None:
        """The row at a place."""
        if not 0 <= index < self.total:
            return None
        if index not in self._made:
            self._made[index] = self._make(self._things[index])
        return self._made[index]

    def find(self, key: str | int) -> int | None:
        """Where the row of that key is."""
        if self._places is None:
            self._places = {self._key(thing): place for place, thing in enumerate(self._things)}
        return self._places.get(key)

    def keys(self) -> list[str | int]:
        """Whom the rows are about."""
        return [self._key(thing) for thing in self._things]

    def all(self) -> list[Row]:
        """Every row."""
        return [self._make(thing) for thing in self._things]


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """How things of one kind are shown in a table."""

    columns: tuple[Column, ...]
    things: Callable[[Store], Iterable[T]]
    key: Callable[[T], str | int]
    says: Callable[[T], Iterable[str]]  # what a filter looks through
    cells: Callable[[T, Moment], tuple[Cell, ...]]
    by: Mapping[str, Callable[[T, Moment], Any]]  # what each column orders by

    def rows(self, at: Moment, filter_: str, order: Order) -> ListedRows:
        """The rows that a filter finds, in order."""
        found = self.found(at, filter_, order)
        return ListedRows(
            found, self.key, lambda thing: Row(self.key(thing), self.cells(thing, at))
        )

    def found(self, at: Moment, filter_: str, order: Order) -> list[T]:
        """The things that a filter finds, in order."""
        found = [thing for thing in self.things(at.store) if matches(filter_, self.says(thing))]
        found.sort(key=self.key)  # so that equals stay in place
        of = self.by.get(order.column)
        if of is not None:
            found.sort(key=lambda thing: of(thing, at))
        if order.turned:
            found.reverse()
        return found
