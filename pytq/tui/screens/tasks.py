"""Tasks: any filter, any order, and a table that does not care how many there are."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.widget import Widget

from pytq.schema.problems import PytqError
from pytq.schema.states import TaskStatus
from pytq.schema.views import Counts
from pytq.tui import acts
from pytq.tui.cells import Line, Row, Span, line, text
from pytq.tui.columns import Column
from pytq.tui.filters import SORTS, FilterError, TaskQuery, parse_tasks, write_tasks
from pytq.tui.lister import Lister
from pytq.tui.messages import ShowTask
from pytq.tui.model import Kind
from pytq.tui.panels import tasks as panel
from pytq.tui.screens.tasking import Tasking
from pytq.tui.suggesting import FilterSuggester
from pytq.tui.tables import tasks
from pytq.tui.tables.listing import Moment
from pytq.tui.widgets.board import Board
from pytq.tui.widgets.filterbar import FilterBar
from pytq.tui.widgets.painting import entitle
from pytq.tui.widgets.table import Table

_TYPING_SECONDS: Final = 0.25
_WATCH_SECONDS: Final = 0.1
_EXPORTED: Final = 100_000


class _Rows:
    """The lister's rows as the table takes them: as they stand now."""

    def __init__(self, lister: Lister, at: Moment) -> None:
        self._window = lister.window
        self._store = at.store
        self._now = at.store.clock(at.now)
        unknown = lister.trouble and not lister.window.rows
        self.total = 0 if unknown else lister.window.total

    def row(self, index: int) -> Row | None:
        """The row at a place; None while it is on its way."""
        found = self._window.row(index)
        if found is None:
            return None
        return tasks.row(found, self._store.watched.get(found.id), self._now)

    def find(self, key: str | int) -> int | None:
        """Where a task is, as far as is known."""
        return self._window.find(key)


