"""Jobs: the server's own long acts, with their logs as they come."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from pytq.schema.problems import PytqError
from pytq.schema.recruit import JOB_ENDED, JobView
from pytq.tui import acts, words
from pytq.tui.cells import Line, Span, line, text
from pytq.tui.messages import ShowWorkers
from pytq.tui.model import Kind
from pytq.tui.screens.asking import Confirm
from pytq.tui.screens.listpage import ListPage
from pytq.tui.tables import jobs
from pytq.tui.tables.listing import Listing, Order
from pytq.tui.widgets.logpane import LogPane
from pytq.tui.widgets.table import Table


class JobsPage(ListPage):
    """A table of jobs, and the log of the one under the cursor."""

    PLACE = "jobs"
    WHAT = "Jobs: recruiting and releasing, with the live log of the one under the cursor."
    KINDS: ClassVar[frozenset[Kind]] = frozenset({"jobs", "time"})
    FIRST_ORDER = Order("id")
    MARKABLE = False
    FILTER = "words of a job's title, status, batch or workers"
    LAYOUT: ClassVar[str] = """
    JobsPage LogPane { height: 1fr; margin: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "cancel", "cancel", tooltip="cancel the job"),
        Binding("w", "workers", "workers", tooltip="the workers of its batch"),
        Binding("tab", "app.focus_next", "table/log", tooltip="to the log, or back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._shown: int | None = None
        self._offset = 0
        self._over = False
        self._reading = False

    @property
    def listing(self) -> Listing[JobView]:
        """The table of jobs."""
        return jobs.LISTING

    def below(self) -> Iterable[Widget]:
        """The log."""
        yield LogPane("log", id="log")

    def empty(self) -> Sequence[Line]:
        """How to make a job."""
        if self.at.store.jobs:
            return (text("no job fits the filter", "bold"), line("esc clears it"))
        recruits = line(Span("r", "accent"), Span(" recruits workers", "dim"))
        return (text("no job yet", "bold"), (), recruits)

    def show(self, touched: frozenset[Kind]) -> None:
        """Show the rows and go on with the log."""
        super().show(touched)
        if touched & {"jobs", "time"}:
            self._follow()

    # --- the log

    @property
    def job(self) -> JobView | None:
        """The job under the cursor."""
        key = self.table.key
        return None if key is None else self.at.store.jobs.get(int(key))

    def on_table_highlighted(self, _message: Table.Highlighted) -> None:
        """Another job's log."""
        self._follow()

    def _follow(self) -> None:
        job, pane = self.job, self.query_one(LogPane)
        pane.display = job is not None
        if job is None:
            return
        if job.id != self._shown:
            self._shown, self._offset, self._over = job.id, 0, False
            pane.clear()
        pane.stream = f"log of job {job.id}"
        if not self._over and not self._reading:
            self._reading = True
            self._read(job.id)

    @work(group="log")
    async def _read(self, job: int) -> None:
        """Fetch what has come of the log since."""
        try:
            await self._read_parts(job)
        finally:
            self._reading = False
        if self._shown not in (None, job):
            self._follow()

    async def _read_parts(self, job: int) -> None:
        pane = self.query_one(LogPane)
        while job == self._shown:
            try:
                part = await self.cockpit.client.get_job_log(job, self._offset)
            except PytqError as error:
                pane.note = acts.told(error)
                return
            if job != self._shown:
                return
            pane.note, self._over = "", part.ended
            self._offset = part.next_offset
            pane.write(part.text.encode(errors="replace"))
            if part.ended or not part.text:
                return

    # --- acts

    def show_job(self, job: int) -> None:
        """Put the cursor on a job."""
        self.look_for("")
        if not self.table.move_to_key(job):
            self.table.action_first()
        self._follow()

    def on_table_opened(self, _message: Table.Opened) -> None:
        """The log."""
        self.query_one(LogPane).focus()

    @work
    async def action_cancel(self) -> None:
        """Cancel the job."""
        job = self.job
        if job is None or job.status in JOB_ENDED:
            self.cockpit.say("that job is over")
            return
        question = f"Cancel job {job.id}: {words.clean(job.title)}?"
        if await self.app.push_screen_wait(Confirm(question, yes="Cancel it")):
            self.cockpit.do(acts.cancel_job(job.id))

    def action_workers(self) -> None:
        """The workers of its batch."""
        job = self.job
        if job is not None:
            self.post_message(ShowWorkers(job.batch or ""))

    def saved(self) -> tuple[str, str]:
        """The log."""
        pane = self.query_one(LogPane)
        text = pane.raw.decode(errors="replace")
        return (f"job-{self._shown}.log", text) if text else ("", "")
