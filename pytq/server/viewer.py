"""One viewer of the event stream: how much it has seen, and which tasks it looks at."""

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final, NamedTuple

from pytq.schema import limits
from pytq.server.hub import Hub, Watcher
from pytq.server.picture import Picture

# Of watched tasks, told in one frame: a task may carry its inputs with it, literally.
_FRAME_CHARS: Final = 1024 * 1024


class Shown(NamedTuple):
    """A watched task as JSON; `written` tells one state of its output from another."""

    task: str
    execution: str
    written: tuple[int, int]  # attempt, bytes


GONE: Final = Shown("null", "null", (0, 0))


class Viewer:
    """What is between the picture and somebody who looks at it."""

    def __init__(self, hub: Hub) -> None:
        self.seen = 0  # a version of the picture
        self._hub = hub
        self._watching = ExitStack()
        self._watcher = Watcher()
        self._waiting: dict[int, Shown] = {}  # to be told with the next frame
        self._written: dict[int, tuple[int, int]] = {}  # as it was told
        self._told_at = asyncio.get_running_loop().time()

    def watch(self, tasks: Iterable[int]) -> None:
        """Look at these tasks, instead of those before; each is told once, changed or not."""
        self._watching.close()
        wanted = dict.fromkeys(tasks)
        self._watcher = self._watching.enter_context(self._hub.watch(wanted))
        self._watcher.news.update(wanted)
        self._waiting = {task: self._waiting[task] for task in wanted if task in self._waiting}
        self._written = {task: self._written[task] for task in wanted if task in self._written}

    def leave(self) -> None:
        """Look no more."""
        self._watching.close()
        self._watcher.news.clear()

    def asks(self) -> list[int]:
        """Watched tasks of which there may be news; none while a big frame waits to be sent."""
        full = sum(len(shown.task) for shown in self._waiting.values()) > _FRAME_CHARS
        return [] if full else list(self._watcher.news)

    def show(self, task: int, shown: Shown) -> None:
        """Tell of a task with the next frame."""
        self._waiting[task] = shown

    def settle(self, tasks: Iterable[int]) -> None:
        """These are being looked at: they are no news any more."""
        for task in tasks:
            self._watcher.news.pop(task, None)

    def ask_again(self, tasks: Iterable[int]) -> None:
        """These could not be looked at: they are news still."""
        for task in tasks:
            self._watcher.news.setdefault(task, None)

    def frame(self, picture: Picture) -> str | None:
        """All that is new for this viewer; None if there is nothing to say yet."""
        now = asyncio.get_running_loop().time()
        missed = self.seen < picture.version - 1
        empty = now - self._told_at >= limits.HEARTBEAT_SECONDS
        watched = [self._told(task, shown) for task, shown in self._waiting.items()]
        frame = picture.changes(self.seen, watched, missed=missed, empty=empty)
        self._waiting.clear()
        self.seen = picture.version
        if frame is not None:
            self._told_at = now
        return frame

    def _told(self, task: int, shown: Shown) -> str:
        before = self._written.get(task)
        grown = before is not None and shown.written > before
        self._written[task] = shown.written
        output = ',"output":true' if grown else ""
        return f'{{"id":{task},"task":{shown.task},"execution":{shown.execution}{output}}}'
