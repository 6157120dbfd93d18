"""The one writer: verbs queue up here, and whatever has gathered shares one transaction.

Group commit makes durability cheap: a hundred submits cost one fsync. A verb that fails is run
again alone, so that it cannot take its neighbours with it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pytq.schema import limits
from pytq.schema.problems import BusyError, PytqError, StorageFullError
from pytq.server.store.engine import is_full, is_passing

T = TypeVar("T")
Verb = Callable[[AsyncConnection], Awaitable[T]]

log = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 15.0


@dataclass(slots=True, eq=False)
class _Job:
    verb: Verb[Any]
    then: Callable[[Any], None] | None
    done: asyncio.Future[Any]


class Writer:
    """Runs verbs in order, many to a transaction; a caller hears back only after the commit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._queue: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.commits = 0

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
        await self._disconnect()

    def post(self, verb: Verb[T], then: Callable[[T], None] | None = None) -> asyncio.Future[T]:
        """Queue a verb.

        `then` is called with its result right after the commit, before another verb begins.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Job(verb, then, future))
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
            if len(jobs) > 1:
                for job in jobs:
                    await self._commit([job])
            elif is_passing(error):
                await self._insist(jobs[0], error)
            else:
                _fail(jobs[0], error)
            return
        self.commits += 1
        for job, result in zip(jobs, results, strict=True):
            _succeed(job, result)

    async def _insist(self, job: _Job, error: Exception) -> None:
        """Run a verb again after a passing error. Guards in the verbs make that harmless."""
        loop = asyncio.get_running_loop()
        give_up, pause = loop.time() + _PATIENCE_SECONDS, 0.02
        while loop.time() < give_up:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
            try:
                [result] = await self._transact([job])
            except Exception as again:  # noqa: BLE001 - judged below
                error = again
                if not is_passing(again):
                    break
            else:
                _succeed(job, result)
                return
        _fail(job, error)

    async def _transact(self, jobs: list[_Job]) -> list[Any]:
        connection = await self._connect()
        try:
            async with connection.begin():
                return [await job.verb(connection) for job in jobs]
        except PytqError:
            raise
        except BaseException:
            # The next transaction begins on a connection that is known to be sound.
            await self._disconnect()
            raise

    async def _connect(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = await self._engine.connect()
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            except Exception:
                log.debug("closing a broken connection failed", exc_info=True)


def _succeed(job: _Job, result: Any) -> None:
    if job.then is not None:
        job.then(result)
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