class TasksPage(Tasking):
    """Tabs of statuses, a filter, the table, and the whole command of one task."""

    PLACE = "tasks"
    AUTO_FOCUS = "Table"  # else it is the filter, and takes the first key
    WHAT = "Tasks: any filter, any order, as quick with a million as with ten."
    LAYOUT: ClassVar[str] = """
    TasksPage {
        #tabs { height: 1; margin: 0 1; }
        #preview { height: 4; margin: 0 1; }
        #preview.blank { border: round $background; }
        &.-tall #preview { height: 6; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", tooltip="status: batch: worker: name: and words"),
        Binding("f", "only('failed')", "failed", tooltip="only failed tasks, or all of them"),
        Binding("left", "tab(-1)", "status left", show=False, tooltip="the status to the left"),
        Binding("right", "tab(1)", "status right", show=False, tooltip="the status to the right"),
        *Tasking.TASK_BINDINGS,
        Binding("space", "mark", "mark", tooltip="mark the task, to act on several at once"),
        Binding("a", "mark_all", "mark all", show=False, tooltip="mark those that are visible"),
        Binding("o", "order", "order", show=False, tooltip="newest, latest change, most urgent"),
        Binding("O", "turn", "turn round", show=False, tooltip="turn the order round"),
        Binding("escape", "back", "back", show=False, tooltip="take back marks and the filter"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.query_ = TaskQuery()
        self._counted: Counts | None = None
        self._stale = False
        self._typing: Timer | None = None
        self._watching: Timer | None = None

    def body(self) -> Iterable[Widget]:
        """Tabs, filter, table, preview."""
        yield Board(id="tabs")
        yield FilterBar(
            "type / to filter: words, status:failed batch:run7 worker:vm-1 name:exactly",
            FilterSuggester(lambda: self.at.store),
            classes="always",
        )
        yield Table(tasks.COLUMNS, markable=True)
        yield Board(id="preview", classes="framed")

    def on_mount(self) -> None:
        """The table has the keys."""
        self.lister = Lister(
            self.cockpit.client,
            self._show_rows,
            lambda fetch: self.run_worker(fetch, group="pages"),
        )
        self.table.focus()
        super().on_mount()
        # By then there is room for rows, and perhaps somebody has come with another query.
        self.call_after_refresh(lambda: self.look_for(self.query_))

    @property
    def table(self) -> Table:
        """The table."""
        return self.query_one(Table)

    @property
    def tasks(self) -> list[int]:
        """Those that are marked, or else the one under the cursor."""
        return [int(key) for key in self.table.chosen]

    # --- what is shown

    def look_for(self, query: TaskQuery) -> None:
        """Show what a query finds."""
        self.query_ = query
        if not hasattr(self, "lister"):  # it will be looked for as soon as there is a table
            return
        bar = self.query_one(FilterBar)
        written = write_tasks(query)
        if parse_quietly(bar.text) != query:
            with self.prevent(FilterBar.Changed):
                bar.text = written
        bar.hint("")
        self._counted, self._stale = self._counts, False
        total = panel.counts_of(self._counts, query) if query.countable else None
        self.table.marks.clear()
        self.table.move_to(0)
        self.lister.begin(query, total, max(1, self.table.size.height))
        self._show_rows(0)
        self._show_tabs()

    @property
    def _counts(self) -> Counts:
        """Of the batch that is filtered by, or of all."""
        if self.query_.batch is None:
            return self.at.store.counts
        batch = self.at.store.batches.get(self.query_.batch)
        return Counts() if batch is None else batch.counts

    def show(self, touched: frozenset[Kind]) -> None:
        """Show what has changed of the tasks in sight, and fetch them anew where counts tell so."""
        if not hasattr(self, "lister"):
            return
        if touched & {"server", "batches", "link"}:
            self._recount(reconnected="link" in touched)
        if self.lister.trouble and "time" in touched:
            self._stale = True  # it is tried again, now and then
        if self._stale and self.at.store.link.state == "live" and self.lister.refresh():
            self._stale = False
        if touched & {"watched", "time"}:
            self._show_rows(0)

    def _recount(self, *, reconnected: bool) -> None:
        counts = self._counts
        if counts != self._counted or reconnected:
            self._counted, self._stale = counts, True
            if self.query_.countable:
                self.lister.window.count(panel.counts_of(counts, self.query_))
            self._show_tabs()

    def _show_tabs(self) -> None:
        counts, query = self._counts, self.query_
        self.query_one("#tabs", Board).show(lambda width, _: (panel.tabs(counts, query, width),))

    def _show_rows(self, moved: int) -> None:
        table = self.table
        table.empty = self._empty()
        table.show_rows(_Rows(self.lister, self.at), moved=moved)
        self._show_preview()
        self._watch_soon()

    def _show_preview(self) -> None:
        table, preview = self.table, self.query_one("#preview", Board)
        row = self.lister.window.row(table.cursor)
        if row is not None:
            row = tasks.newer(row, self.at.store.watched.get(row.id))
        preview.set_class(row is None, "blank")  # to hide it would lay out the screen anew
        entitle(preview, "" if row is None else f"task {row.id}")
        preview.show(lambda width, height: panel.preview(row, width, height))

    def _empty(self) -> Sequence[Line]:
        if self.lister.trouble:
            return (text(self.lister.trouble, "bad"),)
        if not self.lister.window.known:
            return (text("…", "dim"),)
        if self.query_.narrow:
            clears = line(Span("esc", "accent"), Span(" clears the filter", "dim"))
            return (text("no task fits the filter", "bold"), (), clears)
        hint = line(Span("queue one with  ", "dim"), Span("pytq launch echo hello", "accent"))
        return (text("no task yet", "bold"), (), hint)

    # --- what is in sight

    def on_table_looked(self, message: Table.Looked) -> None:
        """Fetch what is visible now."""
        self.lister.look(message.first, message.last, to_end=message.to_end)
        self._watch_soon()

    def on_table_highlighted(self, _message: Table.Highlighted) -> None:
        """Show another task's command."""
        self._show_preview()

    def _watch_soon(self) -> None:
        if self._watching is None:
            self._watching = self.set_timer(_WATCH_SECONDS, self._watch)

    def _watch(self) -> None:
        self._watching = None
        if self.seen:
            first, last = self.table.in_sight
            rows = (self.lister.window.row(index) for index in range(first, last))
            self.cockpit.look_at(row.id for row in rows if row is not None)

    # --- finding

    def action_filter(self) -> None:
        """Type what to look for."""
        self.query_one(FilterBar).open()

    def on_filter_bar_changed(self, _message: FilterBar.Changed) -> None:
        """Look for it once the typing rests."""
        if self._typing is not None:
            self._typing.stop()
        self._typing = self.set_timer(_TYPING_SECONDS, self._look_for_typed)

    def _look_for_typed(self) -> None:
        self._typing = None
        bar = self.query_one(FilterBar)
        try:
            query = parse_tasks(bar.text, self.query_)
        except FilterError as error:
            bar.hint(str(error), wrong=True)
            return
        bar.hint("")
        if query != self.query_:
            self.look_for(query)

    def on_filter_bar_left(self, _message: FilterBar.Left) -> None:
        """Back to the table."""
        if self._typing is not None:
            self._typing.stop()
            self._look_for_typed()
        self.table.focus()

    def action_only(self, status: str) -> None:
        """Only this status; all of them if it is already."""
        statuses = (TaskStatus(status),) if status else ()
        statuses = () if statuses == self.query_.statuses else statuses
        self.look_for(replace(self.query_, statuses=statuses))

    def action_tab(self, by: int) -> None:
        """The next status to one side."""
        places = ["", *TaskStatus]
        here = self.query_.statuses[0] if self.query_.statuses else ""
        status = places[(places.index(here) + by) % len(places)]
        statuses = (TaskStatus(status),) if status else ()
        self.look_for(replace(self.query_, statuses=statuses))

    def action_order(self) -> None:
        """The next order."""
        sort = SORTS[(SORTS.index(self.query_.sort) + 1) % len(SORTS)]
        self.look_for(replace(self.query_, sort=sort, oldest_first=False))

    def action_turn(self) -> None:
        """Turn the order round."""
        self.look_for(replace(self.query_, oldest_first=not self.query_.oldest_first))

    def on_table_reordered(self, message: Table.Reordered) -> None:
        """A title was clicked."""
        known = {"id": "id", "changed": "changed", "priority": "priority"}
        sort = next((one for one in SORTS if one == known.get(message.column)), None)
        if sort is not None:
            turned = sort == self.query_.sort and not self.query_.oldest_first
            self.look_for(replace(self.query_, sort=sort, oldest_first=turned))

    # --- going on

    def about_batch(self) -> str | None:
        """The one that is filtered by."""
        return self.query_.batch

    def on_table_opened(self, message: Table.Opened) -> None:
        """More about one task."""
        self.post_message(ShowTask(int(message.key or 0)))

    def action_mark(self) -> None:
        """Mark the task."""
        self.table.mark()

    def action_mark_all(self) -> None:
        """Mark the tasks that are visible."""
        first, last = self.table.in_sight
        rows = (self.lister.window.row(index) for index in range(first, last))
        self.table.mark_all([row.id for row in rows if row is not None])

    def action_back(self) -> None:
        """Take back marks, then the filter."""
        if not self.table.unmark() and self.query_.narrow:
            self.look_for(TaskQuery(sort=self.query_.sort, oldest_first=self.query_.oldest_first))

    def acted(self, *, gone: bool = False) -> None:
        """The marks have done their work."""
        self.table.unmark()
        self._stale = self._stale or gone

    # --- taking away

    def copied(self) -> str:
        """The command of the task under the cursor."""
        row = self.lister.window.row(self.table.cursor)
        return "" if row is None else row.command

    def exported(self) -> tuple[str, Sequence[Column], Iterable[Row]] | None:
        """All that the filter finds is fetched first; that is done in the background."""
        self.run_worker(self._export, group="export", exclusive=True)
        return None

    def action_export(self) -> None:
        """Save all tasks that the filter finds."""
        self.exported()

    async def _export(self) -> None:
        rows: list[Row] = []
        query = self.query_.page(None, 1_000, reverse=False)
        now = self.at.store.clock(self.at.now)
        self.cockpit.say("fetching the tasks …")
        try:
            async for view in self.cockpit.client.each_task(query):
                rows.append(tasks.row(tasks.TaskRow.of(view), None, now))
                if len(rows) >= _EXPORTED:
                    self.cockpit.say(f"only the first {_EXPORTED} tasks are saved", warn=True)
                    break
        except PytqError as error:
            self.cockpit.say(acts.told(error), warn=True)
            return
        from pytq.tui.screens.page import as_csv

        self.deliver("tasks.csv", as_csv(tasks.COLUMNS, rows), "text/csv")


def parse_quietly(text: str) -> TaskQuery | None:
    """A filter, or None for one that means nothing."""
    try:
        return parse_tasks(text)
    except FilterError:
        return None
