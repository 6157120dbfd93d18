"""A few threads that start processes, so that one that is slow to start holds up nobody.

A child belongs to the thread that started it. So what the main thread is the parent of is adopted
orphans, and nothing else: no child can be taken for one while its start is under way.
"""

import _thread
import contextlib
import os
from _queue import SimpleQueue
from collections import deque
from typing import NamedTuple

from pytq.worker.keeper.processes import SEES_CHILDREN
from pytq.worker.keeper.programs import Programs
from pytq.worker.keeper.tasks import Message, Task

THREADS = 2  # more would only wait for the interpreter


class Start(NamedTuple):
    """What came of a start: a pid, or why there is none."""

    task: Task
    pid: int
    error: Exception | None = None


class Spawners:
    """Takes orders, starts them side by side, and hands back what came of each."""

    def __init__(self, wake: int) -> None:
        self.programs = Programs()
        self.wake = wake  # a socket to write to when somebody waits for news
        self.waited_for = False
        self.done: deque[Start] = deque()
        self._orders: SimpleQueue[tuple[Task, Message]] = SimpleQueue()
        self._threads = THREADS if self.programs.native and SEES_CHILDREN else 0
        for _ in range(self._threads):
            _thread.start_new_thread(self._work, ())

    def start(self, task: Task, order: Message) -> None:
        """Have a task started soon."""
        if self._threads:
            self._orders.put((task, order))
        else:
            self.done.append(self._start(task, order))

    def _work(self) -> None:
        while True:
            start = self._start(*self._orders.get())
            self.done.append(start)
            if self.waited_for or start.error:
                with contextlib.suppress(BlockingIOError):  # then it is being woken anyway
                    os.write(self.wake, b"\0")

    def _start(self, task: Task, order: Message) -> Start:
        try:
            return Start(task, self.programs.start(order))
        except Exception as error:  # noqa: BLE001 - whatever it is, the task is told
            return Start(task, 0, error)
