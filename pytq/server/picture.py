"""What viewers see: each thing as JSON, with the version of the picture in which it last changed.

A viewer says which version it has seen and gets what has changed since, however long ago that is:
so nothing has to be kept for one that is slow. Those who are up to date share one text.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from itertools import takewhile
from typing import Generic, TypeVar

from pydantic_core import to_json

from pytq.schema import limits
from pytq.schema.stream import Point

K = TypeVar("K", bound=Hashable)


class Shelf(Generic[K]):
    """Things of one kind, by name."""

    def __init__(self) -> None:
        self._things: dict[K, tuple[int, str]] = {}
        self._gone: dict[K, int] = {}

    def put(self, version: int, name: K, text: str) -> None:
        """Show a thing, new or changed."""
        self._things[name] = version, text
        self._gone.pop(name, None)

    def drop(self, version: int, name: K) -> None:
        """Show a thing no longer."""
        if self._things.pop(name, None) is not None:
            self._gone[name] = version

    def since(self, version: int) -> Iterator[str]:
        """What has come or changed after a version."""
        return (text for at, text in self._things.values() if at > version)

    def gone_since(self, version: int) -> Iterator[str]:
        """What has gone after a version: the names, as JSON."""
        return (to_json(name).decode() for name, at in self._gone.items() if at > version)

    def forget(self, version: int) -> None:
        """Everybody knows what had gone by then."""
        self._gone = {name: at for name, at in self._gone.items() if at > version}


class Picture:
    """Everything that all viewers see alike."""

    def __init__(self) -> None:
        self.version = 0
        self.last_point = -1  # when it began
        self.batches: Shelf[str] = Shelf()
        self.workers: Shelf[str] = Shelf()
        self.jobs: Shelf[int] = Shelf()
        self._events: deque[tuple[int, str]] = deque(maxlen=limits.STREAM_EVENTS)
        self._points: deque[tuple[int, str]] = deque(
            maxlen=limits.HISTORY_SECONDS // limits.HISTORY_STEP
        )
        self._server = "{}"
        self._shared: dict[int, str] = {}

    def begin(self) -> int:
        """Begin a new version: what is put from now on is news in it."""
        self.version += 1
        return self.version

    def finish(self, server: str) -> None:
        """The version is complete."""
        self._server = server
        self._shared.clear()

    def add_event(self, text: str) -> None:
        """Show an event that came after those before."""
        self._events.append((self.version, text))

    def put_points(self, points: Iterable[Point]) -> None:
        """Show points of the history, the last one known already instead of what it was."""
        for point in points:
            text = point.model_dump_json()
            if point.at == self.last_point:
                if self._points and self._points[-1][1] == text:
                    continue
                self._points.pop()
            self._points.append((self.version, text))
            self.last_point = point.at

    def forget(self, version: int) -> None:
        """Every viewer has seen so much."""
        for shelf in (self.batches, self.workers, self.jobs):
            shelf.forget(version)

    def snapshot(self) -> str:
        """The `Snapshot` frame."""
        lists = {name: ",".join(texts) for name, texts in self._lists(-1).items()}
        shown = [f'"{name}":[{text}]' for name, text in lists.items()]
        return f'{{"type":"snapshot","server":{self._server},{",".join(shown)}}}'

    def changes(
        self, seen: int, watched: Iterable[str] = (), *, missed: bool = False, empty: bool = False
    ) -> str | None:
        """The `Changes` frame for somebody who has seen a version.

        None where nothing has changed, unless an `empty` one is wanted.
        """
        shared = self._shared.get(seen)
        if shared is None:
            shared = self._shared[seen] = self._changed(seen)
        own = ",".join(watched)
        if not (shared or own or missed or empty):
            return None
        own = f',"watched":[{own}]' if own else ""
        end = ',"missed":true}' if missed else "}"
        return f'{{"type":"changes","server":{self._server}{shared}{own}{end}'

    def _changed(self, seen: int) -> str:
        lists: dict[str, Iterable[str]] = {
            **self._lists(seen),
            "gone_batches": self.batches.gone_since(seen),
            "gone_workers": self.workers.gone_since(seen),
            "gone_jobs": self.jobs.gone_since(seen),
        }
        texts = {name: ",".join(texts) for name, texts in lists.items()}
        return "".join([f',"{name}":[{text}]' for name, text in texts.items() if text])

    def _lists(self, seen: int) -> dict[str, Iterable[str]]:
        return {
            "batches": self.batches.since(seen),
            "workers": self.workers.since(seen),
            "jobs": self.jobs.since(seen),
            "events": _since(seen, self._events),
            "history": _since(seen, self._points),
        }


def _since(seen: int, dated: "deque[tuple[int, str]]") -> list[str]:
    """What came after a version, in its order: the newest are at the end."""
    new = takewhile(lambda one: one[0] > seen, reversed(dated))
    return [text for _, text in new][::-1]
