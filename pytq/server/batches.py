"""What people can ask about batches, and do to them."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TypeVar

from pytq.schema import limits
from pytq.schema.problems import NotFoundError
from pytq.schema.states import Signal, TaskStatus
from pytq.schema.views import Affected, BatchUpdate, BatchView, FailureView, SignalOrder
from pytq.server.crew import Crew
from pytq.server.dispatcher import Dispatcher, clock
from pytq.server.keyring import actor
from pytq.server.store import acting, insight, reading
from pytq.server.store.changes import Changes
from pytq.server.store.database import Connection
from pytq.server.store.writer import Verb

T = TypeVar("T")


class Batches(Crew):
    """Batches, as people see them."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self._known_batches: set[str] = set()  # spares a statement for each submit

    async def list_batches(self) -> list[BatchView]:
        """List batches with their counts."""
        return await self._read(
            lambda conn: reading.list_batches(conn, self.dispatcher.fleet.online_by_batch())
        )

    async def get_batch(self, name: str) -> BatchView:
        """Show a batch."""
        online = self.dispatcher.fleet.online_by_batch()
        found = await self._read(lambda conn: reading.list_batches(conn, online, [name]))
        if not found:
            raise NotFoundError(f"there is no batch {name!r}", field="name")
        return found[0]

    async def update_batch(self, name: str, body: BatchUpdate) -> BatchView:
        """Pause a batch or let it go on."""
        if body.paused is not None:
            paused, by = body.paused, actor()
            await self._act(lambda conn: acting.pause_batch(conn, clock(), name, by, paused=paused))
        return await self.get_batch(name)

    async def cancel_batch(self, name: str) -> Affected:
        """Cancel every open task of a batch."""
        await self.get_batch(name)
        running = await self._read(lambda conn: acting.open_of_batch(conn, name))
        count = await self._sweep(name, (TaskStatus.WAITING, TaskStatus.PENDING), acting.cancel)
        for some in _in_pieces(running):
            await self._act(partial(_on, acting.cancel, some, actor()))
        self.dispatcher.fleet.order(running, Signal.TERM)
        return Affected(count=count + len(running))

    async def retry_batch(self, name: str) -> Affected:
        """Run every failed task of a batch again."""
        await self.get_batch(name)
        return Affected(count=await self._sweep(name, (TaskStatus.FAILED,), acting.retry))

    async def signal_batch(self, name: str, body: SignalOrder) -> Affected:
        """Pause, resume, terminate or kill every execution of a batch that a worker holds.

        Counts those whose worker is connected, or, for an end, all: an end is kept for the others.
        """
        await self.get_batch(name)
        running = await self._read(lambda conn: acting.open_of_batch(conn, name))
        ending = body.signal in (Signal.TERM, Signal.KILL)
        for some in _in_pieces(running) if ending else ():
            await self.dispatcher.db.write(partial(_stop, some, body.signal))
        told = self.dispatcher.fleet.order(running, body.signal)
        return Affected(count=len(running) if ending else told)

    async def list_failures(self, name: str) -> list[FailureView]:
        """List how the failed tasks of a batch failed, the most frequent way first."""
        return await self._read(lambda conn: insight.failures(conn, name))

    async def delete_batch(self, name: str) -> Affected:
        """Delete a batch and its tasks, if none runs."""
        by = actor()

        def then(result: tuple[int, Changes]) -> None:
            self._known_batches.discard(name)
            self.dispatcher.told(result[1])

        count, _ = await self.dispatcher.db.write(
            lambda conn: acting.delete_batch(conn, clock(), name, by), then
        )
        return Affected(count=count)

    async def _sweep(self, name: str, statuses: Sequence[TaskStatus], act: acting.Act) -> int:
        """Do something to all tasks of a batch, a few thousand to a transaction."""
        count = 0
        while True:
            ids = await self._some_of(name, statuses)
            if not ids:
                return count
            await self._act(partial(_on, act, ids, actor()))
            count += len(ids)

    async def _act(self, verb: acting.Verb) -> None:
        await self.dispatcher.db.write(verb, self.dispatcher.told)

    async def _read(self, look: Verb[T]) -> T:
        return await self.dispatcher.db.read(look)

    async def _some_of(self, batch: str, statuses: Sequence[TaskStatus]) -> list[int]:
        return await self._read(lambda conn: acting.some_of_batch(conn, batch, statuses))


def _on(act: acting.Act, ids: Sequence[int], by: str, conn: Connection) -> Changes:
    return act(conn, clock(), ids, by)


def _stop(ids: Sequence[int], signal: Signal, conn: Connection) -> None:
    acting.want_stop(conn, ids, signal)


def _in_pieces(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """So many of them as fit one transaction."""
    most = limits.IDS_PER_REQUEST
    return (ids[begin : begin + most] for begin in range(0, len(ids), most))
