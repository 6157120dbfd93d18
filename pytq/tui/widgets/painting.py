"""Lines of tones as the terminal takes them: the theme's colours, cut to width, safe."""

from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.strip import Strip
from textual.widget import Widget

from pytq.tui.cells import TONES, Bar, Cell, Line, Span, Tone, draw

# Every widget that paints tones has these component classes, and this much CSS for them.
COMPONENTS: Final = frozenset(f"tone--{tone}" for tone in TONES)
_COLOURS: Final[dict[Tone, str]] = {
    "plain": "color: $foreground;",
    "dim": "color: $dim;",
    "bold": "color: $foreground; text-style: bold;",
    "title": "color: $primary; text-style: bold;",
    "accent": "color: $accent; text-style: bold;",
    "good": "color: $success;",
    "bad": "color: $error; text-style: bold;",
    "warn": "color: $warning;",
    "busy": "color: $busy;",
    "wait": "color: $wait;",
    "odd": "color: $odd;",
}


def entitle(widget: Widget, title: str) -> None:
    """Write into a widget's upper frame; never markup, and no repainting for what is there."""
    content = Content(title) if title else None
    if widget.border_title != (None if content is None else content.markup):
        widget.border_title = content


def subtitle(widget: Widget, said: str) -> None:
    """Write into a widget's lower frame, likewise."""
    content = Content(said) if said else None
    if widget.border_subtitle != (None if content is None else content.markup):
        widget.border_subtitle = content


def css(widget: str) -> str:
    """The CSS that gives the tones of a widget class their colours."""
    rules = "".join(f"& > .tone--{tone} {{ {colour} }}\n" for tone, colour in _COLOURS.items())
    return f"{widget} {{\n{rules}}}\n"


class Palette:
    """The theme's style of each tone, for one widget; made anew when the theme changes."""

    def __init__(self, widget: Widget) -> None:
        self._styles: dict[Tone, Style] = {
            tone: widget.get_component_rich_style(f"tone--{tone}", partial=True) for tone in TONES
        }
        self.base = widget.rich_style

    def __getitem__(self, tone: Tone) -> Style:
        return self._styles[tone]

    def segments(
        self, cell: Cell, width: int, base: Style, *, right: bool = False
    ) -> list[Segment]:
        """A cell in exactly `width` cells of the terminal."""
        line = draw(cell, width) if isinstance(cell, Bar) else cell
        spans, used = _cut(line, width)
        made = [Segment(span.text, self._style(span, base)) for span in spans]
        if used < width:
            blank = Segment(" " * (width - used), base)
            made.insert(0, blank) if right else made.append(blank)
        return made

    def _style(self, span: Span, base: Style) -> Style:
        style = base + self._styles[span.tone]
        return style + Style.from_meta({"@click": span.act}) if span.act else style

    def strip(self, line: Line, width: int, base: Style | None = None) -> Strip:
        """A line in exactly `width` cells, as a widget's line."""
        return Strip(self.segments(line, width, base or self.base), width)


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _cut(line: Line, width: int) -> tuple[list[Span], int]:
    """As much of a line as fits, with a mark where something is cut off; and its width."""
    kept: list[Span] = []
    used = 0
    for span in line:
        size = _width(span.text)
        if used + size > width:
            room = width - used
            if room > 0:
                kept.append(span._replace(text=set_cell_size(span.text, room - 1) + "…"))
                used = width
            elif kept:
                last = kept[-1]
                kept[-1] = last._replace(text=set_cell_size(last.text, _width(last.text) - 1) + "…")
            break
        kept.append(span)
        used += size
    return kept, used
