"""The one writer: verbs queue up here, and whatever has gathered shares one transaction.

Group commit makes durability cheap: a hundred submits cost one fsync. A verb that fails is run
again alone, so that it cannot take its neighbours with it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from pytq.schema import limits
from pytq.schema.problems import BusyError, PytqError, StorageFullError
from pytq.server.store.engine import is_broken, is_full, is_passing

T = TypeVar("T")
Verb = Callable[[sa.Connection], T]

log = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 15.0


class Transactions(Protocol):
    """Where verbs are run: in a thread of SQLite's own, or over asyncpg."""

    async def run(self, verbs: Sequence[Verb[Any]]) -> list[Any]:
        """Run verbs in one transaction; returns their results after the commit."""

    async def close(self) -> None:
        """Let go of the connection."""


@dataclass(slots=True, eq=False)
class _Job:
    prepare: Callable[[], Verb[Any]]
    then: Callable[[Any], None] | None
    done: asyncio.Future[Any]


class Writer:
    """Runs verbs in order, many to a transaction; a caller hears back only after the commit."""

    def __init__(
        self, transactions: Transactions, broken: Callable[[], None] = lambda: None
    ) -> None:
        """`broken` is called when nothing that is written can be trusted any more."""
        self._transactions = transactions
        self._broken = broken
        self._refusal: PytqError | None = None  # why nothing is written any more
        self._troubled_since = 0.0  # in loop time; 0: the last transaction went well
        self._queue: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def refuse(self, error: PytqError) -> None:
        """Write nothing from now on: every verb, waiting ones too, hears why."""
        self._refusal = error

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._work(), name="store-writer")

    async def stop(self) -> None:
        """Finish what is queued, then stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._queue:
            await self._commit(self._take())
        await self._transactions.close()

    def post(
        self,
        prepare: Callable[[], Verb[T]],
        then: Callable[[T], None] | None = None,
    ) -> asyncio.Future[T]:
        """Queue a verb.

        `prepare` gives the verb when its transaction begins: the place to look at memory, since
        the verb itself may run in another thread. `then` is called with its result right after
        the commit, before another transaction begins.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Job(prepare, then, future))
        self._wake.set()
        return future

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await asyncio.shield(self._commit(self._take()))

    def _take(self) -> list[_Job]:
        count = min(len(self._queue), limits.WRITES_PER_COMMIT)
        return [self._queue.popleft() for _ in range(count)]

    async def _commit(self, jobs: list[_Job]) -> None:
        try:
            results = await self._transact(jobs)
        except Exception as error:  # noqa: BLE001 - whatever went wrong belongs to the callers
            await self._mend(jobs, error)
            return
        self._troubled_since = 0.0
        # First what others are waiting for (workers their leases), then the callers' own answers.
        for job, result in zip(jobs, results, strict=True):
            _tell(job, result)
        for job, result in zip(jobs, results, strict=True):
            _answer(job, result)

    async def _mend(self, jobs: list[_Job], error: Exception) -> None:
        """Run verbs again: together while the error may pass, else each alone, then no more.

        Guards in the verbs make it harmless to run one twice. Patience is counted from the first
        error on, so that a thousand callers behind a database that is away do not wait in turn.
        """
        passing = is_passing(error) and self._refusal is None
        if not passing:
            self._troubled_since = 0.0  # the database has answered
        if passing and (pause := self._pause()):
            await asyncio.sleep(pause)
            await self._commit(jobs)
        elif len(jobs) > 1 and not passing:
            for job in jobs:
                await self._commit([job])
        else:
            for job in jobs:
                self._give_up(job, error)

    def _pause(self) -> float:
        """Before the next try: short at first, longer each time; 0 when there is none any more."""
        now = asyncio.get_running_loop().time()
        self._troubled_since = self._troubled_since or now
        waited = now - self._troubled_since
        return min(1.0, max(0.02, waited)) if waited < _PATIENCE_SECONDS else 0.0

    def _give_up(self, job: _Job, error: Exception) -> None:
        if is_broken(error):
            self._broken()
        _fail(job, self._refusal or error)

    async def _transact(self, jobs: list[_Job]) -> list[Any]:
        if self._refusal is not None:
            raise self._refusal
        return await self._transactions.run([job.prepare() for job in jobs])


def _tell(job: _Job, result: Any) -> None:
    if job.then is None:
        return
    try:
        job.then(result)
    except Exception:  # the transaction is committed: whatever this is, the writer must go on
        log.exception("what should follow a commit failed")


def _answer(job: _Job, result: Any) -> None:
    if not job.done.done():
        job.done.set_result(result)


def _fail(job: _Job, error: Exception) -> None:
    if is_full(error):
        error = StorageFullError(
            "the server's disk is full; nothing was changed",
            cure="free some space and send this again",
        )
    elif is_passing(error):
        log.warning("the database does not answer: %s", error)
        error = BusyError("the database does not answer just now; nothing was changed")
    elif isinstance(error, DBAPIError):
        log.error("a write failed", exc_info=error)
    if not job.done.done():
        job.done.set_exception(error)
