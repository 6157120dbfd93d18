"""A box to tick that can be told apart without colours."""

from textual.widgets import Checkbox

_MARK = {True: "[x]", False: "[ ]"}


class Tick(Checkbox):
    """`[x]` or `[ ]`, and what it means."""

    DEFAULT_CSS = """
    Tick {
        border: none; padding: 0; height: 1; width: auto; background: $surface;
        &:focus { border: none; }
        & > .toggle--button, &.-on > .toggle--button, &:focus > .toggle--button {
            color: $accent; background: $surface;
        }
    }
    """
    BUTTON_LEFT = ""
    BUTTON_RIGHT = ""

    def __init__(self, says: str, value: bool, *, name: str) -> None:  # noqa: FBT001 - as Textual's
        """`name`: its id."""
        super().__init__(says, value, id=name, compact=True)
        self.BUTTON_INNER = _MARK[value]

    def watch_value(self) -> None:
        """Tick it, or no longer."""
        self.BUTTON_INNER = _MARK[self.value]
        super().watch_value()
