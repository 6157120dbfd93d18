"""A list of any length, of which only what is looked at is fetched: pure.

A `Window` holds one run of rows out of the list and where it lies. It says which page to fetch next
for what is visible, and takes the answers. Pages are found by keyset cursors, so that the list's
millionth page costs what its first does; a jump into the unknown guesses the cursor from where the
ends lie, and is corrected when the window grows into one of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

R = TypeVar("R")

PAGE: Final = 100
_KEPT: Final = 10 * PAGE


@dataclass(frozen=True, slots=True)
class Order(Generic[R]):
    """How a list is ordered: a row's cursor, and a number that grows along the list.

    `guess` makes a cursor of such a number; `last` is the number at the list's end where that is
    known from the start.
    """

    cursor: Callable[[R], str]
    number: Callable[[R], int]
    guess: Callable[[int], str]
    key: Callable[[R], object]
    last: int | None = None


class Ask(NamedTuple):
    """A page to fetch: so many rows after a cursor; `reverse`: against the list's order."""

    after: str | None
    reverse: bool
    limit: int
    place: int  # where its first row belongs; for a reverse one, where the row before it ends
    joins: bool  # it continues the window, which otherwise begins anew with it


class Window(Generic[R]):
    """One run of rows of a long list."""

    def __init__(self, order: Order[R], total: int | None = None) -> None:
        self.order = order
        self.start = 0
        self.rows: list[R] = []
        self.total = total or 0
        self.counted = total is not None  # somebody else tells the total
        self.asked: Ask | None = None
        self.known = False  # something has been answered, be it that there is nothing
        self._first, self._last = 0, PAGE // 2  # what is visible
        self._stale = True
        self._top: int | None = None  # numbers of the list's ends
        self._bottom = order.last
        # Where to go on: a search may come back empty-handed before the end, with a cursor.
        self._after: str | None = None
        self._before: str | None = None

    @property
    def end(self) -> int:
        """Where the window ends."""
        return self.start + len(self.rows)

    def row(self, index: int) -> R | None:
        """The row at a place, None while it is not here."""
        return self.rows[index - self.start] if self.start <= index < self.end else None

    def find(self, key: object) -> int | None:
        """Where the row of that key is, if it is in the window."""
        of = self.order.key
        return next((self.start + i for i, row in enumerate(self.rows) if of(row) == key), None)

    def look(self, first: int, last: int) -> None:
        """The rows from `first` to just before `last` are visible."""
        self._first, self._last = max(0, first), max(0, first, last)

    def refresh(self) -> None:
        """What is visible may have changed."""
        self._stale = True

    def count(self, total: int) -> None:
        """The kept counts tell how long the list is."""
        self.counted = True
        self.total = max(total, self.end)

    def wanted(self) -> Ask | None:
        """The page to fetch now; None while one is on its way or nothing is missing."""
        if self.asked is None:
            ask = self._refreshing() if self._stale else self._missing()
            self._stale = self._stale and ask is not None and ask.joins
            self.asked = ask
            return ask
        return None

    def wanted_end(self) -> Ask | None:
        """The list's last page, wherever that is: for who wants to go there."""
        if self.asked is None:
            self.asked = self._last_page()
            return self.asked
        return None

    def _refreshing(self) -> Ask:
        """Fetch what is visible anew, from just above it."""
        anchor = max(self._first - PAGE // 4, self.start)
        if not self.start <= anchor < self._first < self.end:
            return self._missing() or self._jump()
        if anchor == 0:
            return self._first_page()
        cursor = self.order.cursor(self.rows[anchor - self.start])
        return Ask(cursor, reverse=False, limit=self._reach(anchor), place=anchor + 1, joins=False)

    def _reach(self, place: int) -> int:
        return max(PAGE, self._last - place + PAGE // 4)

    def _missing(self) -> Ask | None:
        last = min(self._last, self.total) if self.known else self._last
        if self._first >= last or (self.start <= self._first and last <= self.end):
            return None
        if self.known and self._first <= self.end + PAGE and self.start <= last + PAGE:
            if self.end < last and self._after is not None:
                return Ask(self._after, reverse=False, limit=PAGE, place=self.end, joins=True)
            if self._first < self.start and self._before is not None:
                return Ask(self._before, reverse=True, limit=PAGE, place=self.start, joins=True)
        return self._jump()

    def _jump(self) -> Ask:
        """Begin anew somewhere else: at an end if that is near, at a guess if it is not."""
        if self._first < PAGE or not self.known or self._top is None:
            return self._first_page()
        if self.total - self._last < PAGE or self._bottom is None:
            return self._last_page()
        place = max(0, self._first - PAGE // 4)
        number = self._top + (self._bottom - self._top) * place // max(1, self.total)
        guess = self.order.guess(number)
        return Ask(guess, reverse=False, limit=self._reach(place), place=place, joins=False)

    def _first_page(self) -> Ask:
        return Ask(None, reverse=False, limit=self._reach(0), place=0, joins=False)

    def _last_page(self) -> Ask:
        return Ask(None, reverse=True, limit=2 * PAGE, place=self.total, joins=False)

    def failed(self) -> None:
        """What was asked for will not come; what is visible is asked for again at a refresh."""
        self.asked = None

    def take(self, rows: list[R], cursor: str | None) -> int:
        """Take in an answer, in the order it came, and where it goes on.

        Tells by how many places the rows that were here have moved.
        """
        ask, self.asked = self.asked, None
        if ask is None:
            return 0
        self.known = True
        rows = rows[::-1] if ask.reverse else rows
        if not ask.joins:
            self.rows = rows
            self.start = ask.place - len(rows) if ask.reverse else ask.place
        elif ask.reverse:
            self.rows = rows + self.rows
            self.start -= len(rows)
        else:
            self.rows += rows
        self._go_on(ask, cursor)
        moved = self._settle(ask, more=cursor is not None)
        self._forget(ask)
        return moved

    def _go_on(self, ask: Ask, cursor: str | None) -> None:
        """Remember from where the window grows at its two ends."""
        if ask.reverse:
            self._before = cursor
            if not ask.joins:
                self._after = None
        else:
            self._after = cursor
            if not ask.joins:
                self._before = self.order.cursor(self.rows[0]) if self.rows else ask.after

    def _settle(self, ask: Ask, *, more: bool) -> int:
        """Put the window where it belongs, now that an end may have been found."""
        before = self.start
        at_top = (ask.after is None and not ask.reverse) or (ask.reverse and not more)
        at_bottom = (ask.after is None and ask.reverse) or (not ask.reverse and not more)
        if at_top:
            self.start, self._before = 0, None
        elif self.start <= 0 and self._before is not None:
            self.start = PAGE  # there is more above than was thought
        if at_bottom:
            self._settle_at_end()
        else:
            self.total = max(self.total, self.end + more)
        if at_top and self.rows:
            self._top = self.order.number(self.rows[0])
        if at_bottom:
            self._bottom = self.order.number(self.rows[-1]) if self.rows else None
        return self.start - before

    def _settle_at_end(self) -> None:
        if self.start > 0 and self.counted and self.total > self.end and self.rows:
            self.start = self.total - len(self.rows)
        self.total = self.end

    def _forget(self, ask: Ask) -> None:
        """Keep the window small: what is far from the page that just came goes."""
        spare = len(self.rows) - _KEPT
        if spare <= 0:
            return
        if ask.reverse:
            del self.rows[-spare:]
            self._after = self.order.cursor(self.rows[-1])
        else:
            del self.rows[:spare]
            self.start += spare
            self._before = self.order.cursor(self.rows[0])
