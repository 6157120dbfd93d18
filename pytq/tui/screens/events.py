"""Events: what happened, to whom, through whom; the latest first."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

from textual import work
from textual.message import Message

from pytq.schema.problems import PytqError
from pytq.schema.queries import EventFilter
from pytq.schema.views import EventView
from pytq.tui import acts
from pytq.tui.cells import Line, Row, line, text
from pytq.tui.columns import Column
from pytq.tui.filters import matches
from pytq.tui.messages import ShowBatch, ShowTask, ShowWorkers
from pytq.tui.model import Kind
from pytq.tui.screens.listpage import ListPage
from pytq.tui.tables import events
from pytq.tui.tables.listing import ListedRows, Listing, Order
from pytq.tui.widgets.filterbar import FilterBar
from pytq.tui.widgets.table import Table

_OLDER: Final = 500
_OLDER_KEPT: Final = 20_000


class EventsPage(ListPage):
    """The store's events, and older ones as somebody scrolls down to them."""

    PLACE = "events"
    WHAT = "Events, the latest first; scroll down for older ones. Enter opens what one is about."
    KINDS: ClassVar[frozenset[Kind]] = frozenset({"events"})
    FIRST_ORDER = Order("")
    MARKABLE = False
    FILTER = "words of what happened, to whom or through whom"

    def __init__(self) -> None:
        super().__init__()
        self._older: list[EventView] = []  # newest first, older than the store's
        self._at_end = False

    @property
    def listing(self) -> Listing[Any]:
        """The columns of events; the rows are made below."""
        return _LISTING

    def show_rows(self) -> None:
        """Show what a filter finds, the latest first."""
        wanted = self.query_one(FilterBar).text
        shown = [one for one in self._all() if matches(wanted, events.says(one))]
        self.table.empty = self.empty()
        self.table.show_rows(ListedRows(shown, lambda event: event.id, events.row))

    def _all(self) -> Iterable[EventView]:
        first = self.at.store.events[0].id if self.at.store.events else 0
        yield from reversed(self.at.store.events)
        yield from (one for one in self._older if one.id < first)

    def empty(self) -> Sequence[Line]:
        """Nothing yet, or nothing that fits."""
        if self.at.store.events:
            return (text("no event fits the filter", "bold"), line("esc clears it"))
        return (text("nothing has happened yet", "bold"),)

    def on_table_looked(self, message: Table.Looked) -> None:
        """Who comes near the end gets older ones."""
        near = message.last + _OLDER // 10 >= self.table.rows.total
        if near and not self._at_end and len(self._older) < _OLDER_KEPT:
            self._fetch_older()

    @work(exclusive=True, group="events")
    async def _fetch_older(self) -> None:
        known = self._older or self.at.store.events[:1]
        if not known:
            return
        query = EventFilter(limit=_OLDER, after=str(min(one.id for one in known)))
        try:
            page = await self.cockpit.client.list_events(query)
        except PytqError as error:
            self.cockpit.say(acts.told(error), warn=True)
            return
        self._older += page.items
        self._at_end = page.next is None
        self.show_rows()

    def on_table_opened(self, message: Table.Opened) -> None:
        """What the event is about."""
        event = next((one for one in self._all() if one.id == message.key), None)
        target = None if event is None else _about(event)
        if target is not None:
            self.post_message(target)

    def exported(self) -> tuple[str, Sequence[Column], Iterable[Row]] | None:
        """The events that are here."""
        wanted = self.query_one(FilterBar).text
        rows = [events.row(one) for one in self._all() if matches(wanted, events.says(one))]
        return self.PLACE, events.COLUMNS, rows


def _about(event: EventView) -> Message | None:
    if event.task is not None:
        return ShowTask(event.task)
    if event.worker is not None:
        return ShowWorkers(event.worker)
    return ShowBatch(event.batch) if event.batch else None


_LISTING: Final[Listing[Any]] = Listing(
    columns=events.COLUMNS,
    things=lambda store: store.events,
    key=lambda event: event.id,
    says=events.says,
    cells=lambda event, _: events.row(event).cells,
    by={},
)
