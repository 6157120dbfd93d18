"""Lines of tones as the terminal takes them: the theme's colours, cut to width, safe."""

from functools import cache
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.content import Content
from textual.strip import Strip
from textual.widget import Widget

from pytq.tui.cells import Bar, Cell, Line, Span, Tone, draw
from pytq.tui.theme import DARK, LIGHT, THEMES, colour

# What the theme calls the colour of a tone, and whether it is bold.
_TONES: Final[dict[Tone, tuple[str, bool | None]]] = {
    "plain": ("foreground", None),
    "dim": ("dim", None),
    "bold": ("foreground", True),
    "title": ("primary", True),
    "accent": ("accent", True),
    "good": ("success", None),
    "bad": ("error", True),
    "warn": ("warning", None),
    "busy": ("busy", None),
    "wait": ("wait", None),
    "odd": ("odd", None),
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


class Palette:
    """The theme's style of each tone, over a widget's own background.

    Made from the theme itself: component classes would be worked out anew for every widget, each
    time that its focus changes.
    """

    def __init__(self, widget: Widget) -> None:
        theme = widget.app.current_theme
        self._styles = _styles(theme.name, theme.dark)
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


@cache
def _styles(theme: str, dark: bool) -> dict[Tone, Style]:  # noqa: FBT001 - as the theme says it
    known = THEMES.get(theme, DARK if dark else LIGHT)
    return {
        tone: Style(color=colour(known, name), bold=bold) for tone, (name, bold) in _TONES.items()
    }


def shade(widget: Widget, name: str, share: float = 1.0) -> Style:
    """A colour of the theme as a background; with a share, mixed with the widget's own."""
    given = THEMES.get(widget.app.theme, DARK)
    mixed = widget.background_colors[1].blend(Color.parse(colour(given, name)), share)
    return Style(bgcolor=mixed.rich_color)
