"""A table that is as quick with a million rows as with ten: it draws what is visible, no more."""

from collections.abc import Sequence
from typing import ClassVar, Final

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from pytq.tui.cells import Line, Row
from pytq.tui.columns import Column
from pytq.tui.tables.listing import ListedRows, Order, Rows
from pytq.tui.widgets.rowpainter import BareLines, Places, RowPainter, State

_DOUBLE: Final = 2


class Table(ScrollView, can_focus=True):
    """A table: a cursor that stays on its row, marks, columns that go where room is short."""

    DEFAULT_CSS = """
    Table { height: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open", tooltip="open what the cursor is on"),
        Binding("up,k", "move(-1)", "up", show=False, tooltip="one row up"),
        Binding("down,j", "move(1)", "down", show=False, tooltip="one row down"),
        Binding("pageup,ctrl+b", "leaf(-1)", "page up", show=False, tooltip="one page up"),
        Binding("pagedown,ctrl+f", "leaf(1)", "page down", show=False, tooltip="one page down"),
        Binding("home,g", "first", "first", show=False, tooltip="to the first row"),
        Binding("end,G", "last", "last", show=False, tooltip="to the last row"),
    ]

    class Highlighted(Message):
        """The cursor is on another row, or on a row that has become another."""

        def __init__(self, table: "Table", key: str | int | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> "Table":
            """The table."""
            return self.table

    class Opened(Highlighted):
        """A row was opened: Enter, or a double click."""

    class Reordered(Message):
        """A column's title was clicked."""

        def __init__(self, table: "Table", column: str) -> None:
            super().__init__()
            self.table = table
            self.column = column

    class Looked(Message):
        """Other rows are visible now: from `first` to just before `last`."""

        def __init__(self, first: int, last: int, *, to_end: bool = False) -> None:
            super().__init__()
            self.first = first
            self.last = last
            self.to_end = to_end

        def can_replace(self, message: Message) -> bool:
            """Only where we look now matters."""
            return isinstance(message, Table.Looked) and (self.to_end or not message.to_end)

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        markable: bool = False,
        titled: bool = True,
        id: str | None = None,  # noqa: A002 - Textual's own word
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.columns = columns
        self.markable = markable
        self._header = 1 if titled else 0
        self.marks: set[str | int] = set()
        self.order: Order | None = None
        self.cursor = 0
        self._empty: Sequence[Line] = ()
        self._source: Rows = ListedRows.of(())
        self._key: str | int | None = None
        self._drawn: dict[int, Row | None] = {}
        self._places = Places(columns, 80)
        self._styles_cache = BareLines()
        self._painter: RowPainter | None = None
        self._restyled = False
        self._looked = (-1, -1)

    # --- rows

    @property
    def empty(self) -> Sequence[Line]:
        """What the table says while it has no rows."""
        return self._empty

    @empty.setter
    def empty(self, lines: Sequence[Line]) -> None:
        if lines != self._empty:
            self._empty = lines
            if not self._source.total:
                self.refresh()

    @property
    def rows(self) -> Rows:
        """Where the rows come from."""
        return self._source

    @property
    def key(self) -> str | int | None:
        """Whom the cursor is on."""
        row = self._source.row(self.cursor)
        return None if row is None else row.key

    @property
    def chosen(self) -> list[str | int]:
        """The marked rows, or else the one under the cursor."""
        if self.marks:
            return sorted(self.marks, key=str)
        return [] if self.key is None else [self.key]

    def show_rows(self, source: Rows, *, moved: int = 0) -> None:
        """Show other rows. The cursor stays on its row; `moved`: so far have all rows moved."""
        self._source = source
        self._follow(moved)
        self._resize()
        self._repaint_changed()
        self._say_looked()
        self._say_highlighted()

    def _follow(self, moved: int) -> None:
        """Keep the cursor on its row, and that row where it is on the screen."""
        at_top = self.cursor == 0 and self.scroll_offset.y == 0
        place = self.cursor + moved
        if self._key is not None and not at_top:
            found = self._source.find(self._key)
            place = place if found is None else found
        place = max(0, min(place, self._source.total - 1))
        shift = place - self.cursor
        self.cursor = place
        if shift:
            self._drawn.clear()
            self._set_height(self._source.total + self._header)
            self.scroll_to(y=self.scroll_offset.y + shift, animate=False, force=True)
            self.refresh()

    def _resize(self) -> None:
        height = self._source.total + self._header
        before = self.virtual_size.height
        if before == height:
            return
        self._set_height(height)
        if not self._source.total or before <= self._header:
            self.refresh()
        if self.scroll_offset.y > self.max_scroll_y:
            self.scroll_to(y=self.max_scroll_y, animate=False)

    def _set_height(self, height: int) -> None:
        """Tell the scroll bar, without laying out the whole screen anew as the reactive would."""
        size = Size(self.scrollable_content_region.width, height)
        self.set_reactive(Widget.virtual_size, size)
        self._scroll_update(size)

    def _repaint_changed(self) -> None:
        width = self.size.width
        first, last = self.in_sight
        for index in range(first, max(last, first + self._page)):
            row = self._source.row(index) if index < self._source.total else None
            if index not in self._drawn or self._drawn[index] != row:
                self.refresh(Region(0, index - first + self._header, width, 1))

    @property
    def _page(self) -> int:
        return max(1, self.scrollable_content_region.height - self._header)

    @property
    def in_sight(self) -> tuple[int, int]:
        """The rows that are visible: from the first to just before the second number."""
        first = self.scroll_offset.y
        return first, min(first + self._page, self._source.total)

    def _say_looked(self, *, to_end: bool = False) -> None:
        first, last = self.in_sight
        page = (first, max(last, first + self._page))
        if to_end or page != self._looked:
            self._looked = page
            self.post_message(self.Looked(*page, to_end=to_end))

    def _say_highlighted(self) -> None:
        key = self.key
        if key != self._key:
            self._key = key
            self.post_message(self.Highlighted(self, key))

    # --- moving

    def move_to(self, index: int) -> None:
        """Put the cursor on a row and show it."""
        index = max(0, min(index, self._source.total - 1))
        before, self.cursor = self.cursor, index
        self._reveal()
        for changed in {before, index}:
            self._repaint(changed)
        self._say_highlighted()

    def move_to_key(self, key: str | int) -> bool:
        """Put the cursor on that row, if it is known where it is."""
        found = self._source.find(key)
        if found is not None:
            self.move_to(found)
        return found is not None

    def _reveal(self) -> None:
        first = self.scroll_offset.y
        if self.cursor < first:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= first + self._page:
            self.scroll_to(y=self.cursor - self._page + 1, animate=False)

    def _repaint(self, index: int) -> None:
        y = index - self.scroll_offset.y + self._header
        if self._header <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def action_move(self, by: int) -> None:
        """Move the cursor by rows."""
        self.move_to(self.cursor + by)

    def action_leaf(self, by: int) -> None:
        """Move the cursor by pages."""
        self.move_to(self.cursor + by * max(1, self._page - 1))

    def action_first(self) -> None:
        """Move the cursor to the first row."""
        self.move_to(0)

    def action_last(self) -> None:
        """Move the cursor to the last row."""
        self.move_to(self._source.total - 1)
        self._say_looked(to_end=True)

    def action_open(self) -> None:
        """Open the row under the cursor."""
        if self.key is not None:
            self.post_message(self.Opened(self, self.key))

    # --- marks

    def mark(self) -> None:
        """Mark the row under the cursor, or no longer, and go on to the next."""
        if self.key is None:
            return
        self.marks ^= {self.key}
        self._repaint(self.cursor)
        self.move_to(self.cursor + 1)

    def mark_all(self, keys: Sequence[str | int]) -> None:
        """Mark these; if all of them are marked, none."""
        self.marks = set() if self.marks.issuperset(keys) else {*self.marks, *keys}
        self.refresh()

    def unmark(self) -> bool:
        """Take all marks away; tells whether there were any."""
        there = bool(self.marks)
        self.marks.clear()
        self.refresh()
        return there

    # --- mouse

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where it was clicked; a double click opens."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y < self._header:
            column = self._places.at(offset.x)
            if column is not None:
                self.post_message(self.Reordered(self, self.columns[column].key))
            return
        index = self.scroll_offset.y + offset.y - self._header
        if index < self._source.total:
            self.move_to(index)
            if event.chain == _DOUBLE:
                self.action_open()

    # --- painting

    def notify_style_update(self) -> None:
        """The theme has changed."""
        super().notify_style_update()
        self._restyled = True

    @property
    def painter(self) -> RowPainter:
        """What paints the rows: another one where it would paint them differently."""
        if self._painter is None or self._restyled:
            self._restyled = False
            fresh = RowPainter(self)
            if self._painter is None or fresh.inks != self._painter.inks:
                self._painter = fresh
        return self._painter

    def on_resize(self, _event: events.Resize) -> None:
        """Choose the columns anew."""
        self._fit()
        self._say_looked()

    def _fit(self) -> None:
        self._places = Places(self.columns, self.scrollable_content_region.width)
        self.refresh()

    def watch_show_vertical_scrollbar(self) -> None:
        """The scroll bar takes a cell, or gives it back."""
        self._fit()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Tell what is visible now."""
        super().watch_scroll_y(old_value, new_value)
        self._drawn.clear()
        self._say_looked()

    def on_focus(self) -> None:
        """The cursor is lively."""
        self._repaint(self.cursor)

    def on_blur(self) -> None:
        """The cursor rests."""
        self._repaint(self.cursor)

    def render_line(self, y: int) -> Strip:
        """Paint one line."""
        painter = self.painter
        width = self.size.width
        if y < self._header:
            return painter.titles(self.columns, self._places, self.order, width)
        index = self.scroll_offset.y + y - self._header
        row = self._source.row(index) if index < self._source.total else None
        self._drawn[index] = row
        if not self._source.total:
            y -= self._header + max(0, (self._page - len(self._empty)) // 3)
            return painter.middle(self._empty[y] if 0 <= y < len(self._empty) else (), width)
        if index >= self._source.total:
            return painter.middle((), width)
        state = State(
            at_cursor=index == self.cursor,
            lively=self.has_focus,
            marked=row is not None and row.key in self.marks,
        )
        return painter.row(self.columns, self._places, row, state, width)
