"""The line in which people type what they look for."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input, Static


class FilterBar(Horizontal):
    """Hidden until somebody types `/`; stays for as long as something is filtered, or always."""

    DEFAULT_CSS = """
    FilterBar {
        height: 1;
        display: none;
        background: $panel;
        &.shown, &.always { display: block; layout: horizontal; }
        #slash { width: 3; color: $accent; text-style: bold; }
        Input { width: 1fr; background: $panel; border: none; height: 1; padding: 0; }
        #hint { width: auto; max-width: 60%; color: $dim; padding: 0 1; }
        #hint.-wrong { color: $error; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "clear", tooltip="clear the filter"),
        Binding("down", "done", "to the table", show=False, tooltip="back to the table"),
    ]

    class Changed(Message):
        """Something else is looked for."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Left(Message):
        """The table has the keys again."""

    def __init__(
        self, placeholder: str, suggester: Suggester | None = None, *, classes: str = ""
    ) -> None:
        super().__init__(classes=classes)
        self._placeholder = placeholder
        self._suggester = suggester
        self._said = ""

    def compose(self) -> ComposeResult:
        """A slash, the words, and what is wrong with them."""
        yield Static(" /", id="slash", markup=False)
        yield Input(placeholder=self._placeholder, compact=True, suggester=self._suggester)
        yield Static("", id="hint", markup=False)

    @property
    def text(self) -> str:
        """What is looked for."""
        return self.query_one(Input).value

    @text.setter
    def text(self, value: str) -> None:
        self.query_one(Input).value = value
        self.set_class(bool(value), "shown")

    def open(self) -> None:
        """Let somebody type."""
        self.add_class("shown")
        self.query_one(Input).focus()

    def hint(self, text: str, *, wrong: bool = False) -> None:
        """Say something about what was typed."""
        if text != self._said:
            self._said = text
            hint = self.query_one("#hint", Static)
            hint.update(text)
            hint.set_class(wrong, "-wrong")

    def clear(self) -> bool:
        """Look for nothing; tells whether anything was looked for."""
        there = bool(self.text)
        self.text = ""
        return there

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look for it while it is typed."""
        event.stop()
        self.post_message(self.Changed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enough."""
        event.stop()
        self.action_done()

    def action_leave(self) -> None:
        """Look for nothing any more."""
        self.clear()
        self.action_done()

    def action_done(self) -> None:
        """Give the keys back to the table, which comes next: at once, whatever key follows."""
        self.screen.focus_next()
        self.set_class(bool(self.text), "shown")
        self.post_message(self.Left())
