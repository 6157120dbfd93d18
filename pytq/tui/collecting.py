"""When Python's garbage collector may stop everything: while nobody presses a key."""

import gc
from collections.abc import Iterable, Sequence
from typing import Final

from textual.strip import Strip

_QUIET_SECONDS: Final = 3.0  # without a key, before a pause goes unnoticed
_APART_SECONDS: Final = 30.0
_LATELY_SECONDS: Final = 0.06  # what a key did is on the screen by then
_CALM_SECONDS: Final = 0.3  # nobody is typing
_PATIENCE_SECONDS: Final = 600.0  # then a pause is taken whatever happens
# Painting makes many objects that die within a second: small steps for those, of a millisecond
# each. What outlives them waits, however much it is: the middle steps were the slowest keys.
_THRESHOLDS: Final = (2_000, 1_000_000, 1_000_000)


def spare_pauses() -> None:
    """Collect in small steps, leave alone what was imported, and the old to `Collector`."""
    Strip.divide = _divide  # type: ignore[assignment,method-assign]
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


_divided: Final = Strip.divide


def _divide(strip: Strip, cuts: Iterable[int]) -> Sequence[Strip]:
    """As Textual's; but a strip that stays whole is not kept in its own cache.

    There it keeps itself alive, so that every line that was ever painted waits for the collector,
    with all that hangs on it: in a minute of keys half a million objects.
    """
    cuts = list(cuts)
    return [strip] if cuts == [strip.cell_length] else _divided(strip, cuts)


class Collector:
    """Collects what has gathered once nobody has pressed a key for a while. Times are monotonic."""

    def __init__(self, now: float) -> None:
        self._pressed = self._collected = now

    def pressed(self, now: float) -> None:
        """Somebody is at work."""
        self._pressed = now

    def lately(self, now: float) -> bool:
        """Whether what a key did may still be on its way to the screen."""
        return now - self._pressed < _LATELY_SECONDS

    def calm(self, now: float) -> bool:
        """Whether nobody is in the middle of typing."""
        return now - self._pressed > _CALM_SECONDS

    def pause(self, now: float) -> None:
        """A moment in which a pause could be taken."""
        since = now - self._collected
        quiet = now - self._pressed > _QUIET_SECONDS and since > _APART_SECONDS
        if quiet or since > _PATIENCE_SECONDS:
            self._collected = now
            gc.collect()
