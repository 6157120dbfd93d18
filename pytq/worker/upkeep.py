"""What is looked after once a second: the disk, what is kept, how far transfers have come."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from pytq.schema import limits
from pytq.schema.frames import Staged
from pytq.schema.views import ResourceView
from pytq.worker import moves
from pytq.worker.hands import Hands
from pytq.worker.options import WorkerOptions
from pytq.worker.staging.disk import Ballast, Disk, look

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
TIDY_SECONDS: Final = 10.0  # between two tries to get below the disk's mark
KEPT_SECONDS: Final = 30.0  # between two looks at what is kept, when nobody said that it changed
# After something did not fit the worker asks for nothing for so long, and longer the next time.
PAUSE: Final = 5.0
PAUSE_MAX: Final = 300.0
FORGIVEN_SECONDS: Final = 600.0  # without such a thing, and the next pause is short again
TIGHT: Final = (
    1.5  # times the floor: so much room before a disk that was full is believed not to be
)


class Intake:
    """Whether the disk lets a worker take more. Reads no clock, touches no disk."""

    def __init__(self) -> None:
        self._why = ""  # nothing is taken in; empty while something is
        self._until = 0.0
        self._opened = 0.0
        self._pause = PAUSE

    def judge(self, full: str, disk: Disk, now: float) -> str:
        """Why nothing is taken in, which is empty when something is.

        `full` is what has been believed so far: our own last word, or what a task ran into.
        """
        if not full:
            if disk.low:
                return self._close(disk.full, now)
            if now - self._opened > FORGIVEN_SECONDS:
                self._pause = PAUSE
        elif full != self._why:  # a task ran into it since
            self._close(full, now + self._pause)
            self._pause = min(PAUSE_MAX, 2 * self._pause)
        elif now >= self._until and disk.files and disk.free >= TIGHT * disk.floor:
            log.info("there is room again on %s", disk)
            self._why, self._opened = "", now
            return ""
        return full

    def _close(self, why: str, until: float) -> str:
        log.warning("%s; taking in nothing new until there is room", why)
        self._why, self._until = why, until
        return why


class Upkeep:
    """Keeps a worker in shape, and its server informed. `tell` sends the next report at once."""

    def __init__(
        self, options: WorkerOptions, hands: Hands, ballast: Ballast, tell: Callable[[], None]
    ) -> None:
        self._options = options
        self._hands = hands
        self._ballast = ballast
        self._tell = tell
        self._intake = Intake()
        self._tidied = self._listed = float("-inf")
        self._listing: asyncio.Task[None] | None = None
        self._staged: list[Staged] = []
        self._told: list[ResourceView] = []

    async def run(self) -> None:
        """Look after everything, for ever."""
        try:
            while True:
                self._look(self._hands.clock())
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            if self._listing is not None:
                self._listing.cancel()

    def _look(self, now: float) -> None:
        try:
            self._judge(look(self._options.home), now)
            self._tidy(now)
            self._watch(now)
            if self._listing is None or self._listing.done():  # dockerd may be slow to answer
                self._listing = asyncio.create_task(self._list(now))
        except Exception:
            log.exception("looking after this worker failed; trying again")

    def begin_anew(self) -> None:
        """The server knows nothing: tell all of it."""
        self._told = []
        self._listed = float("-inf")

    def _judge(self, disk: Disk, now: float) -> None:
        believed = self._hands.machine.full
        full = self._intake.judge(believed, disk, now)
        if full != believed:
            self._hands.take(moves.DiskLookedAt(full))
            self._tell()

    def _tidy(self, now: float) -> None:
        if now - self._tidied >= TIDY_SECONDS:
            self._tidied = now
            self._hands.porter.tidy()
            self._ballast.take()

    def _watch(self, now: float) -> None:
        staged = self._hands.porter.staged(now)
        if staged or self._staged:
            self._hands.outbox.staging = self._staged = staged
            self._tell()

    async def _list(self, now: float) -> None:
        porter = self._hands.porter
        if not porter.changed and now - self._listed < KEPT_SECONDS:
            return
        self._listed = now
        try:
            kept = (await porter.kept())[: limits.RESOURCES]
        except Exception:
            log.exception("what is kept cannot be told; trying again")
            return
        if not all(view.ready for view in kept):
            self._listed = float("-inf")  # what grows is looked at again
        shape = [view.model_copy(update={"used": 0.0}) for view in kept]
        if shape != self._told:
            self._told = shape
            self._hands.outbox.kept = kept
            self._tell()
