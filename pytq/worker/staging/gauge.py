"""How far an execution's inputs or outputs have come, for those who watch."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

from pytq.fetch import Progress
from pytq.fetch.errors import shown
from pytq.schema import limits
from pytq.schema.views import Staging, Transfer

OF_LATE_SECONDS: Final = 5.0  # the rate is over so long

Direction = Literal["in", "out"]


@dataclass(slots=True, eq=False)
class Item:
    """One thing on its way. What tasks share has one progress in the gauges of all of them."""

    uri: str
    progress: Progress = field(default_factory=Progress)
    over: bool = False

    @property
    def begun(self) -> bool:
        """Whether anything of it has moved, or is known."""
        return bool(self.progress.done) or self.progress.total is not None

    @property
    def left(self) -> int:
        """Bytes that are known to be still to come."""
        if self.over or self.progress.total is None:
            return 0
        return max(0, self.progress.total - self.progress.done)


class Gauge:
    """All that is on its way for one execution.

    Items are added in the porter's thread and looked at in the agent's: both only ever append to,
    or copy, the list.
    """

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.items: list[Item] = []
        self._past: deque[tuple[float, int]] = deque()

    def add(self, uri: str, progress: Progress | None = None) -> Item:
        """Begin to watch something."""
        item = Item(uri, progress or Progress())
        self.items.append(item)
        return item

    def look(self, now: float) -> Staging:
        """How far it has come; `now` in seconds, by a clock that only goes forward."""
        items = list(self.items)
        done = sum(item.progress.done for item in items)
        totals = [item.progress.done if item.over else item.progress.total for item in items]
        total = None if None in totals else sum(filter(None, totals))
        rate = self._rate(now, done)
        eta = (total - done) / rate if total is not None and rate > 0 and total >= done else None
        under_way = [item for item in items if item.begun and not item.over]
        return Staging(
            direction=self.direction,
            done=done,
            total=total,
            rate=rate,
            eta=eta,
            transfers=[_transfer(item) for item in under_way[: limits.TRANSFERS_SHOWN]],
            waiting=sum(not item.begun and not item.over for item in items),
        )

    def _rate(self, now: float, done: int) -> float:
        past = self._past
        past.append((now, done))
        while len(past) > 2 and past[1][0] <= now - OF_LATE_SECONDS:  # noqa: PLR2004 - a stretch has two ends
            past.popleft()
        since, before = past[0]
        return max(0.0, (done - before) / (now - since)) if now > since else 0.0


def _transfer(item: Item) -> Transfer:
    uri = shown(item.uri)[: limits.URI_CHARS]
    return Transfer(uri=uri, done=max(0, item.progress.done), total=item.progress.total)
