"""The acts on tasks, for every page that shows some."""

from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from pytq.schema.problems import PytqError
from pytq.schema.states import TASK_ENDED, Signal, TaskStatus
from pytq.schema.views import TaskView
from pytq.tui import acts
from pytq.tui.screens.asking import Confirm
from pytq.tui.screens.editing import Edit
from pytq.tui.screens.page import Page
from pytq.tui.screens.signals import SignalChoice
from pytq.tui.screens.why import Why
from pytq.tui.words import plural


class Tasking(Page):
    """The acts on tasks; `tasks` names them."""

    TASK_BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "retry", "try again", tooltip="run ended tasks again"),
        Binding("e", "edit", "edit", tooltip="change the command or anything else, and run again"),
        Binding("w", "why", "why?", tooltip="why is it not running?"),
        Binding("x", "cancel", "cancel", tooltip="cancel, ending it if it runs"),
        Binding("s", "signal", "signal", tooltip="pause, resume, end or kill what runs"),
        Binding("d", "delete", "delete", tooltip="delete with history and output"),
    ]

    @property
    def tasks(self) -> list[int]:
        """The tasks that a key acts on."""
        raise NotImplementedError

    def acted(self, *, gone: bool = False) -> None:
        """Something was asked; `gone`: that does away with the tasks."""

    def _which(self) -> str:
        tasks = self.tasks
        return f"task {tasks[0]}" if len(tasks) == 1 else plural(len(tasks), "task")

    @work
    async def action_retry(self) -> None:
        """Run ended tasks again."""
        tasks = self.tasks
        if len(tasks) > 1:
            question = f"Run {self._which()} again?"
            if not await self.app.push_screen_wait(Confirm(question, yes="Again", grave=False)):
                return
        if tasks:
            self.cockpit.do(acts.retry_tasks(tasks))
            self.acted()

    @work
    async def action_cancel(self) -> None:
        """Cancel, ending what runs."""
        tasks = self.tasks
        if not tasks:
            return
        question = f"Cancel {self._which()}?"
        note = "What runs is ended. t runs it again from the start."
        if await self.app.push_screen_wait(Confirm(question, note=note, yes="Cancel it")):
            self.cockpit.do(acts.cancel_tasks(tasks))
            self.acted()

    @work
    async def action_signal(self) -> None:
        """Send a signal to what runs."""
        tasks = self.tasks
        if not tasks:
            return
        chosen = await self.app.push_screen_wait(SignalChoice(self._which()))
        if chosen is not None:
            self.cockpit.do(acts.signal_tasks(tasks, Signal(chosen)))
            self.acted()

    @work
    async def action_delete(self) -> None:
        """Delete with history and output."""
        tasks = self.tasks
        if not tasks:
            return
        question = f"Delete {self._which()}?"
        note = "History and output go too. This cannot be undone."
        word = str(len(tasks)) if len(tasks) > 1 else ""
        if await self.app.push_screen_wait(Confirm(question, note=note, yes="Delete", word=word)):
            self.cockpit.do(acts.delete_tasks(tasks))
            self.acted(gone=True)

    @work
    async def action_why(self) -> None:
        """Tell why it is not running."""
        if self.tasks:
            await self.app.push_screen_wait(Why(self.tasks[0], self.cockpit.client))

    @work(exclusive=True, group="edit")
    async def action_edit(self) -> None:
        """Change a task, and run it again if it has ended."""
        if not self.tasks:
            return
        view = await self._view(self.tasks[0])
        if view is None:
            return
        if view.status is TaskStatus.ACTIVE:
            self.cockpit.say("it is with a worker now; x cancels it first", warn=True)
            return
        ended = view.status in TASK_ENDED
        batches = sorted(self.at.store.batches)
        changed = await self.app.push_screen_wait(Edit(view, batches, ended=ended))
        if changed is not None:
            change, before, again = changed
            self.cockpit.do(acts.edit_task(view.id, change, before=before, again=again))
            self.acted()

    async def _view(self, task: int) -> TaskView | None:
        try:
            return await self.cockpit.client.get_task(task)
        except PytqError as error:
            self.cockpit.say(acts.told(error), warn=True)
            return None
