"""Waking those who wait for news of tasks: in memory, after the commit."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from pytq.schema.states import TaskStatus


class Watcher:
    """Somebody who waits for news of some tasks."""

    def __init__(self) -> None:
        self.news: dict[int, TaskStatus | None] = {}  # None: look again, it may be gone
        self._event = asyncio.Event()

    def tell(self, task: int, status: TaskStatus | None) -> None:
        """Leave a piece of news."""
        if status is not None or task not in self.news:
            self.news[task] = status
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for news; False when the time is up."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Hub:
    """Who watches which task."""

    def __init__(self) -> None:
        self._watchers: dict[int, set[Watcher]] = {}

    @contextmanager
    def watch(self, tasks: Iterable[int]) -> Iterator[Watcher]:
        """Watch some tasks for as long as the context lasts."""
        watcher, watched = Watcher(), set(tasks)
        for task in watched:
            self._watchers.setdefault(task, set()).add(watcher)
        try:
            yield watcher
        finally:
            for task in watched:
                others = self._watchers[task]
                others.discard(watcher)
                if not others:
                    del self._watchers[task]

    def tell_all(self) -> None:
        """Have everybody look again, whatever they watch."""
        for task, watchers in self._watchers.items():
            for watcher in watchers:
                watcher.tell(task, None)

    def tell(self, touched: Mapping[int, TaskStatus | None]) -> None:
        """Tell the watchers of these tasks."""
        if not self._watchers:
            return
        for task, status in touched.items():
            for watcher in self._watchers.get(task, ()):
                watcher.tell(task, status)
