"""The knobs of workers, from a key pressed to a worker that obeys: pure.

wanted: a key was pressed here. acknowledged: the server keeps the wish, under a version of the
worker's settings. effective: the worker has applied that version. Keys pressed in a row become one
request, because a knob is set to a value and never "one more".
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pytq.schema import limits
from pytq.schema.views import WorkerSettings, WorkerUpdate, WorkerView
from pytq.tui.model import HERE

GATHER_SECONDS: Final = 0.15

Stage = Literal["wanted", "acknowledged", "effective"]
STAGES: Final[tuple[Stage, ...]] = ("wanted", "acknowledged", "effective")
Knob = Literal["batch", "concurrency", "prefetch", "paused", "draining"]
_MOST: Final[dict[Knob, int]] = {"concurrency": limits.CONCURRENCY, "prefetch": limits.PREFETCH}


@dataclass(slots=True)
class _Wish:
    values: dict[str, Any]
    before: dict[str, Any]  # what they were when the first key was pressed
    pressed: float
    sent: bool = False


@dataclass
class Knobs:
    """What was turned here and has not reached the server yet."""

    wishes: dict[str, _Wish] = field(default_factory=dict)

    def turn(self, worker: WorkerView, knob: Knob, value: object, now: float) -> None:
        """Set a knob of a worker."""
        wish = self.wishes.get(worker.name)
        if wish is None or wish.sent:
            # What is on its way stays visible until its answer comes; the newer wish goes after it.
            carried = {} if wish is None else wish.values
            wish = self.wishes[worker.name] = _Wish(dict(carried), {}, now)
        wish.before.setdefault(knob, getattr(worker.settings, knob))
        wish.values[knob] = value
        wish.pressed = now

    def step(self, worker: WorkerView, knob: Knob, by: int, now: float) -> int:
        """Turn a number up or down from where it was last turned to; returns the new value."""
        value = int(getattr(self.settings(worker), knob)) + by
        value = max(0, min(_MOST[knob], value))
        self.turn(worker, knob, value, now)
        return value

    def settings(self, worker: WorkerView) -> WorkerSettings:
        """A worker's settings as wanted here."""
        wish = self.wishes.get(worker.name)
        return worker.settings if wish is None else worker.settings.model_copy(update=wish.values)

    def due(self, now: float) -> dict[str, tuple[WorkerUpdate, WorkerUpdate]]:
        """What to send now: for each worker the change, and the change that undoes it."""
        found = {}
        for name, wish in self.wishes.items():
            if not wish.sent and now - wish.pressed >= GATHER_SECONDS:
                wish.sent = True
                found[name] = _update(wish.values), _update(wish.before)
        return found

    def answered(self, name: str) -> None:
        """The server has answered what was sent for a worker, one way or the other."""
        wish = self.wishes.get(name)
        if wish is not None and wish.sent:
            del self.wishes[name]

    def stage(self, worker: WorkerView) -> Stage:
        """How far a worker's settings have come."""
        if worker.name in self.wishes:
            return "wanted"
        if worker.status not in HERE:
            return "effective"  # nobody can tell; it will say so itself when it is back
        return "effective" if worker.applied >= worker.settings.version else "acknowledged"


def _update(values: dict[str, Any]) -> WorkerUpdate:
    return WorkerUpdate.model_validate(values)
