"""When Python's garbage collector may stop everything: while nobody presses a key."""

import gc
from typing import Final

_QUIET_SECONDS: Final = 3.0  # without a key, before a pause goes unnoticed
_APART_SECONDS: Final = 30.0
_PATIENCE_SECONDS: Final = 600.0  # then a pause is taken whatever happens
# Painting makes many objects that die within a second: small steps for those. The old wait.
_THRESHOLDS: Final = (10_000, 3, 1_000_000)


def spare_pauses() -> None:
    """Collect in small steps, leave alone what was imported, and the old to `Collector`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


class Collector:
    """Collects what has gathered once nobody has pressed a key for a while. Times are monotonic."""

    def __init__(self, now: float) -> None:
        self._pressed = self._collected = now

    def pressed(self, now: float) -> None:
        """Somebody is at work."""
        self._pressed = now

    def pause(self, now: float) -> None:
        """A moment in which a pause could be taken."""
        since = now - self._collected
        quiet = now - self._pressed > _QUIET_SECONDS and since > _APART_SECONDS
        if quiet or since > _PATIENCE_SECONDS:
            self._collected = now
            gc.collect()
