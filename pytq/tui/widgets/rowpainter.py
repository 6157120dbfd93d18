"""How the lines of a table are painted."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual._styles_cache import StylesCache
from textual.cache import FIFOCache
from textual.css.styles import StylesBase
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from pytq.tui.cells import Line, Row, Span
from pytq.tui.columns import Column, fit, gap
from pytq.tui.tables.listing import Order
from pytq.tui.widgets.painting import Palette, shade

_GUTTER: Final = 2
_MARKED: Final = 0.18  # of the accent is mixed into the background
_UNDERLINED: Final = Style(underline=True)  # where there is no room for an arrow
_LOADING: Final[Line] = (Span("…", "dim"),)
_KEPT: Final = 512  # painted rows: some screens full of them


class State(NamedTuple):
    """What is special about a row."""

    at_cursor: bool
    lively: bool  # the table has the keys
    marked: bool


class Places:
    """Where the columns are, in a table of some width."""

    def __init__(self, columns: Sequence[Column], width: int) -> None:
        self.gap = gap(width - _GUTTER)
        self.placed = fit(columns, width - _GUTTER)

    def at(self, x: int) -> int | None:
        """Which column is there."""
        left = _GUTTER
        for column, width in self.placed:
            if left <= x < left + width + self.gap:
                return column
            left += width + self.gap
        return None


class BareLines(StylesCache):
    """Takes the lines of a table without a frame as they are.

    Textual would copy each, and with it what it keeps of a line: cut, coloured and made into the
    terminal's bytes, which is most of the work.
    """

    def render_line(
        self,
        styles: StylesBase,
        y: int,
        size: Size,
        content_size: Size,
        *rest: Any,
    ) -> Strip:
        """One line."""
        if size == content_size:
            paint: Callable[[int], Strip] = rest[3]
            return paint(y).adjust_cell_length(size.width)
        return super().render_line(styles, y, size, content_size, *rest)


class RowPainter:
    """Paints with the theme's styles of one table; what it has painted it keeps for a while."""

    def __init__(self, table: Widget) -> None:
        palette = self._palette = Palette(table)
        bold = Style(bold=True)
        self._titles = palette.base + palette["dim"] + bold
        self._ordered = palette.base + palette["title"]
        self._shades = {
            "cursor": shade(table, "cursor") + bold,
            "resting": shade(table, "panel"),
            "marked": shade(table, "accent", _MARKED),
        }
        self.inks = (table.app.theme, self._palette.base, *self._shades.values())
        self._painted: FIFOCache[tuple[Row | None, State], Strip] = FIFOCache(_KEPT)
        self._painted_for: tuple[Places, int] | None = None

    def titles(
        self, columns: Sequence[Column], places: Places, order: Order | None, width: int
    ) -> Strip:
        """The line of titles; the one that the table is ordered by stands out."""
        made = [Segment(" " * _GUTTER, self._titles)]
        for index, size in places.placed:
            column, style, title = columns[index], self._titles, columns[index].title
            if order is not None and order.column == column.key:
                fits = len(title) < size
                title += ("▲" if order.turned else "▼") * fits
                style = self._ordered if fits else self._ordered + _UNDERLINED
            title = title.rjust(size) if column.right else title.ljust(size)
            made += [Segment(title, style), Segment(" " * places.gap, self._titles)]
        return Strip(made).adjust_cell_length(width, self._palette.base)

    def middle(self, line: Line, width: int) -> Strip:
        """A line in the middle of a table without rows."""
        room = max(0, width - sum(len(span.text) for span in line)) // 2
        return self._palette.strip((Span(" " * room), *line), width)

    def row(
        self, columns: Sequence[Column], places: Places, row: Row | None, state: State, width: int
    ) -> Strip:
        """A row; None is one that is on its way."""
        if self._painted_for != (places, width):
            self._painted_for = (places, width)
            self._painted.clear()
        strip = self._painted.get((row, state))
        if strip is None:
            strip = self._painted[row, state] = self._paint(columns, places, row, state, width)
        return strip

    def _paint(
        self, columns: Sequence[Column], places: Places, row: Row | None, state: State, width: int
    ) -> Strip:
        base, gutter = self._looks(state)
        made = self._palette.segments(gutter, _GUTTER, base)
        if row is None:
            made += self._palette.segments(_LOADING, max(0, width - _GUTTER), base)
            return Strip(made, width)
        between = Segment(" " * places.gap, base)
        for column, size in places.placed:
            cell, right = row.cells[column], columns[column].right
            made += self._palette.segments(cell, size, base, right=right)
            made.append(between)
        return Strip(made).adjust_cell_length(width, base)

    def _looks(self, state: State) -> tuple[Style, Line]:
        base = self._palette.base
        if state.marked:
            base += self._shades["marked"]
        if state.at_cursor:
            base += self._shades["cursor" if state.lively else "resting"]
        if state.marked:
            return base, (Span("◆", "accent"),)
        return base, (Span("▌" if state.at_cursor else " ", "title"),)
