"""What frames every screen: the first two lines, the banner, the last line."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import Screen
from textual.widget import Widget

from pytq.tui import bars
from pytq.tui.cells import Span
from pytq.tui.model import Store
from pytq.tui.widgets.board import Board


class Top(Vertical):
    """Where one is, how things stand and, while the server is away, that it is."""

    DEFAULT_CSS = """
    Top {
        height: auto;
        dock: top;
        Board { height: 1; }
        #top { background: $surface; }
        #away { background: $error 25%; display: none; &.shown { display: block; } }
    }
    """

    def compose(self) -> ComposeResult:
        """Three lines."""
        yield Board(id="top")
        yield Board(id="counts")
        yield Board(id="away")

    def show(self, store: Store, here: str, address: str, now: float) -> None:
        """Show how things stand now."""
        self.query_one("#top", Board).show(
            lambda width, _: (bars.top(store, here, address, now, width),)
        )
        self.query_one("#counts", Board).show(lambda width, _: (bars.counts(store, width),))
        banner = self.query_one("#away", Board)
        banner.set_class(store.link.state == "away", "shown")
        banner.show(
            lambda width, _: ((Span(f" ▲ {bars.away(store, now, address, width - 3)}", "bad"),),)
        )


class KeyBar(Board):
    """The keys of what has the focus, then those of the screen: as many as there is room for."""

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $surface; }
    """

    def on_mount(self) -> None:
        """Follow the focus."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_updated)

    def _bindings_updated(self, screen: Screen[object]) -> None:
        if screen is self.screen and screen.is_current:
            found = shown_keys(screen)
            self.show(lambda width, _: (bars.keys(found, width),))


def shown_keys(screen: Screen[object]) -> list[bars.Key]:
    """The keys of a screen that its last line shows, those of the focused widget first."""
    nodes: dict[Widget | object, list[Binding]] = {}
    for active in screen.active_bindings.values():
        if active.enabled and active.binding.show and not active.binding.system:
            nodes.setdefault(active.node, []).append(active.binding)
    found: list[bars.Key] = []
    seen: set[str] = set()
    for node in sorted(nodes, key=lambda node: (node is screen.app, node is screen)):
        for binding in nodes[node]:
            if binding.action not in seen:
                seen.add(binding.action)
                act = f"app.simulate_key('{binding.key}')"
                found.append(bars.Key(display(binding), binding.description, act))
    return found


_DISPLAY = {
    "enter": "⏎",
    "escape": "esc",
    "space": "space",
    "plus": "+",
    "minus": "-",
    "slash": "/",
    "question_mark": "?",
    "colon": ":",
    "greater_than_sign": ">",
    "less_than_sign": "<",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "asterisk": "*",
    "up": "↑",
    "down": "↓",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
    "equals_sign": "=",
    "left": "←",
    "right": "→",
}


def display(binding: Binding) -> str:
    """A binding's key as people know it."""
    return binding.key_display or _DISPLAY.get(binding.key, binding.key)
