"""The knobs and acts of workers, for every page that shows some."""

from typing import Final

from textual import work
from textual.binding import Binding, BindingType

from pytq.schema.states import WorkerStatus
from pytq.schema.text import NAME_PATTERN
from pytq.schema.views import Kept, WorkerView
from pytq.tui import acts
from pytq.tui.knobs import Knob
from pytq.tui.screens.asking import Choose, Confirm, Prompt
from pytq.tui.screens.page import Page
from pytq.tui.words import plural

_CLEANINGS: Final = (
    ("resources", "r", "resources that no task uses now"),
    ("images", "i", "container images that no task uses now"),
    ("failed", "f", "the folders of failed tasks"),
    ("all", "a", "all of these"),
)
KNOB_BINDINGS: Final[list[BindingType]] = [
    Binding("plus,equals_sign", "knob('concurrency', 1)", "more", tooltip="one more task at once"),
    Binding("minus", "knob('concurrency', -1)", "fewer", tooltip="one task fewer at once"),
    Binding("greater_than_sign", "knob('prefetch', 1)", "prefetch", tooltip="prefetch one more"),
    Binding(
        "less_than_sign", "knob('prefetch', -1)", "less", show=False, tooltip="prefetch one fewer"
    ),
    Binding("b", "batch", "batch", tooltip="move to another batch"),
    Binding("p", "pause", "pause", tooltip="take nothing new for now, or go on"),
    Binding("D", "drain", "drain", tooltip="finish what runs and take nothing new, or go on"),
    Binding("c", "clean", "clean", tooltip="throw away kept resources and images"),
    Binding("f", "forget", "forget", show=False, tooltip="forget a worker that is offline"),
    Binding("d", "release", "delete", tooltip="drain, then end it and give its machine back"),
]


class Knobbed(Page):
    """The acts on workers; `chosen` names them."""

    @property
    def chosen(self) -> list[str]:
        """The workers that a key acts on."""
        raise NotImplementedError

    def acted(self) -> None:
        """Something was asked that does away with the chosen ones."""

    @property
    def views(self) -> list[WorkerView]:
        """The chosen workers."""
        there = self.at.store.workers
        return [there[name] for name in self.chosen if name in there]

    def _names(self) -> list[str]:
        return [view.name for view in self.views]

    def action_knob(self, knob: Knob | None = None, by: int = 0) -> None:
        """Turn a number up or down."""
        if knob is not None:
            self.cockpit.turn(self._names(), knob, by=by)

    def action_pause(self) -> None:
        """Take nothing new, or go on."""
        self._toggle("paused")

    def action_drain(self) -> None:
        """Finish what runs, and take nothing new; or go on."""
        self._toggle("draining")

    def _toggle(self, knob: Knob) -> None:
        wanted = [self.cockpit.knobs.settings(view) for view in self.views]
        value = not all(getattr(settings, knob) for settings in wanted)
        self.cockpit.turn(self._names(), knob, to=value)

    @work
    async def action_batch(self) -> None:
        """Move to another batch."""
        names = self._names()
        if not names:
            return
        known = sorted(self.at.store.batches)
        first = self.cockpit.knobs.settings(self.views[0]).batch
        question = f"Move {acts.named(names, 'worker')} to which batch?"
        name = await self.app.push_screen_wait(
            Prompt(question, value=first, known=known, pattern=NAME_PATTERN)
        )
        if name:
            self.cockpit.turn(names, "batch", to=name)

    @work
    async def action_clean(self) -> None:
        """Throw away what is kept and not used."""
        names = self._names()
        if not names:
            return
        question = f"What shall {acts.named(names, 'worker')} throw away?"
        chosen = await self.app.push_screen_wait(Choose(question, _CLEANINGS))
        if chosen is not None:
            kept: tuple[Kept, ...] = ("resources", "images", "failed")
            what = kept if chosen == "all" else tuple(one for one in kept if one == chosen)
            self.cockpit.do(acts.clean_workers(names, what))

    @work
    async def action_forget(self) -> None:
        """Forget workers that are offline."""
        there = self.views
        gone = [view for view in there if view.status is WorkerStatus.OFFLINE]
        if not gone:
            self.cockpit.say("only an offline worker can be forgotten; d ends one", warn=True)
            return
        names, held = [view.name for view in gone], sum(view.open for view in gone)
        note = f"{plural(held, 'task')} it still holds will be handed on." if held else ""
        question = f"Forget {acts.named(names, 'worker')}?"
        confirm = Confirm(question, note=note, yes="Forget", grave=bool(held))
        if await self.app.push_screen_wait(confirm):
            self.cockpit.do(acts.forget_workers(names, force=bool(held)))

    @work
    async def action_release(self) -> None:
        """Drain workers, end them, and give their machines back."""
        names, running = self._names(), sum(view.running for view in self.views)
        if not names:
            return
        question = f"End {acts.named(names, 'worker')} and give the machine back?"
        note = f"{plural(running, 'running task')} will end first; nothing new is begun there."
        if await self.app.push_screen_wait(Confirm(question, note=note, yes="End")):
            self.acted()
            self.cockpit.do(acts.release_workers(names))
