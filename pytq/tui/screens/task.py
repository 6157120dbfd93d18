"""One task: what it is, its tries, and its output as it comes."""

from collections.abc import Iterable
from functools import partial
from typing import ClassVar, Final

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import ScreenResume
from textual.widget import Widget

from pytq.schema import limits
from pytq.schema.problems import NotFoundError, PytqError
from pytq.schema.queries import ExecutionFilter, OutputRange
from pytq.schema.states import Stream, TaskStatus
from pytq.schema.views import ExecutionView, TaskView
from pytq.tui import acts, looks, words
from pytq.tui.cells import text
from pytq.tui.messages import ShowTask
from pytq.tui.model import Kind
from pytq.tui.panels import task as panel
from pytq.tui.screens.asking import Prompt
from pytq.tui.screens.tasking import Tasking
from pytq.tui.widgets.board import Board
from pytq.tui.widgets.logpane import LogPane
from pytq.tui.widgets.painting import entitle, subtitle

_TRIES: Final = 50
_OTHER: Final = {Stream.STDOUT: Stream.STDERR, Stream.STDERR: Stream.STDOUT}
_PART_BYTES: Final = limits.CHUNK_BYTES  # small enough that no key has to wait for it


class TaskPage(Tasking):
    """Facts, tries, stdout and stderr."""

    PLACE = "tasks"
    WHAT = "One task: its command, its tries as lines of time, and its output while it comes."
    LAYOUT: ClassVar[str] = """
    TaskPage {
        #facts { height: auto; max-height: 50%; margin: 0 1; }
        #tries { height: auto; max-height: 5; margin: 0 1; }
        &.-tall #tries { max-height: 12; }
        &.-short #facts { max-height: 8; }
        &.-short #tries { max-height: 4; }
        #output { height: 1fr; margin: 0 1; }
        &.-narrow #output LogPane { display: none; &.chosen { display: block; } }
        &.zoomed LogPane { display: none; &.chosen { display: block; } }
        &.zoomed #facts, &.zoomed #tries { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "other", "out/err", tooltip="to the other stream"),
        Binding("slash", "search", "search", tooltip="search the output"),
        Binding("n", "found(-1)", "next", show=False, tooltip="the next place, going backwards"),
        Binding("N", "found(1)", "before", show=False, tooltip="the place before"),
        *Tasking.TASK_BINDINGS,
        Binding("z", "zoom", "zoom", show=False, tooltip="one stream on the whole screen"),
        Binding("left_square_bracket", "older", "try before", show=False, tooltip="the try before"),
        Binding("right_square_bracket", "newer", "next try", show=False, tooltip="the try after"),
        Binding("R", "requirement", "requirement", show=False, tooltip="open what it waits for"),
        Binding("escape", "back", "back", tooltip="back to where you came from"),
    ]

    def __init__(self, task: int) -> None:
        super().__init__()
        self.number = task
        self.view: TaskView | None = None
        self.executions: list[ExecutionView] = []
        self.attempt: int | None = None  # whose output is shown
        self._pinned = False  # somebody has chosen that try
        self._offsets: dict[Stream, int] = {}
        self._reading: set[Stream] = set()
        self._trouble = ""
        self._chosen = Stream.STDOUT
        self._chosen_by_hand = False

    def body(self) -> Iterable[Widget]:
        """Facts, tries, output."""
        yield Board(id="facts", classes="framed")
        yield Board(id="tries", classes="framed")
        yield Horizontal(*(LogPane(stream, id=stream) for stream in Stream), id="output")

    @property
    def tasks(self) -> list[int]:
        """This one."""
        return [self.number]

    def acted(self, *, gone: bool = False) -> None:
        """Once it is deleted there is nothing to show."""
        if gone:
            self.dismiss()

    def pane(self, stream: Stream) -> LogPane:
        """The pane of a stream."""
        return self.query_one(f"#{stream}", LogPane)

    # --- news

    def on_mount(self) -> None:
        """Ask for everything, then listen."""
        self._choose(Stream.STDOUT, focus=True)
        super().on_mount()
        self._fetch()

    def on_screen_resume(self, event: ScreenResume) -> None:
        """Hear of this task."""
        self.cockpit.look_at([self.number])
        super().on_screen_resume(event)

    def show(self, touched: frozenset[Kind]) -> None:
        """Show what the stream tells of this task."""
        if "watched" in touched:
            self._take_watched()
        if "link" in touched and self.at.store.link.state == "live" and self.is_current:
            self._fetch()
        if touched & {"watched", "time"}:
            self._show_facts()

    def _take_watched(self) -> None:
        watched = self.at.store.watched.get(self.number)
        if watched is None:
            return
        if watched.task is None:
            self._trouble = f"task {self.number} is gone"
            return
        self.view = watched.task
        if watched.execution is not None:
            self._take_execution(watched.execution)
        self._read_on()

    def _take_execution(self, execution: ExecutionView) -> None:
        known = {one.attempt: one for one in self.executions}
        known[execution.attempt] = execution
        self.executions = [known[attempt] for attempt in sorted(known, reverse=True)]
        if not self._pinned and self.attempt != max(known):
            self._show_attempt(max(known))

    @work(exclusive=True, group="task")
    async def _fetch(self) -> None:
        """Ask for the task and its tries."""
        client = self.cockpit.client
        try:
            self.view = await client.get_task(self.number)
            query = ExecutionFilter(task=self.number, limit=_TRIES)
            page = await client.list_executions(query)
        except NotFoundError:
            self.view, self._trouble = None, f"there is no task {self.number}"
        except PytqError as error:
            self._trouble = acts.told(error)
        else:
            self._trouble = ""
            for execution in reversed(page.items):
                self._take_execution(execution)
            self._read_on()
        self._show_facts()

    def _show_facts(self) -> None:
        facts, tries, view, at = self._board("facts"), self._board("tries"), self.view, self.at
        if view is None:
            said = text(self._trouble or "asking the server …", "warn")
            entitle(facts, f"task {self.number}")
            facts.show(lambda _width, _height: (said,))
            tries.display = False
            return
        look = looks.TASK[view.status]
        name = f" · {words.clean(view.name, 60)}" if view.name else ""
        entitle(facts, f"task {view.id}{name} · {look.glyph} {look.word}")
        facts.show(lambda width, _: panel.task(view, at, width, 0))
        executions, attempt = self.executions, self.attempt
        tries.display = bool(executions)
        entitle(tries, words.plural(len(executions), "execution"))
        one = self.execution
        subtitle(tries, panel.usage(one) if one else "")
        tries.show(lambda width, _: panel.tries(executions, attempt, at, width, 10))

    def _board(self, name: str) -> Board:
        return self.query_one(f"#{name}", Board)

    # --- output

    @property
    def execution(self) -> ExecutionView | None:
        """The try whose output is shown."""
        return next((one for one in self.executions if one.attempt == self.attempt), None)

    def _show_attempt(self, attempt: int) -> None:
        self.attempt = attempt
        self._offsets = dict.fromkeys(Stream, 0)
        self._reading = set()  # whoever still reads another try notices by himself
        for stream in Stream:
            self.pane(stream).clear()
        self._read_on()

    def _read_on(self) -> None:
        """Fetch what has come of the output since."""
        one = self.execution
        if one is None:
            return
        for stream, size in ((Stream.STDOUT, one.stdout_bytes), (Stream.STDERR, one.stderr_bytes)):
            if size > self._offsets.get(stream, 0) and stream not in self._reading:
                self._reading.add(stream)
                self.run_worker(partial(self._read, one, stream), group=f"read-{stream}")
        if not self._chosen_by_hand:
            telling = one.stderr_bytes and (
                not one.stdout_bytes or (self.view and self.view.status is TaskStatus.FAILED)
            )
            self._choose(Stream.STDERR if telling else Stream.STDOUT, focus=True)

    async def _read(self, one: ExecutionView, stream: Stream) -> None:
        """Fetch all there is of a stream from where we are, part by part."""
        try:
            await self._read_parts(one, stream)
        finally:
            if one.attempt == self.attempt:
                self._reading.discard(stream)

    async def _read_parts(self, one: ExecutionView, stream: Stream) -> None:
        client, pane = self.cockpit.client, self.pane(stream)
        while one.attempt == self.attempt:
            offset = self._offsets[stream]
            wanted = OutputRange(offset=offset, limit=_PART_BYTES)
            try:
                part = await client.get_output(one.task, one.attempt, stream, wanted)
            except PytqError as error:
                pane.note = acts.told(error)
                return
            if one.attempt != self.attempt or not part.data:
                return
            if part.offset > offset:
                pane.skip(part.offset - offset)
            self._offsets[stream] = part.offset + len(part.data)
            pane.note = ""
            pane.write(part.data)
            self._tell_of_other()

    def _choose(self, stream: Stream, *, focus: bool) -> None:
        self._chosen = stream
        for one in Stream:
            self.pane(one).set_class(one is stream, "chosen")
        if focus and isinstance(self.focused, LogPane | None):
            self.pane(stream).focus()
        self._tell_of_other()

    def _tell_of_other(self) -> None:
        """Where only one stream is visible, it tells what is in the other."""
        alone = self.has_class("-narrow") or self.has_class("zoomed")
        shown, other = self.pane(self._chosen), self.pane(_OTHER[self._chosen])
        lines = words.plural(other.line_count, "line")
        shown.tell(f"tab: {other.stream}, {lines}" if alone else "")

    def on_descendant_focus(self) -> None:
        """The stream that has the keys is the one that is zoomed."""
        if isinstance(self.focused, LogPane):
            self._choose(Stream(str(self.focused.id)), focus=False)

    @property
    def shown_pane(self) -> LogPane:
        """The pane that keys act on."""
        return self.pane(self._chosen)

    # --- actions

    def action_other(self) -> None:
        """To the other stream."""
        self._chosen_by_hand = True
        self._choose(_OTHER[self._chosen], focus=True)
        self.shown_pane.focus()

    def action_zoom(self) -> None:
        """One stream on the whole screen, or everything."""
        self.toggle_class("zoomed")
        self._tell_of_other()

    @work
    async def action_search(self) -> None:
        """Search the output."""
        pane = self.shown_pane
        question = f"Find in {pane.stream}:"
        note = "n goes on, N goes back; empty finds nothing any more"
        wanted = await self.app.push_screen_wait(Prompt(question, value=pane.sought, note=note))
        pane.seek(wanted or "")

    def action_found(self, by: int) -> None:
        """To the next place where it was found."""
        self.shown_pane.go(by)

    def action_attempt(self, attempt: int) -> None:
        """Show the output of that try."""
        self._pinned = attempt != max(one.attempt for one in self.executions)
        self._show_attempt(attempt)
        self._show_facts()

    def action_older(self) -> None:
        """The try before."""
        self._step(-1)

    def action_newer(self) -> None:
        """The try after."""
        self._step(1)

    def _step(self, by: int) -> None:
        attempts = sorted(one.attempt for one in self.executions)
        if self.attempt in attempts:
            place = attempts.index(self.attempt) + by
            if 0 <= place < len(attempts):
                self.action_attempt(attempts[place])

    def action_requirement(self) -> None:
        """Open the first task that it waits for."""
        if self.view is not None and self.view.requirements:
            self.post_message(ShowTask(self.view.requirements[0]))
        else:
            self.cockpit.say("it waits for no other task")

    def action_back(self) -> None:
        """End the search, or go back to where you came from."""
        if self.shown_pane.sought:
            self.shown_pane.seek("")
        else:
            self.dismiss()

    # --- taking away

    def copied(self) -> str:
        """The command."""
        return "" if self.view is None else words.command(self.view.spec)

    def saved(self) -> tuple[str, str]:
        """The stream that has the keys, as it came."""
        pane = self.shown_pane
        if not pane.raw:
            return "", ""
        name = f"task-{self.number}.{self.attempt}.{pane.stream}"
        return name, pane.raw.decode(errors="replace")
