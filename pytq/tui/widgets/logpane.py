"""An output stream: follows its end, can be searched and wrapped, keeps what it may keep."""

import codecs
from typing import ClassVar, Final

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from pytq.schema import limits
from pytq.tui import words
from pytq.tui.widgets.painting import Palette, entitle, shade, subtitle

_KEPT_BYTES: Final = limits.OUTPUT_HEAD_BYTES + limits.OUTPUT_TAIL_BYTES + limits.CHUNK_BYTES
_LINE_CHARS: Final = 4_000  # of one line are shown


class LogPane(ScrollView, can_focus=True):
    """The lines of a stream. Nothing in them can act on the terminal."""

    DEFAULT_CSS = """
    LogPane {
        border: round $edge;
        border-title-color: $foreground;
        border-subtitle-color: $dim;
        padding: 0 0 0 1;
        width: 1fr;
        height: 1fr;
        scrollbar-size: 1 1;
        &:focus { border: round $primary; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "follow", tooltip="follow the end, or stay"),
        Binding("l", "wrap", "wrap", tooltip="break long lines, or not"),
        Binding("up,k", "scroll_up", "up", show=False, tooltip="one line up"),
        Binding("down,j", "scroll_down", "down", show=False, tooltip="one line down"),
        Binding("left", "scroll_left", "left", show=False, tooltip="to the left"),
        Binding("right", "scroll_right", "right", show=False, tooltip="to the right"),
        Binding("pageup", "page_up", "page up", show=False, tooltip="one page up"),
        Binding("pagedown,space", "page_down", "page down", show=False, tooltip="one page down"),
        Binding("home,g", "top", "top", show=False, tooltip="to the beginning"),
        Binding("end,G", "bottom", "end", show=False, tooltip="to the end, and follow it"),
    ]

    def __init__(self, name: str, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own word
        super().__init__(id=id)
        self.stream = name
        self.following = True
        self.wrapping = False
        self.sought = ""
        self.raw = bytearray()
        self.note = ""
        self._hint = ""
        self._reset()
        self._palette: Palette | None = None

    def _reset(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""  # of the last line, whose end has not come
        self._lines: list[str] = []
        self._rows: list[str] = []
        self._widest = 0
        self._found: list[int] = []
        self._here = -1
        self.raw.clear()

    @property
    def line_count(self) -> int:
        """How many lines there are."""
        return len(self._lines) + bool(self._rest)

    def clear(self) -> None:
        """Show another stream from its beginning."""
        self._reset()
        self._resize()
        self.refresh()

    def write(self, data: bytes) -> None:
        """More of the stream."""
        self.raw += data
        del self.raw[: max(0, len(self.raw) - _KEPT_BYTES)]
        had_rest = bool(self._rest)
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        if had_rest:
            self._take_rest_back()
        self._append([words.clean_line(one[:_LINE_CHARS]) for one in lines])
        self._lines += [words.clean_line(one[:_LINE_CHARS]) for one in lines]
        if self._rest:
            self._append([words.clean_line(self._rest[-_LINE_CHARS:])])
        self._resize()
        if self.sought:
            self._search()
        self.refresh()

    def tell(self, hint: str) -> None:
        """Something to say in the frame."""
        if hint != self._hint:
            self._hint = hint
            self._title()

    def skip(self, amount: int) -> None:
        """So many bytes of the stream were not kept."""
        self.write(f"\n… {words.size(amount)} were left out …\n".encode())

    def _append(self, lines: list[str]) -> None:
        for one in lines:
            rows = self._broken(one) if self.wrapping else [one]
            self._rows += rows
            self._rest_rows = len(rows)
            if not self.wrapping:
                self._widest = max(self._widest, len(one) if one.isascii() else cell_len(one))

    def _broken(self, line: str) -> list[str]:
        short = len(line) <= self._room and line.isascii()
        return [line] if short else chop_cells(line, self._room)

    def _take_rest_back(self) -> None:
        del self._rows[len(self._rows) - self._rest_rows :]

    @property
    def _room(self) -> int:
        return max(10, self.scrollable_content_region.width)

    def _rebuild(self) -> None:
        self._rows, self._widest = [], 0
        self._append(self._lines)
        if self._rest:
            self._append([words.clean_line(self._rest[-_LINE_CHARS:])])
        self._resize()
        self._search()
        self.refresh()

    def _resize(self) -> None:
        # Not through the reactive, which would lay out the whole screen anew for each line.
        size = Size(0 if self.wrapping else self._widest, len(self._rows))
        self.set_reactive(Widget.virtual_size, size)
        self._scroll_update(size)
        if self.following:
            self.scroll_end(animate=False, immediate=True, x_axis=False)
        self._title()

    def _title(self) -> None:
        if not self._rows:
            entitle(self, f"{self.stream}: nothing")
        else:
            size = words.size(len(self.raw))
            entitle(self, f"{self.stream}: {words.plural(self.line_count, 'line')}, {size}")
        said = [self.note] if self.note else []
        if self.sought:
            place = f"{self._here + 1} of " if self._here >= 0 else ""
            said.append(f"{place}{len(self._found)} × {words.clean(self.sought, 20)}")  # noqa: RUF001 - times
        if self._hint:
            said.append(self._hint)
        if self.following:
            said.append("following")
        subtitle(self, "  ".join(said))

    # --- keys

    def action_follow(self) -> None:
        """Follow the end, or stay."""
        self.following = not self.following
        self._resize()

    def action_wrap(self) -> None:
        """Break long lines, or not."""
        self.wrapping = not self.wrapping
        self.scroll_to(x=0, animate=False)
        self._rebuild()

    def action_top(self) -> None:
        """To the beginning."""
        self._stay()
        self.scroll_home(animate=False)

    def action_bottom(self) -> None:
        """To the end, and follow it."""
        self.following = True
        self._resize()

    def action_scroll_up(self) -> None:
        """One line up."""
        self._stay()
        self.scroll_to(y=self.scroll_offset.y - 1, animate=False)

    def action_scroll_down(self) -> None:
        """One line down."""
        self.scroll_to(y=self.scroll_offset.y + 1, animate=False)

    def action_page_up(self) -> None:
        """One page up."""
        self._stay()
        self.scroll_to(y=self.scroll_offset.y - self.size.height + 1, animate=False)

    def action_page_down(self) -> None:
        """One page down."""
        self.scroll_to(y=self.scroll_offset.y + self.size.height - 1, animate=False)

    def on_mouse_scroll_up(self, _event: events.MouseScrollUp) -> None:
        """Who looks back does not want to be carried away."""
        self._stay()

    def _stay(self) -> None:
        if self.following:
            self.following = False
            self._title()

    # --- searching

    def seek(self, text: str) -> None:
        """Find text, from the end backwards; case does not matter."""
        self.sought = text
        self._here = -1
        self._search()
        if self._found:
            self.go(-1)
        self._title()
        self.refresh()

    def _search(self) -> None:
        wanted = self.sought.lower()
        found = [i for i, row in enumerate(self._rows) if wanted in row.lower()]
        self._found = found if wanted else []
        if self._here >= len(self._found):
            self._here = -1

    def go(self, by: int) -> None:
        """To the next place where it was found, or the one before."""
        if not self._found:
            return
        last = len(self._found) - 1
        self._here = (self._here + by) % len(self._found) if self._here >= 0 else last
        self._stay()
        row = self._found[self._here]
        self.scroll_to(y=max(0, row - self.size.height // 2), animate=False)
        self._title()
        self.refresh()

    # --- painting

    def notify_style_update(self) -> None:
        """The theme has changed."""
        super().notify_style_update()
        self._palette = None

    def on_resize(self, _event: events.Resize) -> None:
        """Wrap anew."""
        if self.wrapping:
            self._rebuild()
        elif self.following:
            self._resize()

    def render_line(self, y: int) -> Strip:
        """Paint one line."""
        palette = self._palette = self._palette or Palette(self)
        x, top = self.scroll_offset
        width, index = self.size.width, top + y
        if index >= len(self._rows):
            return Strip.blank(width, palette.base)
        base = palette.base + palette["plain"]
        if self._here >= 0 and self._found and self._found[self._here] == index:
            base += shade(self, "cursor")
        strip = Strip(self._segments(self._rows[index], base, palette))
        if strip.cell_length > x + width:
            cut = Strip([Segment("…", base + palette["accent"])])
            return Strip.join([strip.crop(x, x + width - 1), cut])
        return strip.crop_extend(x, x + width, base)

    def _segments(self, row: str, base: Style, palette: Palette) -> list[Segment]:
        wanted = self.sought.lower()
        if not wanted or wanted not in (low := row.lower()) or len(low) != len(row):
            return [Segment(row, base)]
        found = base + Style(reverse=True) + palette["accent"]
        made: list[Segment] = []
        start = 0
        while (at := low.find(wanted, start)) >= 0:
            made += [Segment(row[start:at], base), Segment(row[at : at + len(wanted)], found)]
            start = at + len(wanted)
        return [*made, Segment(row[start:], base)]
