"""How fast things go, and when they will be over: pure sums over the history."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pytq.schema import limits
from pytq.schema.stream import Point
from pytq.schema.views import BatchView, Counts

_SAMPLE_SECONDS: Final = 5.0
_SAMPLES: Final = 120  # ten minutes
_ENOUGH_SECONDS: Final = 30.0  # of watching a batch, before its own pace is believed
_RECENT_POINTS: Final = 60 // limits.HISTORY_STEP
_MINUTE: Final = 60


def ended(counts: Counts) -> int:
    """How many tasks have come to an end."""
    return counts.succeeded + counts.failed + counts.cancelled


def left(counts: Counts) -> int:
    """How many tasks have not."""
    return counts.waiting + counts.pending + counts.active


def total(counts: Counts) -> int:
    """How many tasks there are."""
    return ended(counts) + left(counts)


@dataclass
class Pace:
    """How many tasks of each batch had ended at moments of the last ten minutes."""

    samples: deque[tuple[float, dict[str, int]]] = field(
        default_factory=lambda: deque(maxlen=_SAMPLES)
    )

    def note(self, now: float, batches: Mapping[str, BatchView]) -> None:
        """Remember how things stand, at most once in five seconds."""
        if self.samples and now - self.samples[-1][0] < _SAMPLE_SECONDS:
            return
        self.samples.append((now, {name: ended(b.counts) for name, b in batches.items()}))

    def of(self, batch: BatchView, now: float) -> float | None:
        """How many of its tasks ended a second since we look; None: not known yet."""
        first = next((s for s in self.samples if batch.name in s[1]), None)
        if first is None or now - first[0] < _ENOUGH_SECONDS:
            return None
        return max(0, ended(batch.counts) - first[1][batch.name]) / (now - first[0])


def recent(points: Sequence[Point]) -> Point:
    """The last minute in one point."""
    last = points[-_RECENT_POINTS:]
    return Point(
        at=last[0].at if last else 0,
        submitted=sum(point.submitted for point in last),
        started=sum(point.started for point in last),
        succeeded=sum(point.succeeded for point in last),
        failed=sum(point.failed for point in last),
        lost=sum(point.lost for point in last),
    )


def seconds_left(
    batch: BatchView, pace: Pace, points: Sequence[Point], active: int, now: float
) -> float | None:
    """When a batch will be done at its pace, in seconds; None where nobody can tell.

    Before we have watched it for long enough, it gets its share of the server's throughput: as
    large as its share of the tasks that are active.
    """
    todo = left(batch.counts)
    if not todo or batch.paused:
        return None
    speed = pace.of(batch, now)
    if speed is None:
        last = points[-_RECENT_POINTS:]
        seconds = len(last) * limits.HISTORY_STEP
        if not seconds or not active:
            return None
        done = sum(point.succeeded + point.failed for point in last)
        speed = done / seconds * batch.counts.active / active
    return todo / speed if speed > 0 else None


def buckets(points: Iterable[Point], until: int, seconds: int, amount: int) -> list[Point]:
    """The history as `amount` points of `seconds` each, the last one ending at `until`."""
    first = until - seconds * amount
    sums = [[0] * 5 for _ in range(amount)]
    for point in points:
        index = (point.at - first) // seconds
        if 0 <= index < amount:
            for place, value in enumerate(_values(point)):
                sums[index][place] += value
    return [
        Point(
            at=first + index * seconds,
            submitted=s[0],
            started=s[1],
            succeeded=s[2],
            failed=s[3],
            lost=s[4],
        )
        for index, s in enumerate(sums)
    ]


def _values(point: Point) -> tuple[int, int, int, int, int]:
    return point.submitted, point.started, point.succeeded, point.failed, point.lost


def a_minute(amount: int, seconds: int) -> float:
    """So many in so many seconds, as a rate by the minute."""
    return amount * _MINUTE / seconds
