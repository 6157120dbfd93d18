"""Workers: how each is doing, and its knobs on single keys; several at once where marked."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.widget import Widget

from pytq.schema.views import WorkerView
from pytq.tui.cells import Line, Span, line, text
from pytq.tui.messages import ShowWorker
from pytq.tui.model import Kind
from pytq.tui.panels.worker import worker as panel
from pytq.tui.screens.knobbed import KNOB_BINDINGS, Knobbed
from pytq.tui.screens.listpage import ListPage
from pytq.tui.tables import workers
from pytq.tui.tables.listing import Listing, Order
from pytq.tui.widgets.board import Board
from pytq.tui.widgets.filterbar import FilterBar
from pytq.tui.widgets.painting import entitle
from pytq.tui.widgets.table import Table


class WorkersPage(ListPage, Knobbed):
    """A table of workers, and below it more about the one under the cursor."""

    PLACE = "workers"
    WHAT = "Workers: load, what each holds, and its knobs on single keys; mark several with space."
    KINDS: ClassVar[frozenset[Kind]] = frozenset({"workers", "time"})
    FIRST_ORDER = Order("name")
    FILTER = "words of a worker's name, host, batch or status"
    LAYOUT: ClassVar[str] = """
    WorkersPage #detail { height: auto; max-height: 11; margin: 0 1; }
    WorkersPage.-tall #detail { max-height: 16; }
    """
    BINDINGS: ClassVar[list[BindingType]] = KNOB_BINDINGS

    def acted(self) -> None:
        """The marks have done their work."""
        self.table.unmark()

    def about_batch(self) -> str | None:
        """The one that is filtered by."""
        wanted = self.query_one(FilterBar).text
        return wanted if wanted in self.at.store.batches else None

    @property
    def listing(self) -> Listing[WorkerView]:
        """The table of workers."""
        return workers.listing(self.cockpit.knobs)

    def below(self) -> Iterable[Widget]:
        """More about one worker."""
        yield Board(id="detail", classes="framed")

    def empty(self) -> Sequence[Line]:
        """How to get a worker."""
        wanted = self.query_one(FilterBar).text
        recruits = line(Span("r", "accent"), Span(" recruits one", "dim"))
        if wanted in self.at.store.batches:
            return (text(f"no worker in batch {wanted}", "bold"), (), recruits)
        if self.at.store.workers:
            return (text("no worker fits the filter", "bold"), line("esc clears it"))
        start = line(Span("or start one with  ", "dim"), Span("pytq worker SERVER 4", "accent"))
        return (text("no worker yet", "bold"), (), recruits, start)

    def show(self, touched: frozenset[Kind]) -> None:
        """Show the rows and the worker under the cursor."""
        super().show(touched)
        if touched & {"workers", "time"}:
            self._show_detail()

    def on_table_highlighted(self, _message: Table.Highlighted) -> None:
        """Show another worker."""
        self._show_detail()

    def _show_detail(self) -> None:
        detail, at, knobs = self.query_one("#detail", Board), self.at, self.cockpit.knobs
        view = at.store.workers.get(str(self.table.key))
        detail.display = view is not None
        if view is not None:
            entitle(detail, f"worker {view.name}")
            detail.show(lambda width, _: panel(view, knobs, at, width))

    def on_table_opened(self, message: Table.Opened) -> None:
        """More about one worker."""
        self.post_message(ShowWorker(str(message.key)))
