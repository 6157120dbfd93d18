"""Batches: how far they are, why their tasks fail, and what can be done about it."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.worker import Worker

from pytq.schema.problems import PytqError
from pytq.schema.states import Signal
from pytq.schema.views import BatchView, FailureView
from pytq.tui import acts, rates
from pytq.tui.cells import Line, line, text
from pytq.tui.filters import TaskQuery
from pytq.tui.messages import ShowTask, ShowTasks, ShowWorkers
from pytq.tui.model import Kind
from pytq.tui.panels import batch as panel
from pytq.tui.screens.asking import Confirm
from pytq.tui.screens.listpage import ListPage
from pytq.tui.screens.overview import NO_BATCH
from pytq.tui.screens.signals import SignalChoice
from pytq.tui.tables import batches
from pytq.tui.tables.listing import Listing, Order
from pytq.tui.widgets.board import Board
from pytq.tui.widgets.painting import entitle
from pytq.tui.widgets.table import Table
from pytq.tui.words import number, plural

_SETTLE_SECONDS = 0.3  # the cursor rests so long on a batch before its failures are asked for


class BatchesPage(ListPage):
    """A table of batches, and below it more about the one under the cursor."""

    PLACE = "batches"
    WHAT = "Batches: progress, time left, failures by reason; pause, stop, try again, delete."
    KINDS: ClassVar[frozenset[Kind]] = frozenset({"batches", "time"})
    FIRST_ORDER = Order("active")
    FILTER = "words of a batch's name or state"
    LAYOUT: ClassVar[str] = """
    BatchesPage #detail { height: 8; margin: 0 1; }
    BatchesPage.-tall #detail { height: 11; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "pause/go", tooltip="start nothing new, or let it go on"),
        Binding("P", "pause_all", "also running", tooltip="pause or go on, with what runs"),
        Binding("t", "retry", "try again", tooltip="run all failed tasks again"),
        Binding("x", "stop", "stop", tooltip="cancel every task that has not ended"),
        Binding("X", "kill", "kill", show=False, tooltip="kill what runs"),
        Binding("s", "signal", "signal", show=False, tooltip="send a signal to what runs"),
        Binding("w", "workers", "workers", tooltip="the workers of the batch"),
        Binding("d", "delete", "delete", tooltip="delete the batch with all its tasks"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._failures: dict[str, tuple[int, Sequence[FailureView]]] = {}

    @property
    def listing(self) -> Listing[BatchView]:
        """The table of batches."""
        return batches.LISTING

    def below(self) -> Iterable[Widget]:
        """More about one batch."""
        yield Board(id="detail", classes="framed")

    def empty(self) -> Sequence[Line]:
        """How to make a batch."""
        if self.at.store.batches:
            return (text("no batch fits the filter", "bold"), line("esc clears it"))
        return NO_BATCH

    def show(self, touched: frozenset[Kind]) -> None:
        """Show the rows and the batch under the cursor."""
        super().show(touched)
        if touched & {"batches", "workers", "time"}:
            self._show_detail()

    # --- the batch under the cursor

    @property
    def views(self) -> list[BatchView]:
        """The chosen batches."""
        there = self.at.store.batches
        return [there[name] for name in self.chosen if name in there]

    def on_table_highlighted(self, _message: Table.Highlighted) -> None:
        """Show another batch."""
        self._show_detail()

    def _show_detail(self) -> None:
        detail, at = self.query_one("#detail", Board), self.at
        view = at.store.batches.get(str(self.table.key))
        detail.display = view is not None
        if view is None:
            return
        known = self._failures.get(view.name)
        failures = None if known is None else known[1]
        entitle(detail, f"batch {view.name}")
        detail.show(lambda width, height: panel.batch(view, failures, at, width, height))
        if view.counts.failed and (known is None or known[0] != view.counts.failed):
            self._ask_failures(view)

    def _ask_failures(self, view: BatchView) -> None:
        under_way = any(worker.name == view.name for worker in self._asking())
        if not under_way:
            self._fetch_failures(view)

    def _asking(self) -> list[Worker[object]]:
        return [w for w in self.app.workers if w.group == "failures" and not w.is_finished]

    def _fetch_failures(self, view: BatchView) -> None:
        fetch = partial(self._fetch, view)
        self.run_worker(fetch, name=view.name, group="failures", exclusive=True)

    async def _fetch(self, view: BatchView) -> None:
        """Ask why tasks failed, once the cursor rests; at most once in a while."""
        import asyncio

        await asyncio.sleep(_SETTLE_SECONDS if view.name not in self._failures else 1.0)
        try:
            failures = await self.cockpit.client.list_failures(view.name)
        except PytqError:
            return
        self._failures[view.name] = (view.counts.failed, failures)
        self._show_detail()

    def action_show_task(self, task: int) -> None:
        """Open a task."""
        self.post_message(ShowTask(task))

    # --- going on

    def about_batch(self) -> str | None:
        """The one under the cursor."""
        return None if self.table.key is None else str(self.table.key)

    def on_table_opened(self, message: Table.Opened) -> None:
        """The tasks of the batch."""
        self.post_message(ShowTasks(TaskQuery(batch=str(message.key))))

    def action_workers(self) -> None:
        """The workers of the batch."""
        if self.chosen:
            self.post_message(ShowWorkers(self.chosen[0]))

    # --- acts

    def action_pause(self) -> None:
        """Start nothing new, or let it go on."""
        self._pause(running=False)

    def action_pause_all(self) -> None:
        """Pause or go on, with what runs."""
        self._pause(running=True)

    def _pause(self, *, running: bool) -> None:
        views = self.views
        if views:
            paused = not all(view.paused for view in views)
            self.cockpit.do(acts.pause_batches(views, paused=paused, running=running))

    @work
    async def action_retry(self) -> None:
        """Run all failed tasks again."""
        names, failed = self._names(), sum(view.counts.failed for view in self.views)
        if not failed:
            self.cockpit.say("no task has failed there")
            return
        question = f"Run {plural(failed, 'failed task')} of {acts.named(names, 'batch')} again?"
        if await self.app.push_screen_wait(Confirm(question, yes="Try again", grave=False)):
            self.cockpit.do(acts.retry_batches(names))

    @work
    async def action_stop(self) -> None:
        """Cancel every task that has not ended."""
        names, open_ = self._names(), sum(rates.left(view.counts) for view in self.views)
        if not open_:
            self.cockpit.say("nothing is open there")
            return
        active = sum(view.counts.active for view in self.views)
        question = f"Cancel {plural(open_, 'open task')} of {acts.named(names, 'batch')}?"
        note = f"{plural(active, 'running task')} will be ended. They can be tried again later."
        if await self.app.push_screen_wait(Confirm(question, note=note, yes="Cancel them")):
            self.cockpit.do(acts.cancel_batches(names))

    def action_kill(self) -> None:
        """Kill what runs."""
        self._signal_with(Signal.KILL)

    @work
    async def action_signal(self) -> None:
        """Send a signal to what runs."""
        active = sum(view.counts.active for view in self.views)
        if not active:
            self.cockpit.say("nothing runs there")
            return
        chosen = await self.app.push_screen_wait(SignalChoice(plural(active, "active task")))
        if chosen is not None:
            self._signal_with(Signal(chosen))

    @work
    async def _signal_with(self, signal: Signal) -> None:
        names, active = self._names(), sum(view.counts.active for view in self.views)
        if not active:
            self.cockpit.say("nothing runs there")
            return
        if signal in (Signal.TERM, Signal.KILL):
            word = "Kill" if signal is Signal.KILL else "End"
            question = f"{word} {plural(active, 'active task')} of {acts.named(names, 'batch')}?"
            note = "Those that have tries left will be tried again; x stops them for good."
            if not await self.app.push_screen_wait(Confirm(question, note=note, yes=word)):
                return
        self.cockpit.do(acts.signal_batches(names, signal))

    @work
    async def action_delete(self) -> None:
        """Delete batches with all their tasks."""
        names, views = self._names(), self.views
        if not views:
            return
        active = sum(view.counts.active for view in views)
        if active:
            self.cockpit.say(f"{plural(active, 'task')} run there; x stops them first", warn=True)
            return
        whole = sum(rates.total(view.counts) for view in views)
        question = f"Delete {acts.named(names, 'batch')} with {plural(whole, 'task')}?"
        note = "Their history and output go too. This cannot be undone."
        word = names[0] if len(names) == 1 else number(whole)
        if await self.app.push_screen_wait(Confirm(question, note=note, yes="Delete", word=word)):
            self.table.unmark()
            self.cockpit.do(acts.delete_batches(names))

    def _names(self) -> list[str]:
        return [view.name for view in self.views]
