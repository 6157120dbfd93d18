"""Simulated time: event loops that never wait, and one clock that says whose turn it is.

Every process of the simulated world that is an asyncio program has an event loop of its own, so
that one can be frozen, killed or be slow while the others go on. Nothing is random but what comes
from the timeline's own generator: the same seed gives the same history.
"""

import asyncio
import contextlib
import heapq
import random
import traceback
from asyncio import base_events, events
from collections.abc import Callable, Coroutine
from typing import Any

Callback = Callable[..., object]


class Timeline:
    """What happens next, in all of the world. Times are seconds since the world began."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)  # noqa: S311 - repeatable, and no secret
        self.steps = 0
        self.errors: list[str] = []  # what no program of ours should ever let happen
        self.digest = 0  # of the history: two runs with one seed are equal step by step
        self.loops: list[NodeLoop] = []
        self._entries: list[tuple[float, int, Callback, tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, what: Callback, *arguments: Any) -> None:
        """Have something happen."""
        self._count += 1
        heapq.heappush(self._entries, (max(when, self.now), self._count, what, arguments))

    def after(self, seconds: float, what: Callback, *arguments: Any) -> None:
        """Have something happen a little later."""
        self.at(self.now + seconds, what, *arguments)

    def between(self, least: float, most: float) -> float:
        """A random duration."""
        return self.random.uniform(least, most)

    def chance(self, of: float) -> bool:
        """Whether something happens that happens so often."""
        return self.random.random() < of

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until then, or until something is true; whether it is."""
        while self._entries and self._entries[0][0] <= until:
            when, number, what, arguments = heapq.heappop(self._entries)
            self.now = when
            self.steps += 1
            what(*arguments)
            self.digest = hash((self.digest, when, number))
            if self.errors or done():
                return done()
        self.now = max(self.now, until)
        return done()

    def close(self) -> None:
        """Let every program end, so that nothing is left half-done in memory."""
        for loop in self.loops:
            loop.kill()
        for loop in self.loops:
            loop.bury()


class _NoSelector:
    def select(self, _timeout: float | None) -> list[object]:
        return []


class NodeLoop(base_events.BaseEventLoop):
    """The event loop of one simulated process; its clock goes at its machine's own rate."""

    def __init__(self, timeline: Timeline, name: str, rate: float = 1.0) -> None:
        super().__init__()
        self.timeline, self.name, self.rate = timeline, name, rate
        self.frozen = self.dead = False
        self._armed = float("inf")
        self._selector = _NoSelector()
        self.set_exception_handler(self._complain)
        self.tasks: list[asyncio.Task[Any]] = []  # so that none is forgotten half-way
        self.set_task_factory(self._make_task)
        timeline.loops.append(self)

    # --- what programs ask of a loop

    def time(self) -> float:
        """This machine's clock."""
        return self.timeline.now * self.rate

    def call_at(self, when: float, callback: Callback, *args: Any, context: Any = None) -> Any:
        handle = super().call_at(when, callback, *args, context=context)
        self._arm(when / self.rate)
        return handle

    def call_soon(self, callback: Callback, *args: Any, context: Any = None) -> Any:
        handle = super().call_soon(callback, *args, context=context)
        self._arm(self.timeline.now)
        return handle

    def call_soon_threadsafe(self, callback: Callback, *args: Any, context: Any = None) -> Any:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, _executor: Any, func: Callback, *args: Any) -> Any:
        """There are no threads: it is done at once, and told a moment later."""
        future = self.create_future()
        result = func(*args)
        self.call_later(0.001, lambda: future.done() or future.set_result(result))
        return future

    def _process_events(self, event_list: list[object]) -> None:
        """There is no outside."""

    # --- what the world does with it

    def spawn(self, work: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Start a program, or a part of one; that it fails is an error of the world's."""
        task = self.create_task(work, name=name)
        task.add_done_callback(self._judge)
        return task

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: everything that has become due happens at once."""
        self.frozen = False
        self._armed = float("inf")
        self._arm(self.timeline.now)

    def kill(self) -> None:
        """SIGKILL: not one more line is run."""
        self.dead = True

    def turn(self) -> None:
        """Run what is due."""
        self._armed = float("inf")
        if self.dead or self.frozen:
            return
        with self._current():
            self.timeline.steps += len(self._ready)
            self._run_once()
        self._arm_next()

    def bury(self) -> None:
        """Unwind every program of a loop that will not run again."""
        with self._current():
            for _ in range(20):
                left = [task for task in self.tasks if not task.done()]
                if not left:
                    break
                for task in left:
                    task.cancel()
                self._scheduled.clear()
                while self._ready:
                    self._run_once()
        self.tasks.clear()
        self.close()

    @contextlib.contextmanager
    def _current(self) -> Any:
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(None)

    def _arm(self, when: float) -> None:
        if when < self._armed and not self.dead:
            self._armed = when
            self.timeline.at(when, self._due, when)

    def _due(self, when: float) -> None:
        if when == self._armed:
            self.turn()

    def _arm_next(self) -> None:
        if self._ready:
            self._arm(self.timeline.now)
        elif self._scheduled:
            # A hair later, so that rounding never makes a timer come a moment too early.
            self._arm(max(self.timeline.now, self._scheduled[0]._when / self.rate + 1e-9))

    def _make_task(self, loop: "NodeLoop", work: Any, **more: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, **more)
        self.tasks.append(task)
        if len(self.tasks) > 1000:
            self.tasks = [one for one in self.tasks if not one.done()]
        return task

    def _judge(self, task: asyncio.Task[Any]) -> None:
        if not self.dead and not task.cancelled() and task.exception() is not None:
            trace = "".join(traceback.format_exception(task.exception()))
            self.timeline.errors.append(f"{self.name}: {trace}")

    def _complain(self, _loop: object, context: dict[str, Any]) -> None:
        if not self.dead:
            error = context.get("exception")
            self.timeline.errors.append(f"{self.name}: {context['message']}: {error!r}")
