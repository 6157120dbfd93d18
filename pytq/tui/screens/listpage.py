"""A page that is one table over what the store holds, with a filter, marks and an order."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from pytq.tui.cells import Line, Row, plain
from pytq.tui.columns import Column
from pytq.tui.model import Kind
from pytq.tui.screens.page import Page
from pytq.tui.tables.listing import ListedRows, Listing, Order
from pytq.tui.widgets.filterbar import FilterBar
from pytq.tui.widgets.table import Table


class ListPage(Page):
    """One table."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", tooltip="show only rows with these words"),
        Binding("space", "mark", "mark", tooltip="mark the row, to act on several at once"),
        Binding("a", "mark_all", "mark all", show=False, tooltip="mark all rows, or none"),
        Binding("o", "order", "order", show=False, tooltip="order by the next column"),
        Binding("O", "turn", "turn round", show=False, tooltip="turn the order round"),
        Binding("escape", "back", "back", show=False, tooltip="take back marks and the filter"),
    ]
    AUTO_FOCUS = "Table"  # else it is the filter, and takes the first key
    KINDS: ClassVar[frozenset[Kind]] = frozenset()  # what touches the table
    FIRST_ORDER: ClassVar[Order] = Order("")
    MARKABLE: ClassVar[bool] = True
    FILTER: ClassVar[str] = "words"

    def __init__(self) -> None:
        super().__init__()
        self.order = self.FIRST_ORDER

    @property
    def listing(self) -> Listing[Any]:
        """The table's rows and columns."""
        raise NotImplementedError

    def body(self) -> Iterable[Widget]:
        """A filter and the table, and what is below them."""
        yield FilterBar(self.FILTER)
        yield Table(self.listing.columns, markable=self.MARKABLE)
        yield from self.below()

    def below(self) -> Iterable[Widget]:
        """What is below the table."""
        return ()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where rows cannot be marked, no key offers it."""
        if action in ("mark", "mark_all") and not self.MARKABLE:
            return False
        return super().check_action(action, parameters)

    @property
    def table(self) -> Table:
        """The table."""
        return self.query_one(Table)

    @property
    def chosen(self) -> list[str]:
        """Those that are marked, or else the one under the cursor."""
        return [str(key) for key in self.table.chosen]

    def on_mount(self) -> None:
        """The table has the keys."""
        self.table.order = self.order
        self.table.focus()
        super().on_mount()

    def show(self, touched: frozenset[Kind]) -> None:
        """Show the rows as they are now."""
        if touched & self.KINDS:
            self.show_rows()

    def show_rows(self) -> None:
        """Filter, order and show the rows."""
        table = self.table
        table.empty = self.empty()
        rows = self.listing.rows(self.at, self.query_one(FilterBar).text, self.order)
        table.marks &= set(rows.keys())
        table.show_rows(rows)

    def empty(self) -> Sequence[Line]:
        """What an empty table says, and which key helps."""
        return ()

    # --- finding

    def look_for(self, text: str) -> None:
        """Filter by these words."""
        self.query_one(FilterBar).text = text
        self.table.focus()
        self.show_rows()

    def on_filter_bar_changed(self, _message: FilterBar.Changed) -> None:
        """Show what is found while it is typed."""
        self.show_rows()

    def on_filter_bar_left(self, _message: FilterBar.Left) -> None:
        """Back to the table."""
        self.table.focus()

    def on_table_reordered(self, message: Table.Reordered) -> None:
        """A title was clicked: order by it, or turn round."""
        if message.column in self._sortable():
            turned = self.order.column == message.column and not self.order.turned
            self._order_by(Order(message.column, turned))

    def _sortable(self) -> list[str]:
        listing = self.listing
        first = listing.columns[0].key
        return [c.key for c in listing.columns if c.key in listing.by or c.key == first]

    def _order_by(self, order: Order) -> None:
        self.order = self.table.order = order
        self.show_rows()
        self.table.refresh()

    # --- actions

    def action_filter(self) -> None:
        """Type what to look for."""
        self.query_one(FilterBar).open()

    def action_mark(self) -> None:
        """Mark the row."""
        self.table.mark()

    def action_mark_all(self) -> None:
        """Mark all rows, or none."""
        rows = self.table.rows
        if isinstance(rows, ListedRows):
            self.table.mark_all(rows.keys())

    def action_order(self) -> None:
        """Order by the next column."""
        columns = self._sortable()
        here = columns.index(self.order.column) if self.order.column in columns else -1
        self._order_by(Order(columns[(here + 1) % len(columns)]))
        title = next(c.title for c in self.listing.columns if c.key == self.order.column)
        self.cockpit.say(f"ordered by {title.lower()}; O turns it round")

    def action_turn(self) -> None:
        """Turn the order round."""
        self._order_by(Order(self.order.column, not self.order.turned))

    def action_back(self) -> None:
        """Take back marks, then the filter."""
        if not self.table.unmark():
            self.query_one(FilterBar).clear()

    # --- taking away

    def copied(self) -> str:
        """The row under the cursor, cell by cell."""
        row = self.table.rows.row(self.table.cursor)
        return "" if row is None else "\t".join(plain(cell) for cell in row.cells)

    def exported(self) -> tuple[str, Sequence[Column], Iterable[Row]] | None:
        """All rows of the table."""
        rows = self.listing.rows(self.at, self.query_one(FilterBar).text, self.order)
        return self.PLACE, self.listing.columns, rows.all()
