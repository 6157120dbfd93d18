"""One worker: everything known of it, what it has under way, and what it keeps."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from pytq.client import Client
from pytq.schema.problems import PytqError
from pytq.schema.queries import ExecutionFilter
from pytq.schema.views import ExecutionView, Pin, ResourceView
from pytq.tui import words
from pytq.tui.acts import Act
from pytq.tui.cells import Line, Row, plain, text
from pytq.tui.columns import Column
from pytq.tui.filters import TaskQuery
from pytq.tui.messages import ShowTask, ShowTasks
from pytq.tui.model import Kind
from pytq.tui.panels.worker import worker as panel
from pytq.tui.screens.knobbed import KNOB_BINDINGS, Knobbed
from pytq.tui.tables import holdings
from pytq.tui.tables.listing import ListedRows
from pytq.tui.widgets.board import Board
from pytq.tui.widgets.painting import entitle
from pytq.tui.widgets.table import Table

_SHOWN: Final = 500
_EACH_SECONDS: Final = 2.0
_RESOURCES_SECONDS: Final = 10.0


class WorkerPage(Knobbed):
    """One worker."""

    PLACE = "workers"
    AUTO_FOCUS = "#executions"
    WHAT = "One worker: its machine, its knobs, what it has under way and what it keeps."
    LAYOUT: ClassVar[str] = """
    WorkerPage {
        #detail { height: auto; max-height: 60%; margin: 0 1; }
        #holds { height: 1fr; margin: 0 1; }
        #holds > Table { width: 50%; height: 100%; border: round $edge;
                         border-title-color: $foreground; }
        #holds > Table:focus { border: round $primary; }
        &.-narrow #holds { layout: vertical; }
        &.-narrow #holds > Table { width: 100%; height: 1fr; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *KNOB_BINDINGS,
        Binding("tab", "app.focus_next", "other table", show=False, tooltip="to the other table"),
        Binding("P", "pin", "pin", show=False, tooltip="keep a resource whatever happens, or not"),
        Binding("l", "tasks", "its tasks", tooltip="all tasks that it ran"),
        Binding("escape", "leave", "back", tooltip="back to where you came from"),
    ]

    def __init__(self, name: str) -> None:
        super().__init__()
        self.worker = name
        self._executions: Sequence[ExecutionView] = ()
        self._resources: Sequence[ResourceView] = ()
        self._resources_trouble = ""
        self._asked = self._asked_resources = float("-inf")

    def body(self) -> Iterable[Widget]:
        """Facts, and two tables."""
        yield Board(id="detail", classes="framed")
        yield _Holds(id="holds")

    @property
    def chosen(self) -> list[str]:
        """This worker."""
        return [self.worker]

    def on_mount(self) -> None:
        """What it runs has the keys."""
        self.query_one("#executions").focus()
        super().on_mount()

    def show(self, touched: frozenset[Kind]) -> None:
        """Show it as it is now, and ask what it holds now and then."""
        detail, at, knobs = self.query_one("#detail", Board), self.at, self.cockpit.knobs
        view = at.store.workers.get(self.worker)
        if view is None:
            gone: Line = text(f"worker {words.clean(self.worker)} is gone", "warn")
            detail.show(lambda _width, _height: (gone,))
        else:
            entitle(detail, f"worker {view.name}")
            detail.show(lambda width, _: panel(view, knobs, at, width))
            self._ask()
        if touched & {"workers", "time"}:
            self._show_executions()
            self._show_resources()

    def _ask(self) -> None:
        now = self.cockpit.now()
        if now - self._asked >= _EACH_SECONDS:
            self._asked = now
            self.run_worker(self._fetch_executions, group="executions", exclusive=True)
        if now - self._asked_resources >= _RESOURCES_SECONDS:
            self._asked_resources = now
            self.run_worker(self._fetch_resources, group="resources", exclusive=True)

    async def _fetch_executions(self) -> None:
        query = ExecutionFilter(worker=self.worker, open=True, limit=_SHOWN)
        try:
            self._executions = (await self.cockpit.client.list_executions(query)).items
        except PytqError:
            return
        self._show_executions()

    async def _fetch_resources(self) -> None:
        try:
            self._resources = await self.cockpit.client.list_resources(self.worker)
            self._resources_trouble = ""
        except PytqError as error:
            self._resources_trouble = words.clean(str(error))
        self._show_resources()

    def _show_executions(self) -> None:
        table, at = self.query_one("#executions", Table), self.at
        table.empty = (text("nothing is under way here", "dim"),)
        table.show_rows(ListedRows.of([holdings.execution(one, at) for one in self._executions]))
        entitle(table, f"Under way: {len(self._executions)}")

    def _show_resources(self) -> None:
        table = self.query_one("#resources", Table)
        table.empty = (text(self._resources_trouble or "it keeps nothing for later", "dim"),)
        table.show_rows(ListedRows.of([holdings.resource(one) for one in self._resources]))
        size = words.size(sum(one.bytes for one in self._resources))
        entitle(table, f"Kept: {len(self._resources)}, {size}" if self._resources else "Kept")

    # --- going on

    def on_table_opened(self, message: Table.Opened) -> None:
        """The task of an execution."""
        if message.table.id == "executions":
            self.post_message(ShowTask(int(message.key or 0)))

    def action_tasks(self) -> None:
        """All tasks that it ran."""
        self.post_message(ShowTasks(TaskQuery(worker=self.worker)))

    def action_pin(self) -> None:
        """Keep a resource whatever happens, or no longer."""
        key = self.query_one("#resources", Table).key
        found = next((one for one in self._resources if one.uri == key), None)
        if found is None:
            self.cockpit.say("it keeps nothing that could be pinned")
            return
        self._asked_resources = float("-inf")
        self.cockpit.do(_pin(self.worker, Pin(uri=found.uri, pinned=not found.pinned)))

    def copied(self) -> str:
        """The row under the cursor."""
        table = self.query_one("#resources", Table)
        table = table if table.has_focus else self.query_one("#executions", Table)
        row = table.rows.row(table.cursor)
        return self.worker if row is None else "\t".join(plain(cell) for cell in row.cells)

    def exported(self) -> tuple[str, Sequence[Column], Iterable[Row]] | None:
        """What it has under way."""
        rows = [holdings.execution(one, self.at) for one in self._executions]
        return f"worker-{self.worker}", holdings.EXECUTIONS, rows


def _pin(worker: str, pin: Pin) -> Act:
    async def run(client: Client) -> str:
        await client.pin_resource(worker, pin)
        does = "keeps" if pin.pinned else "may throw away"
        return f"{words.clean(worker)}: {does} {words.clean(pin.uri)}"

    return Act(f"{'pin' if pin.pinned else 'unpin'} {words.clean(pin.uri)}", run)


class _Holds(Horizontal):
    """The two tables."""

    def compose(self) -> ComposeResult:
        """What is under way, what is kept."""
        yield Table(holdings.EXECUTIONS, id="executions")
        yield Table(holdings.RESOURCES, id="resources")
