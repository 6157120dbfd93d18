"""A window on a long list: whatever is looked at is fetched, and is what the list holds there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pytq.tui.paging import PAGE, Ask, Order, Window

Row = int


def order(*, falls: bool) -> Order[Row]:
    sign = -1 if falls else 1
    return Order(
        cursor=str,
        number=lambda row: sign * row,
        guess=lambda number: str(max(0, sign * number)),
        key=lambda row: row,
        last=-1 if falls else None,
    )


class Server:
    """A list in an order, of which pages are given by cursor."""

    def __init__(self, rows: list[Row], *, falls: bool, hungry: bool = False) -> None:
        self.rows = sorted(rows, reverse=falls)
        self.falls = falls
        self.hungry = hungry  # gives few rows at a time, and now and then none before the end

    def page(self, ask: Ask) -> tuple[list[Row], str | None]:
        listed = self.rows[::-1] if ask.reverse else self.rows
        falls = self.falls != ask.reverse
        if ask.after is not None:
            after = int(ask.after)
            listed = [row for row in listed if (row < after if falls else row > after)]
        limit = ask.limit
        if self.hungry:
            if (
                listed
                and listed[0] % 7 == 3
                and (ask.after is None or int(ask.after) != listed[0] + (1 if falls else -1))
            ):
                return [], str(listed[0] + (1 if falls else -1))
            limit = min(limit, 9)
        page = listed[:limit]
        more = len(listed) > len(page)
        return page, str(page[-1]) if more and page else None


def settle(window: Window[Row], server: Server, most: int = 200) -> int:
    """Fetch until nothing is missing; how many pages that took."""
    for number in range(most):
        ask = window.wanted()
        if ask is None:
            return number
        window.take(*server.page(ask))
    raise AssertionError("it fetches for ever")


def seen(window: Window[Row], first: int, last: int) -> list[Row | None]:
    return [window.row(index) for index in range(first, min(last, window.total))]


@pytest.mark.parametrize("falls", [True, False])
def test_a_million_rows_cost_a_page(*, falls: bool) -> None:
    """The beginning, the end and the middle of a million rows are each a few pages away."""
    rows = range(1, 1_000_001)
    server = Server(list(rows), falls=falls)
    window = Window(order(falls=falls), 1_000_000)
    for first in (0, 999_950, 500_000, 123_456):
        window.look(first, first + 50)
        assert settle(window, server) <= 3
        expected = server.rows[first : first + 50]
        assert seen(window, first, first + 50) == expected
        assert len(window.rows) <= 10 * PAGE


def test_scrolling_down_to_the_very_end_meets_every_row() -> None:
    """Page after page, nothing is left out and nothing comes twice."""
    server = Server([3 * n for n in range(1, 778)], falls=True)
    window = Window(order(falls=True), 777)
    met: list[Row | None] = []
    for first in range(0, 777, 40):
        window.look(first, first + 40)
        settle(window, server)
        met += seen(window, first, first + 40)
    assert met == server.rows


def test_an_uncounted_list_grows_until_its_end() -> None:
    """Where nobody knows how long the list is, it is found out by going there."""
    server = Server(list(range(1, 351)), falls=True)
    window = Window(order(falls=True))
    window.look(0, 40)
    settle(window, server)
    assert window.total > 40
    while window.end < window.total:
        window.look(window.end - 1, window.end + 39)
        settle(window, server)
    assert window.total == 350

    window = Window(order(falls=True))
    settle(window, server)
    ask = window.wanted_end()
    assert ask is not None
    window.take(*server.page(ask))
    assert window.row(window.total - 1) == 1


def test_a_search_that_comes_back_empty_handed_goes_on() -> None:
    """A page without rows but with a cursor is no end."""
    server = Server(list(range(1, 400)), falls=True, hungry=True)
    window = Window(order(falls=True))
    window.look(0, 40)
    settle(window, server)
    assert seen(window, 0, 40) == server.rows[:40]


def test_an_empty_list_is_known_to_be_empty() -> None:
    """One question is enough."""
    window = Window(order(falls=True), 0)
    assert settle(window, Server([], falls=True)) == 1
    assert (window.known, window.total) == (True, 0)


def test_a_refresh_keeps_the_place() -> None:
    """New rows at the top do not move what is looked at further down."""
    server = Server(list(range(1, 1_001)), falls=True)
    window = Window(order(falls=True), 1_000)
    window.look(300, 340)
    settle(window, server)
    before = seen(window, 300, 340)
    server.rows = [*range(1_050, 1_000, -1), *server.rows]
    window.refresh()
    settle(window, server)
    assert seen(window, 300, 340) == before


def test_a_failed_question_is_asked_again_at_a_refresh() -> None:
    """A server that was away does not leave a hole for ever."""
    server = Server(list(range(1, 11)), falls=True)
    window = Window(order(falls=True), 10)
    assert window.wanted() is not None
    window.failed()
    window.refresh()
    settle(window, server)
    assert seen(window, 0, 10) == server.rows


@settings(max_examples=200)
@given(
    st.sets(st.integers(1, 3_000), max_size=900),
    st.lists(st.integers(0, 1_000), max_size=12),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_whatever_is_looked_at_is_a_stretch_of_the_list(
    ids: set[int], places: list[int], falls: bool, counted: bool, hungry: bool
) -> None:
    """After any jumps, what is visible is complete, in order and without holes."""
    server = Server(list(ids), falls=falls, hungry=hungry)
    window = Window(order(falls=falls), len(ids) if counted else None)
    for place in places:
        first = min(place, max(0, window.total - 1))
        window.look(first, first + 30)
        settle(window, server)
        rows = seen(window, first, first + 30)
        assert None not in rows
        if rows:
            at = server.rows.index(rows[0])  # type: ignore[arg-type]
            assert rows == server.rows[at : at + len(rows)]
    window.look(0, 30)
    settle(window, server)
    assert seen(window, 0, 30) == server.rows[:30]


class LivingList(RuleBasedStateMachine):
    """Rows come and go while somebody scrolls about."""

    @initialize(amount=st.integers(0, 600), falls=st.booleans())
    def begin(self, amount: int, *, falls: bool) -> None:
        self.server = Server([2 * n for n in range(1, amount + 1)], falls=falls)
        self.window = Window(order(falls=falls), amount)
        self.newest = 2 * amount
        self.first = 0

    @rule(amount=st.integers(1, 150))
    def come(self, amount: int) -> None:
        new = range(self.newest + 1, self.newest + amount + 1)
        self.newest += amount
        self.server.rows = sorted([*self.server.rows, *new], reverse=self.server.falls)
        self.told()

    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        if self.server.rows:
            at = data.draw(st.integers(0, len(self.server.rows) - 1))
            del self.server.rows[at : at + 60]
            self.told()

    def told(self) -> None:
        self.window.count(len(self.server.rows))
        self.window.refresh()

    @rule(place=st.integers(0, 800))
    def scroll(self, place: int) -> None:
        self.first = min(place, max(0, self.window.total - 1))
        self.window.look(self.first, self.first + 25)

    @rule()
    def answer(self) -> None:
        ask = self.window.wanted() or self.window.asked
        if ask is not None:
            self.first = max(0, self.first + self.window.take(*self.server.page(ask)))

    @rule()
    def fail(self) -> None:
        if self.window.wanted() is not None:
            self.window.failed()

    @invariant()
    def holds_a_stretch_in_order(self) -> None:
        if hasattr(self, "window"):
            rows = self.window.rows
            assert rows == sorted(set(rows), reverse=self.server.falls)
            assert self.window.start >= 0
            assert self.window.total >= self.window.end

    def teardown(self) -> None:
        if hasattr(self, "window"):
            if self.window.asked is not None:
                self.window.take(*self.server.page(self.window.asked))
            self.told()
            self.window.look(0, 25)
            settle(self.window, self.server)
            assert seen(self.window, 0, 25) == self.server.rows[:25]


LivingList.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_a_living_list = pytest.mark.timeout(120)(LivingList.TestCase)
