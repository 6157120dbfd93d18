"""Keeps the picture that viewers see up to date: once for all of them, and only what has changed.

Connected workers are looked at in memory; batches, events and workers that came, went or were tuned
are read again once a commit has named them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from pytq.schema.problems import BusyError
from pytq.schema.recruit import JobView
from pytq.schema.states import Phase
from pytq.schema.views import Counts, ServerInfo
from pytq.server.crew import worker_view
from pytq.server.dispatcher import Dispatcher, clock
from pytq.server.fleet import Member
from pytq.server.news import Named
from pytq.server.picture import Picture
from pytq.server.store import viewing
from pytq.server.store.tables import AnyRow

_SECOND: Final = 1_000_000  # microseconds


class Jobs(Protocol):
    """The server's own long acts, as far as a painter cares."""

    @property
    def views(self) -> Mapping[int, JobView]:
        """Every job that is remembered, by number."""


class Painter:
    """Paints one picture; `describe` tells of the server itself, given the tasks' counts."""

    def __init__(
        self, dispatcher: Dispatcher, jobs: Jobs, describe: Callable[[Counts], ServerInfo]
    ) -> None:
        self._dispatcher = dispatcher
        self._jobs = jobs
        self._describe = describe
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.picture = Picture()
        self._counts: dict[str, Counts] = {}  # by batch
        self._rows: dict[str, AnyRow] = {}  # of workers, by name
        self._held: dict[int, Mapping[Phase, int]] = {}  # by workers that are away
        self._drawn: dict[str, tuple[AnyRow, Member | None, int]] = {}
        self._online: Mapping[str, int] = {}
        self._event = 0  # the last one that is shown

    async def begin(self) -> None:
        """Paint everything, and listen for what changes from now on."""
        self._begin_anew()
        self._dispatcher.news.listen()
        try:
            await self._paint(None)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Nobody looks any more."""
        self._dispatcher.news.ignore()
        self._begin_anew()

    async def paint(self) -> None:
        """Bring the picture up to date. `BusyError`: that is not possible now, but will be."""
        named = self._dispatcher.news.take()
        try:
            await self._paint(named)
        except BusyError:
            self._dispatcher.news.put_back(named)
            raise

    async def _paint(self, named: Named | None) -> None:
        wanted = self._wanted(named)
        looked = viewing.Looked()
        if wanted.batches != set() or wanted.workers != set() or wanted.event is not None:
            looked = await self._dispatcher.db.read(lambda conn: viewing.look(conn, wanted))
        version = self.picture.begin()
        self._online = wanted.online
        self._draw_batches(version, looked, wanted.batches or ())
        self._take_rows(version, looked, wanted.workers or ())
        self._draw_workers(version)
        self._draw_jobs(version, self._jobs.views if named is None else named.jobs)
        for event in looked.events:
            self.picture.add_event(event.model_dump_json())
            self._event = event.id
        self._draw_history()
        self.picture.finish(self._describe(self._total()).model_dump_json())

    def _wanted(self, named: Named | None) -> viewing.Wanted:
        fleet = self._dispatcher.fleet
        # As they are now: the look may take place in another thread.
        there, online = frozenset(fleet.members), dict(fleet.online_by_batch())
        if named is None:
            return viewing.Wanted(None, None, there, online, 0)
        moved = {batch for batch, _ in online.items() ^ self._online.items()}
        event = self._event if named.events else None
        return viewing.Wanted(named.batches | moved, named.workers, there, online, event)

    def _draw_batches(self, version: int, looked: viewing.Looked, asked: Iterable[str]) -> None:
        for batch in looked.batches:
            self.picture.batches.put(version, batch.name, batch.model_dump_json())
            self._counts[batch.name] = batch.counts
        for name in set(asked) - {batch.name for batch in looked.batches}:
            self.picture.batches.drop(version, name)
            self._counts.pop(name, None)

    def _take_rows(self, version: int, looked: viewing.Looked, asked: Iterable[str]) -> None:
        self._rows |= {row.name: row for row in looked.workers}
        self._held |= looked.held
        for name in set(asked) - {row.name for row in looked.workers}:
            self._rows.pop(name, None)
            self._drawn.pop(name, None)
            self.picture.workers.drop(version, name)

    def _draw_workers(self, version: int) -> None:
        members = self._dispatcher.fleet.members
        for name, row in self._rows.items():
            member = members.get(row.id)
            moves = member.moves if member else 0
            drawn = self._drawn.get(name)
            if drawn and drawn[0] is row and drawn[1] is member and drawn[2] == moves:
                continue
            self._drawn[name] = row, member, moves
            view = worker_view(row, member, self._held.get(row.id))
            self.picture.workers.put(version, name, view.model_dump_json())

    def _draw_jobs(self, version: int, which: Iterable[int]) -> None:
        for number in which:
            view = self._jobs.views.get(number)
            if view is None:
                self.picture.jobs.drop(version, number)
            else:
                self.picture.jobs.put(version, number, view.model_dump_json())

    def _draw_history(self) -> None:
        history = self._dispatcher.history
        history.at(clock() // _SECOND)  # also where nothing happens, time goes on
        self.picture.put_points(history.since(self.picture.last_point))

    def _total(self) -> Counts:
        total = dict.fromkeys(Counts.model_fields, 0)
        for counts in self._counts.values():
            for status, number in counts:
                total[status] += number
        return Counts(**total)
