"""Why a task is not running: asked of the server, and said in sentences."""

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from pytq.client import Client
from pytq.schema.problems import PytqError
from pytq.schema.views import Explanation
from pytq.tui import acts, words
from pytq.tui.screens.asking import Ask


class Why(Ask[None]):
    """The answer, in a box."""

    LAYOUT: ClassVar[str] = """
    Why #box { width: 90; }
    Why #reasons { height: auto; max-height: 16; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,w,q", "cancel", "close", tooltip="close"),
    ]

    def __init__(self, task: int, client: Client) -> None:
        super().__init__()
        self._task_id = task
        self._client = client

    def compose(self) -> ComposeResult:
        """A question, and room for the answer."""
        with Vertical(id="box"):
            yield Static(Text(f"Why is task {self._task_id} not running?", style="bold"))
            yield Static("asking the server …", id="summary", markup=False, classes="note")
            yield VerticalScroll(Static("", id="lines", markup=False), id="reasons")

    def on_mount(self) -> None:
        """Ask."""
        self.query_one("#reasons").focus()
        self._ask()

    @work(group="why")
    async def _ask(self) -> None:
        try:
            found = await self._client.explain_task(self._task_id)
        except PytqError as error:
            self.query_one("#summary", Static).update(Text(acts.told(error)))
            return
        self.query_one("#summary", Static).update(Text(words.clean(found.summary)))
        self.query_one("#lines", Static).update(_reasons(found))


def _reasons(found: Explanation) -> Text:
    said = Text()
    width = max((len(one.worker) for one in found.workers), default=0)
    for one in found.workers:
        said.append(f"{words.clean(one.worker):<{width}}  ", style="bold")
        said.append(words.clean(one.reason) + "\n")
    said.rstrip()
    return said
