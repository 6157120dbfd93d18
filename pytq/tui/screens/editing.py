"""Changing a task: a form that takes nothing the server would not take."""

import shlex
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import ValidationError
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, Label, Static, TextArea

from pytq.schema.tasks import Command
from pytq.schema.views import TaskUpdate, TaskView
from pytq.tui import words
from pytq.tui.screens.asking import Ask
from pytq.tui.widgets.tick import Tick

Changed = tuple[TaskUpdate, TaskUpdate, bool]  # the change, what undoes it, and whether to rerun


class Edit(Ask[Changed]):
    """The fields of a task that may change."""

    AUTO_FOCUS = "TextArea"  # at once, so that the first key is not another field's
    LAYOUT: ClassVar[str] = """
    Edit {
        #box { width: 92; padding: 0 2 1 2; }
        .row { height: 3; layout: horizontal; }
        .row Label { padding: 1 1 0 0; color: $dim; width: auto; }
        .row Input { width: 1fr; margin: 0 1 0 0; }
        #name { width: 2fr; }
        TextArea { height: 6; border: round $edge; background: $surface; padding: 0; }
        TextArea:focus { border: round $primary; }
        Tick { margin: 0 0 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save(False)", "save", priority=True, tooltip="change it"),
        Binding("ctrl+r", "save(True)", "save and run", priority=True, tooltip="change and run it"),
    ]

    def __init__(self, task: TaskView, batches: Sequence[str], *, ended: bool) -> None:
        super().__init__()
        self._view = task
        self._batches = batches
        self._ended = ended

    @property
    def _command(self) -> Command | None:
        steps = self._view.spec.steps
        return steps[0].command if len(steps) == 1 else None

    def compose(self) -> ComposeResult:
        """The form."""
        view, command = self._view, self._command
        with Vertical(id="box"):
            yield Static(Text(f"Change task {view.id}", style="bold"))
            with Horizontal(classes="row"):
                yield Label("name")
                yield Input(view.name or "", id="name")
                yield Label("batch")
                yield Input(view.batch, id="batch", suggester=SuggestFromList(self._batches))
            with Horizontal(classes="row"):
                yield Label("priority")
                yield Input(str(view.priority), id="priority", type="integer")
                yield Label("retries")
                yield Input(str(view.retries), id="retries", type="integer")
            if command is None:
                text = "It has several steps; those can only be queued anew."
                yield Static(text, classes="note", markup=False)
            else:
                shell = isinstance(command, str)
                yield TextArea(words.one_command(command), id="command", soft_wrap=True)
                yield Tick("run it by /bin/sh", shell, name="shell")
            yield Static("", id="wrong", classes="wrong", markup=False)
            with Horizontal(id="buttons"):
                yield Button("Cancel", id="no", compact=True)
                variant: Literal["default", "primary"] = "default" if self._ended else "primary"
                yield Button("Save", id="save", variant=variant, compact=True)
                if self._ended:
                    yield Button("Save and run again", id="again", variant="primary", compact=True)

    def on_mount(self) -> None:
        """The command is what people come for."""
        self.query_one("#name" if self._command is None else "#command").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button was pressed."""
        if event.button.id == "no":
            self.dismiss(None)
        else:
            self.action_save(event.button.id == "again")

    def action_save(self, again: bool) -> None:  # noqa: FBT001 - an action's argument has no name
        """Take the change, if there is one and it can be taken."""
        try:
            given = self._given()
            changed = {key: value for key, value in given.items() if value != self._was(key)}
            change = TaskUpdate.model_validate(changed)
        except ValidationError as error:
            first = error.errors()[0]
            self._wrong(f"{first['loc'][0]}: {first['msg']}")
        except ValueError as error:
            self._wrong(str(error))
        else:
            before = TaskUpdate.model_validate({key: self._was(key) for key in changed})
            if changed or again:
                self.dismiss((change, before, again and self._ended))
            else:
                self._wrong("nothing was changed")

    def _wrong(self, text: str) -> None:
        self.query_one("#wrong", Static).update(words.clean(text))

    def _was(self, key: str) -> Any:
        return self._command if key == "command" else getattr(self._view, key)

    def _given(self) -> dict[str, Any]:
        """What the form says. Raises ValueError for what is no number or no command."""
        given: dict[str, Any] = {
            "name": self.query_one("#name", Input).value.strip() or None,
            "batch": self.query_one("#batch", Input).value.strip(),
        }
        for key in ("priority", "retries"):
            typed = self.query_one(f"#{key}", Input).value
            try:
                given[key] = int(typed)
            except ValueError:
                raise ValueError(f"{key}: {typed!r} is no whole number") from None
        if self._command is not None:
            given["command"] = self._typed_command()
        return given

    def _typed_command(self) -> Command:
        typed = self.query_one("#command", TextArea).text
        if self.query_one("#shell", Tick).value:
            if not typed.strip():
                raise ValueError("command: there is nothing to run")
            return typed
        try:
            argv = shlex.split(typed)
        except ValueError as error:
            raise ValueError(f"command: {error}".lower()) from None
        if not argv or not argv[0].strip():
            raise ValueError("command: there is nothing to run")
        return argv
