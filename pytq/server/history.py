"""How much happened lately: points of a few seconds each, kept in memory from every commit."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from pytq.schema import limits
from pytq.schema.states import TaskStatus
from pytq.schema.stream import Point
from pytq.server.store.changes import Changes

_KEPT: Final = limits.HISTORY_SECONDS // limits.HISTORY_STEP
# What it is called when tasks come into a status.
_CALLED: Final = {
    TaskStatus.ACTIVE: "started",
    TaskStatus.SUCCEEDED: "succeeded",
    TaskStatus.FAILED: "failed",
}


class History:
    """Points without a gap, oldest first; the last one is not over yet."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=_KEPT)

    def add(self, now: int, changes: Changes) -> None:
        """Count what a commit changed. `now` is in seconds since 1970."""
        if not (changes.moved or changes.lost):
            return
        net: dict[str, int] = {}
        for (_, status), by in changes.moved.items():
            net[status] = net.get(status, 0) + by
        point = self.at(now)
        point.submitted += max(0, sum(net.values()))
        point.lost += changes.lost
        for status, called in _CALLED.items():
            if net.get(status, 0) > 0:
                setattr(point, called, getattr(point, called) + net[status])

    def at(self, now: int) -> Point:
        """The point of this moment; steps in which nothing happened are filled in."""
        step = now - now % limits.HISTORY_STEP
        points = self._points
        if not points or step - points[-1].at > limits.HISTORY_SECONDS:
            points.clear()
            points.append(Point(at=step))
        while points[-1].at < step:
            points.append(Point(at=points[-1].at + limits.HISTORY_STEP))
        return points[-1]  # the last one too where a clock was set back

    def since(self, at: int) -> list[Point]:
        """Points that began at `at` or later, oldest first."""
        return list(self._back_to(at))[::-1]

    def _back_to(self, at: int) -> Iterator[Point]:
        for point in reversed(self._points):
            if point.at < at:
                return
            yield point
