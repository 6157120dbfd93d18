"""The application's engine room: the store, the feed that fills it, and acts on their way."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Final, Literal, cast

from textual.app import App
from textual.binding import BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.events import DeliveryComplete, DeliveryFailed, Event, InputEvent, Key, Paste
from textual.timer import Timer

from pytq.client import Client
from pytq.schema.problems import PytqError
from pytq.schema.states import TaskStatus
from pytq.schema.stream import Changes, Snapshot
from pytq.tui import acts, theme
from pytq.tui.acts import Act
from pytq.tui.collecting import Collector
from pytq.tui.driver import TerminalDriver
from pytq.tui.feed import Feed
from pytq.tui.filters import TaskQuery
from pytq.tui.keyboard import Keyboard
from pytq.tui.knobs import GATHER_SECONDS, Knob, Knobs
from pytq.tui.messages import Done, LinkChanged, News, Refused, ShowTasks
from pytq.tui.model import Kind, Store

Choice = Literal["quit", "stop", "leave"]

_SPREAD_SECONDS: Final = 0.2  # nobody reads faster
_WAIT_SECONDS: Final = 0.5  # so long news give way to somebody who types
_TICK_SECONDS: Final = 1.0
_AHEAD_SECONDS: Final = 0.15  # between the pages that are made ready
_UNDOS: Final = 20
_TOAST_SECONDS: Final = 5.0
_LONG_TOAST_SECONDS: Final = 12.0


class Cockpit(App[Choice]):
    """What every screen leans on. `now` is a monotonic clock in seconds."""

    CSS: ClassVar[str] = """
    Toast { padding: 0 1; background: $panel; }
    CommandPalette > Vertical { background: $surface; max-width: 100; }
    CommandPalette #--input { height: auto; border: none; }
    CommandPalette #--input SearchIcon { display: none; }
    """
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, client: Client, *, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.client = client.patient(0)
        self.now = now
        self.store = Store()
        self.store.link.since = now()
        self.knobs = Knobs()
        self.feed = Feed(self.client, self._take, self._lost)
        self.undos: list[Act] = []
        self._collector = Collector(time.monotonic())
        self._keyboard = Keyboard(cast("App[object]", self), super().on_event)
        self._touched: set[Kind] = set()
        self._spread_timer: Timer | None = None
        self._spread_at = 0.0
        self._looked_at: tuple[int, ...] = ()
        for one in theme.THEMES.values():
            self.register_theme(one)
        self.theme = theme.DARK.name

    @property
    def address(self) -> str:
        """Where the server is."""
        return str(self.client.address)

    def on_mount(self) -> None:
        """Begin to listen."""
        self._begin(self.feed.run, name="feed", group="feed")
        self.set_interval(_TICK_SECONDS, self._tick)

    def _begin(self, what: Callable[[], Awaitable[object]], *, name: str, group: str) -> None:
        """Do something in the background."""
        self.run_worker(cast(Any, what), name=name, group=group)

    # --- news

    def _take(self, frame: Snapshot | Changes) -> None:
        was = self.store.link.state
        self._touched |= self.store.take(frame, self.now())
        if was != "live":
            self._touched.add("link")
            self.post_message(LinkChanged())
            self.set_timer(_AHEAD_SECONDS, self._make_ready)
        self._spread_soon()

    def _lost(self, why: str) -> None:
        was = self.store.link.state
        self.store.lost(why, self.now())
        self._touched.add("link")
        if was != "away":
            self.post_message(LinkChanged())
        self._spread_soon()

    async def on_event(self, event: Event) -> None:
        """A key or the mouse: no moment for a pause."""
        if isinstance(event, InputEvent):
            self._collector.pressed(time.monotonic())
        if isinstance(event, Key | Paste) and not event.is_forwarded:
            await self._keyboard.typed(event)
        else:
            await super().on_event(event)

    def get_driver_class(self) -> type[Driver]:
        """In a terminal, a driver that outlives it; Textual's own elsewhere."""
        usual = super().get_driver_class()
        return TerminalDriver if usual is LinuxDriver else usual

    def _tick(self) -> None:
        self._collector.pause(time.monotonic())
        self._touched.add("time")
        self._spread_soon()

    def _spread_soon(self) -> None:
        """Tell the screen, though not more often than somebody can read."""
        if self._spread_timer is None:
            wait = self._spread_at + _SPREAD_SECONDS - time.monotonic()
            if wait <= 0:
                self._spread()
            else:
                self._spread_timer = self.set_timer(wait, self._spread)

    def _spread(self) -> None:
        now = time.monotonic()
        waited = now - self._spread_at
        if self._collector.lately(now) and waited < _WAIT_SECONDS:  # the key comes first
            self._spread_timer = self.set_timer(_WAIT_SECONDS / 10, self._spread)
            return
        self._spread_timer = None
        self._spread_at = now
        touched = frozenset(self._touched)
        self._touched.clear()
        if touched and self._screen_stacks.get(self.current_mode):
            for screen in self.screen_stack:
                screen.post_message(News(touched))

    # --- pages that are there before somebody goes to them

    def _make_ready(self) -> None:
        """Mount one more of the pages while nobody types: that is what a first visit waits for."""
        missing = [mode for mode in self.MODES if mode not in self._screen_stacks]
        if missing and self.is_running:
            if self._collector.calm(time.monotonic()):
                self._init_mode(missing[0])
            self.set_timer(_AHEAD_SECONDS, self._make_ready)

    def delay_update(self, delay: float = 0.0) -> None:
        """Nothing has to be masked while pages change: they are there already.

        Textual's own would show nothing for a twentieth of a second each time.
        """

    def look_at(self, tasks: Iterable[int]) -> None:
        """Hear of these tasks one by one."""
        wanted = tuple(tasks)
        if wanted != self._looked_at:
            self._looked_at = wanted
            self.store.watch_only(wanted)
            self._begin(partial(self.feed.watch, wanted), name="watch", group="watch")

    # --- acts

    def do(self, act: Act) -> None:
        """Ask the server for something; what comes of it comes as a message."""
        self._begin(partial(self._do, act), name=act.title, group="acts")

    async def _do(self, act: Act) -> None:
        try:
            sentence = await act.run(self.client)
        except PytqError as error:
            self.post_message(Refused(act, acts.told(error)))
        else:
            self.post_message(Done(act, sentence))

    def on_done(self, message: Done) -> None:
        """Say what was done, and how to undo it."""
        text = message.sentence
        if message.act.undo is not None:
            self.undos = [*self.undos[-_UNDOS:], message.act.undo]
            text += "  (u undoes it)"
        self.notify(text, timeout=_TOAST_SECONDS, markup=False)

    def on_refused(self, message: Refused) -> None:
        """Say why it was not done."""
        title = f"could not {message.act.title}"
        self.notify(
            message.sentence,
            title=title,
            severity="error",
            timeout=_LONG_TOAST_SECONDS,
            markup=False,
        )

    def on_delivery_complete(self, event: DeliveryComplete) -> None:
        """A file was saved."""
        self.say(f"saved {event.path}" if event.path and not self.is_web else "saved")

    def on_delivery_failed(self, event: DeliveryFailed) -> None:
        """A file could not be saved."""
        self.say(f"could not be saved: {event.exception}", warn=True)

    def say(self, text: str, *, warn: bool = False) -> None:
        """Tell something in passing."""
        severity: Literal["warning", "information"] = "warning" if warn else "information"
        self.notify(text, severity=severity, timeout=_TOAST_SECONDS, markup=False)

    # --- knobs

    def turn(self, names: Iterable[str], knob: Knob, *, by: int = 0, to: object = None) -> None:
        """Turn a knob of workers, by a step or to a value; it shows at once and is sent soon."""
        now = self.now()
        for name in names:
            worker = self.store.workers.get(name)
            if worker is None:
                continue
            if by:
                self.knobs.step(worker, knob, by, now)
            else:
                self.knobs.turn(worker, knob, to, now)
        self._touched.add("workers")
        self._spread_soon()
        self.set_timer(GATHER_SECONDS + 0.02, self._send_knobs)

    def _send_knobs(self) -> None:
        for name, (change, before) in self.knobs.due(self.now()).items():
            act = acts.tune(name, change, before)
            self._begin(partial(self._tune, name, act), name=act.title, group="acts")

    async def _tune(self, name: str, act: Act) -> None:
        await self._do(act)
        self.knobs.answered(name)
        self._touched.add("workers")
        self._spread_soon()

    # --- actions that every screen has

    def action_undo(self) -> None:
        """Undo the last act that can be undone."""
        if self.undos:
            self.do(self.undos.pop())
        else:
            self.say("nothing to undo")

    def action_theme(self) -> None:
        """Light or dark."""
        dark = self.theme == theme.DARK.name
        self.theme = theme.LIGHT.name if dark else theme.DARK.name

    def action_tasks_of(self, status: str) -> None:
        """Show the tasks of a status."""
        self.post_message(ShowTasks(TaskQuery(statuses=(TaskStatus(status),))))

    async def on_unmount(self) -> None:
        """Let acts that are on their way arrive, for a moment."""
        under_way = [worker for worker in self.workers if worker.group == "acts"]
        if under_way:
            waits = [worker.wait() for worker in under_way]
            await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 1.0)
