"""Help: every key there is, made from the bindings themselves."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Static

from pytq.tui import looks
from pytq.tui.screens.asking import Ask
from pytq.tui.screens.page import Page
from pytq.tui.widgets.chrome import display
from pytq.tui.widgets.painting import entitle

_SIGNS: Final[tuple[tuple[str, Mapping[Any, looks.Look]], ...]] = (
    ("tasks", looks.TASK),
    ("executions", looks.PHASE),
    ("workers", looks.WORKER),
)


class Help(Ask[None]):
    """The keys of one screen, of what has the focus, and of everywhere."""

    # Nothing shines through: to mix that anew with every change below is what takes longest.
    LAYOUT: ClassVar[str] = """
    Help { background: $background; }
    Help #box { width: 84; height: 90%; padding: 0 2; border-title-color: $foreground; }
    Help VerticalScroll { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,question_mark", "cancel", "close", tooltip="close"),
    ]

    def __init__(self, screen: Screen[object]) -> None:
        super().__init__()
        self._about = screen

    def compose(self) -> ComposeResult:
        """A long text, to scroll."""
        with Vertical(id="box") as box:
            entitle(box, "Keys")
            yield VerticalScroll(Static(described(self._about), markup=False))

    def on_mount(self) -> None:
        """The keys scroll."""
        self.query_one(VerticalScroll).focus()


def described(screen: Screen[object]) -> Text:
    """Every key that acts on a screen, each with what it does."""
    said = Text()
    if isinstance(screen, Page):
        said.append(f"\n{screen.WHAT}\n")
    for title, keys in _sections(screen):
        said.append(f"\n{title}\n", style="bold underline")
        for shown, does in keys:
            said.append(f"  {shown:<13} ", style="bold")
            said.append(f"{does}\n")
    said.append("\nWhat the signs mean\n", style="bold underline")
    for kind, table in _SIGNS:
        marks = "  ".join(f"{look.glyph} {look.word}" for look in table.values())
        said.append(f"  {kind:<12}", style="bold")
        said.append(f"{marks}\n")
    return said


def _sections(screen: Screen[object]) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    nodes: dict[DOMNode, dict[str, tuple[list[str], str]]] = {}
    # The keys that the last line shows come first.
    for active in sorted(screen.active_bindings.values(), key=lambda one: not one.binding.show):
        binding = active.binding
        if binding.tooltip and not binding.system:
            known = nodes.setdefault(active.node, {})
            known.setdefault(binding.action, ([], binding.tooltip))[0].append(display(binding))
    # What the screen is for comes first, then what has the focus, then what works everywhere.
    for node in sorted(nodes, key=lambda node: (node is screen.app, node is not screen)):
        title = "Everywhere" if node is screen.app else "Here" if node is screen else _named(node)
        yield title, [(" ".join(keys), does) for keys, does in nodes[node].values()]


def _named(node: DOMNode) -> str:
    return {"Table": "In the table", "LogPane": "In the output"}.get(
        type(node).__name__, "In the field"
    )
