"""A pane of painted lines: what is on it is made by a pure function of its size."""

from collections.abc import Callable, Sequence

from textual import events
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from pytq.tui.cells import Line
from pytq.tui.widgets.painting import Palette, entitle

Painter = Callable[[int, int], Sequence[Line]]  # of a width and a height in cells


class Board(Widget):
    """Lines of tones, as many as there is room for."""

    DEFAULT_CSS = """
    Board {
        height: auto;
        &.framed { border: round $edge; border-title-color: $foreground; padding: 0 1;
                   border-subtitle-color: $dim; }
    }
    """

    def __init__(
        self,
        painter: Painter | None = None,
        *,
        title: str = "",
        id: str | None = None,  # noqa: A002 - Textual's own word
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._painter: Painter = painter or (lambda _width, _height: ())
        self._lines: Sequence[Line] = ()
        self._painted: Size | None = None
        self._palette: Palette | None = None
        if title:
            entitle(self, title)

    def show(self, painter: Painter) -> None:
        """Paint with another painter; only what looks different is sent to the terminal."""
        self._painter = painter
        self._painted = None
        if self.styles.is_auto_height and self.size.width:
            before = len(self._lines)
            self._paint(self.content_size)
            if len(self._lines) != before:
                self.refresh(layout=True)
                return
        else:
            before_lines = self._lines
            self._paint(self.content_size)
            if before_lines == self._lines:
                return
        self.refresh()

    def _paint(self, size: Size) -> None:
        if self._painted != size:
            self._lines = self._painter(size.width, size.height)
            self._painted = size

    def get_content_height(self, _container: Size, viewport: Size, width: int) -> int:
        """As many lines as the painter makes."""
        return max(1, len(self._painter(width, viewport.height)))

    def get_content_width(self, container: Size, _viewport: Size) -> int:
        """All there is."""
        return container.width

    def on_resize(self, _event: events.Resize) -> None:
        """Paint for the new size."""
        self._painted = None
        self.refresh()

    def notify_style_update(self) -> None:
        """The theme has changed."""
        super().notify_style_update()
        self._palette = None

    def render_line(self, y: int) -> Strip:
        """Paint one line."""
        size = self.content_size
        self._paint(size)
        palette = self._palette = self._palette or Palette(self)
        if y >= len(self._lines):
            return Strip.blank(size.width, palette.base)
        return palette.strip(self._lines[y], size.width)
