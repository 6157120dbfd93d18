"""Questions: each says how much it touches, and does nothing unless it is answered."""

import re
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

T = TypeVar("T")


class Ask(ModalScreen[T], Generic[T]):
    """A box in the middle of the screen."""

    DEFAULT_CSS = """
    Ask {
        align: center middle;
        background: $background 60%;
        #box {
            width: 72; max-width: 94%; height: auto; max-height: 90%;
            background: $surface; border: round $primary; padding: 1 2;
        }
        &.-grave #box { border: round $error; }
        #box > Static { height: auto; }
        #box > .note { color: $dim; margin-top: 1; }
        #box > .wrong { color: $error; text-style: bold; height: auto; }
        #buttons { height: auto; margin-top: 1; align-horizontal: right; }
        Button { margin-left: 2; min-width: 8; }
        Input { margin-top: 1; border: round $edge; background: $surface; }
        Input:focus { border: round $primary; }
        OptionList { margin-top: 1; height: auto; max-height: 14; border: none;
                     background: $surface; padding: 0; &:focus { border: none; } }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", tooltip="change nothing"),
    ]

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(None)


class Confirm(Ask[bool]):
    """Yes or no; what is under the finger says no. `word` must be typed where all is lost."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "yes", tooltip="do it"),
        Binding("n", "cancel", "no", tooltip="change nothing"),
        Binding("left,right", "other", "other button", show=False),
    ]

    def __init__(
        self, question: str, *, note: str = "", yes: str = "Yes", word: str = "", grave: bool = True
    ) -> None:
        super().__init__(classes="-grave" if grave else "")
        self.question = question
        self.note = note
        self.yes = yes
        self.word = word

    def compose(self) -> ComposeResult:
        """The question, what to know, and two buttons."""
        with Vertical(id="box"):
            yield Static(Text(self.question, style="bold"))
            if self.note:
                yield Static(Text(self.note), classes="note")
            if self.word:
                yield Static(Text(f"Type {self.word} to go on:"), classes="note")
                yield Input()
            with Horizontal(id="buttons"):
                yield Button("No", id="no", compact=True)
                yield Button(
                    self.yes, id="yes", compact=True, variant="error", disabled=bool(self.word)
                )

    def on_mount(self) -> None:
        """No is under the finger."""
        self.query_one(Input if self.word else "#no").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Only the right word opens the way."""
        self.query_one("#yes", Button).disabled = event.value != self.word

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The word and Enter are a yes."""
        if event.value == self.word:
            self.dismiss(True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button was pressed."""
        self.dismiss(event.button.id == "yes")

    def action_yes(self) -> None:
        """Do it, unless a word has to be typed."""
        if not self.word:
            self.dismiss(True)

    def action_other(self) -> None:
        """To the other button."""
        self.focus_next("Button")

    def action_cancel(self) -> None:
        """Change nothing."""
        self.dismiss(False)


class Prompt(Ask[str]):
    """One line of text, with what others have typed before."""

    def __init__(
        self,
        question: str,
        *,
        value: str = "",
        known: Sequence[str] = (),
        note: str = "",
        pattern: str = "",
    ) -> None:
        """`pattern`: what can be taken; anything else is not let through."""
        super().__init__()
        self.question = question
        self.value = value
        self.known = known
        self.note = note
        self.pattern = pattern

    def compose(self) -> ComposeResult:
        """The question, the line, and what is known."""
        with Vertical(id="box"):
            yield Static(Text(self.question, style="bold"))
            suggester = SuggestFromList(self.known, case_sensitive=True) if self.known else None
            yield Input(self.value, suggester=suggester)
            note = self.note or ("→ completes: " + ", ".join(self.known) if self.known else "")
            if note:
                yield Static(Text(note, no_wrap=True, overflow="ellipsis"), classes="note")
            yield Static("", id="wrong", classes="wrong", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Done, if it can be taken."""
        value = event.value.strip()
        if value and self.pattern and not re.search(self.pattern, value):
            said = "letters, digits and . _ + @ - only, and a letter or digit first"
            self.query_one("#wrong", Static).update(said)
            return
        self.dismiss(value or None)


class Choose(Ask[str]):
    """One of a few; each has a letter of its own."""

    def __init__(self, question: str, options: Sequence[tuple[str, str, str]]) -> None:
        """`options`: what is answered, the key for it, and what it says."""
        super().__init__()
        self.question = question
        self.options = options
        for answer, key, _ in options:
            self._bindings.bind(key, f"choose('{answer}')", answer, show=False)

    def compose(self) -> ComposeResult:
        """The question and the choices."""
        with Vertical(id="box"):
            yield Static(Text(self.question, style="bold"))
            yield OptionList(
                *(
                    Option(Text.assemble((f" {key} ", "bold reverse"), f"  {says}"), id=answer)
                    for answer, key, says in self.options
                ),
                markup=False,
            )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter, or a click."""
        self.dismiss(event.option_id)

    def action_choose(self, answer: str) -> None:
        """Its letter."""
        self.dismiss(answer)
