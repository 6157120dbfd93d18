"""What the command palette knows: places, every key of the screen, and things by their names."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.message import Message

from pytq.tui import bars, words
from pytq.tui.cockpit import Cockpit
from pytq.tui.filters import TaskQuery
from pytq.tui.messages import ShowTask, ShowTasks, ShowWorker
from pytq.tui.widgets.chrome import display

_SHOWN = 50


class Command(NamedTuple):
    """Something the palette can do."""

    name: str
    help: str
    act: str = ""
    message: Message | None = None


class Commands(Provider):
    """Places, keys, batches, workers, and any task by its number."""

    @property
    def _cockpit(self) -> Cockpit:
        return cast(Cockpit, self.app)

    async def discover(self) -> Hits:
        """What is offered before anything is typed."""
        for command in self._fixed():
            yield DiscoveryHit(command.name, partial(self._run, command), help=command.help)

    async def search(self, query: str) -> Hits:
        """What fits."""
        matcher = self.matcher(query)
        if query.strip().isdigit():
            task = int(query)
            command = Command(f"task {task}", "open it", message=ShowTask(task))
            yield Hit(2.0, command.name, partial(self._run, command), help=command.help)
        shown = 0
        for command in (*self._fixed(), *self._named()):
            score = matcher.match(command.name)
            if score > 0 and shown < _SHOWN:
                shown += 1
                name = matcher.highlight(command.name)
                yield Hit(score, name, partial(self._run, command), help=command.help)

    def _fixed(self) -> Iterator[Command]:
        for number, place in enumerate(bars.PLACES, 1):
            yield Command(f"go to {place}", f"key {number}", f"app.goto('{place}')")
        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            words_ = binding.tooltip
            moves = active.node not in (self.screen, self.app) or binding.action.startswith("goto")
            if words_ and binding.action not in seen and not moves:
                seen.add(binding.action)
                act = f"app.simulate_key('{binding.key}')"
                yield Command(words_, f"key {display(binding)}", act)

    def _named(self) -> Iterable[Command]:
        store = self._cockpit.store
        for name in sorted(store.batches):
            message: Message = ShowTasks(TaskQuery(batch=name))
            yield Command(f"batch {words.clean(name)}", "its tasks", message=message)
        for name in sorted(store.workers):
            yield Command(f"worker {words.clean(name)}", "open it", message=ShowWorker(name))

    async def _run(self, command: Command) -> None:
        if command.message is not None:
            self.app.post_message(command.message)
        else:
            await self.app.run_action(command.act)
