"""How often somebody may do something: so many at once, and so many a second from there on."""

import time


class Allowance:
    """A bucket that fills by `rate` a second up to `most`, and is full at first."""

    __slots__ = ("_at", "_left", "most", "rate")

    def __init__(self, rate: float, most: float) -> None:
        self.rate = rate
        self.most = most
        self._left = most
        self._at = time.monotonic()

    def spend(self) -> bool:
        """Take one, if there is one."""
        now = time.monotonic()
        self._left = min(self.most, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    @property
    def is_full(self) -> bool:
        """Whether nothing was taken of late: then nobody needs to remember this one."""
        return self._left + (time.monotonic() - self._at) * self.rate >= self.most
