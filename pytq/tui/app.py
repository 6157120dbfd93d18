"""The application: which screens there are, and which message leads to which."""

import time
from collections.abc import Callable
from typing import ClassVar, Final

from textual import work
from textual.binding import Binding, BindingType

from pytq.client import Client
from pytq.schema.address import Address
from pytq.tui import bars, words
from pytq.tui.cockpit import Choice, Cockpit
from pytq.tui.collecting import spare_pauses
from pytq.tui.messages import ShowBatch, ShowJob, ShowTask, ShowTasks, ShowWorker, ShowWorkers
from pytq.tui.palette import Commands
from pytq.tui.screens.batches import BatchesPage
from pytq.tui.screens.editing import Edit
from pytq.tui.screens.events import EventsPage
from pytq.tui.screens.help import Help
from pytq.tui.screens.jobs import JobsPage
from pytq.tui.screens.leaving import Leaving
from pytq.tui.screens.overview import OverviewPage
from pytq.tui.screens.page import Page
from pytq.tui.screens.recruit import RecruitPage
from pytq.tui.screens.task import TaskPage
from pytq.tui.screens.tasks import TasksPage
from pytq.tui.screens.why import Why
from pytq.tui.screens.worker import WorkerPage
from pytq.tui.screens.workers import WorkersPage

_PLACES: Final[dict[str, type[Page]]] = {
    "overview": OverviewPage,
    "batches": BatchesPage,
    "workers": WorkersPage,
    "tasks": TasksPage,
    "jobs": JobsPage,
    "events": EventsPage,
}
_LAYOUTS: Final = (
    *(place.LAYOUT for place in _PLACES.values()),
    *(WorkerPage.LAYOUT, TaskPage.LAYOUT, RecruitPage.LAYOUT),
    *(Help.LAYOUT, Why.LAYOUT, Edit.LAYOUT),
)


class PytqApp(Cockpit):
    """PYTQ in a terminal."""

    # In one piece: a screen that brings CSS of its own has everything parsed anew when it opens.
    CSS = Cockpit.CSS + "".join(_LAYOUTS)

    TITLE = "PYTQ"
    COMMANDS = {Commands}  # noqa: RUF012 - as Textual declares it
    COMMAND_PALETTE_BINDING = "ctrl+p"
    MODES = {**_PLACES}  # noqa: RUF012 - as Textual declares it
    DEFAULT_MODE = "overview"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"goto('{place}')", place, show=False, tooltip=f"go to {place}")
            for number, place in enumerate(bars.PLACES, 1)
        ),
        Binding("r", "recruit", "recruit", tooltip="recruit workers"),
        Binding("u", "undo", "undo", show=False, tooltip="undo the last act that can be undone"),
        Binding("T", "theme", "theme", tooltip="light or dark"),
        Binding("colon", "command_palette", "commands", tooltip="find any command"),
        Binding("question_mark", "help", "help", show=False, tooltip="all keys"),
        Binding("q", "leave", "quit", tooltip="quit"),
        Binding("ctrl+q", "quit", "quit", show=False, priority=True, tooltip="quit at once"),
    ]

    def __init__(
        self,
        client: Client,
        *,
        ask_leave: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(client, now=now)
        self._ask_leave = ask_leave

    # --- going places

    async def action_goto(self, place: str) -> None:
        """Go to one of the places, and to its first page."""
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        if place != self.current_mode:
            if place in self._screen_stacks:
                page = self._screen_stacks[place][0]
                if isinstance(page, Page):
                    page.expect()
            await self.switch_mode(place)

    async def on_show_tasks(self, message: ShowTasks) -> None:
        """To these tasks."""
        await self.action_goto("tasks")
        if isinstance(self.screen, TasksPage):
            self.screen.look_for(message.query)

    async def on_show_task(self, message: ShowTask) -> None:
        """To a task; from there Escape leads back."""
        await self.push_screen(TaskPage(message.task))

    async def on_show_workers(self, message: ShowWorkers) -> None:
        """To the workers that a filter finds."""
        await self.action_goto("workers")
        if isinstance(self.screen, WorkersPage):
            self.screen.look_for(message.filter)

    async def on_show_worker(self, message: ShowWorker) -> None:
        """To one worker; from there Escape leads back."""
        await self.push_screen(WorkerPage(message.name))

    async def on_show_batch(self, message: ShowBatch) -> None:
        """To a batch in the table of batches."""
        await self.action_goto("batches")
        if isinstance(self.screen, BatchesPage):
            self.screen.look_for("")
            self.screen.table.move_to_key(message.name)

    async def on_show_job(self, message: ShowJob) -> None:
        """To a job and its log."""
        await self.action_goto("jobs")
        if isinstance(self.screen, JobsPage):
            self.screen.show_job(message.job)

    def action_worker(self, name: str) -> None:
        """To one worker, by a click."""
        self.post_message(ShowWorker(name))

    def action_job(self, job: int) -> None:
        """To a job, by a click."""
        self.post_message(ShowJob(job))

    def action_recruit(self) -> None:
        """To the form that recruits workers, for the batch that is looked at."""
        if isinstance(self.screen, RecruitPage):
            return
        batch = self.screen.about_batch() if isinstance(self.screen, Page) else None
        self.push_screen(RecruitPage(batch))

    def action_help(self) -> None:
        """All keys of what is on the screen."""
        self.push_screen(Help(self.screen))

    # --- leaving

    @work
    async def action_leave(self) -> None:
        """Quit; where a server was started with us, ask what becomes of it."""
        if not self._ask_leave:
            self.exit("quit")
            return
        active = self.store.counts.active
        running = f"{words.plural(active, 'task')} active." if active else "No task is active."
        chosen = await self.push_screen_wait(Leaving(running))
        if chosen == "stop":
            self.exit("stop")
        elif chosen == "leave":
            self.exit("leave")


class CrashedError(Exception):
    """The application ended through an error of its own, which it has told on the terminal."""


async def run(
    server: str | Address | None, token: str | None, *, ask_leave: bool = False
) -> Choice:
    """Show a server until somebody quits; tells how.

    "quit", or with `ask_leave` what shall become of the server that was started with us: "stop" or
    "leave". The terminal is restored however it ends. Raises `CrashedError`.
    """
    async with Client(server, token=token, patience=0) as client:
        app = PytqApp(client, ask_leave=ask_leave)
        spare_pauses()
        choice = await app.run_async()
        if app.return_code:
            raise CrashedError("the cockpit has crashed; the server and its tasks go on")
        return choice or "quit"
