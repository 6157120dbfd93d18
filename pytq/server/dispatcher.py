"""Where workers and the store meet: leases out, reports in, each in as few commits as possible."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Final

from pytq.schema import limits
from pytq.schema.frames import PROTOCOL, Hello, Ref, Report, Welcome
from pytq.schema.problems import BusyError, StorageFullError
from pytq.schema.states import Signal
from pytq.schema.views import WorkerSettings
from pytq.server.fleet import Fleet, Member, Parcel, Share
from pytq.server.history import History
from pytq.server.hub import Hub
from pytq.server.news import News
from pytq.server.rules import share_out
from pytq.server.store import crew, leasing, promoting, reporting
from pytq.server.store.changes import Changes
from pytq.server.store.database import Database
from pytq.server.store.tables import AnyRow
from pytq.server.store.writer import Verb

log = logging.getLogger(__name__)

BALANCE_SECONDS: Final = 2.0  # short tasks are over by then; longer ones are worth moving
_RETRY_SECONDS: Final = 1.0
_SECOND: Final = 1_000_000  # microseconds


def clock() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1000


class Dispatcher:
    """Leases tasks to connected workers and takes in what they report."""

    def __init__(self, db: Database, lease_seconds: float = limits.LEASE_SECONDS) -> None:
        self.db = db
        self.fleet = Fleet()
        self.hub = Hub()
        self.history = History()
        self.news = News()
        self.lease_seconds = lease_seconds
        self._lease_queued = False
        self._unheard = False  # a lease pass has begun, and what came of it is not known
        self._astray = False  # one failed for good: what it may have leased must be looked for
        self._balancing: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None  # the next try that is due
        self._arriving: Counter[int] = Counter()  # workers that have said hello and not joined yet
        self._background: set[asyncio.Task[None]] = set()

    # --- leasing

    def lease_soon(self) -> None:
        """Queue one lease pass, if anybody is hungry.

        Called right after a write is queued, so that what it frees or brings is leased in the
        very same transaction.
        """
        if self._lease_queued or not (self._astray or self.fleet.hungry()):
            return
        self._lease_queued = True
        self.db.post(self._lease, self._deliver).add_done_callback(self._check_lease)

    def _lease(self) -> Verb[leasing.Leased]:
        # From here on a new pass may be queued: it will run after this one was delivered.
        self._lease_queued = False
        # The pass before failed, and may have been committed all the same.
        known = self.fleet.known() if self._unheard else None
        self._unheard = True
        return partial(leasing.lease, now=clock(), hungry=self.fleet.hungry(), known=known)

    def _deliver(self, leased: leasing.Leased) -> None:
        self._unheard = self._astray = False
        for row in leased.astray:
            if row.worker in self.fleet.members:
                _hand(self.fleet.members[row.worker], row)
        undelivered: list[Ref] = []
        for grant in leased.granted:
            task = grant.candidate
            member = self.fleet.members.get(grant.worker)
            if member is None:
                if not self._arriving[grant.worker]:  # else it is about to be sent all it has
                    undelivered.append((task.task, grant.attempt))
                continue
            member.hand(
                Parcel(task.task, grant.attempt, task.name, task.spec),
                Share(grant.attempt, task.cpus, task.memory, task.disk, task.gpus, task.containers),
            )
        self.fleet.dry_up(leased.dry)
        self.told(leased.changes)
        if undelivered:
            self._hand_back(undelivered).add_done_callback(_note_failure)

    def _check_lease(self, done: "asyncio.Future[leasing.Leased]") -> None:
        if done.cancelled() or done.exception() is None:
            return
        log.warning("leasing failed, trying again: %s", done.exception())
        self._lease_queued, self._astray = False, True
        asyncio.get_running_loop().call_later(_RETRY_SECONDS, self.lease_soon)

    def _hand_back(self, refs: list[Ref]) -> "asyncio.Future[Changes]":
        """Leases that never reached their worker go to somebody else.

        Queued at once: a worker that says hello from here on is not sent them.
        """
        return self.db.post(lambda: lambda conn: crew.hand_back(conn, clock(), refs), self.told)

    def told(self, changes: Changes) -> None:
        """After a commit: wake waiters and viewers, and lease what has become pending."""
        self.history.add(clock() // _SECOND, changes)
        self.news.hear(changes)
        if changes.touched:
            self.hub.tell(changes.touched)
        if changes.swept:
            self.hub.tell_all()
        if changes.due is not None:
            self._look_again(changes.due)
        if changes.awake:
            self.fleet.awaken(changes.awake)
            self.lease_soon()

    # --- sharing out

    def _balance_soon(self) -> None:
        """Slots became free: see in a moment whether they stay so beside somebody's queue."""
        if self._balancing is None:
            loop = asyncio.get_running_loop()
            self._balancing = loop.call_later(BALANCE_SECONDS, self.balance)

    def balance(self) -> None:
        """Take back what waits behind busy workers for as many slots as are empty elsewhere."""
        self._balancing = None
        idle = self.fleet.idle()
        wanted = share_out(idle, self.fleet.laden({worker.batch for worker in idle}))
        for worker, count in wanted.items():
            self.fleet.members[worker].take_back(count)
        if wanted:
            self._balance_soon()

    # --- next tries

    async def wake_due(self) -> None:
        """Let those go on whose next try is due, and look again when the next one is."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        try:
            self.told(await self.db.write(lambda conn: promoting.wake_due(conn, clock())))
        except (BusyError, StorageFullError):
            self._look_again(clock() + round(_RETRY_SECONDS * 1e6))

    def _look_again(self, when: int) -> None:
        """At `when`, or earlier if that is planned."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, (when - clock()) / 1e6)
        if self._alarm is not None:
            if self._alarm.when() <= due:
                return
            self._alarm.cancel()
        self._alarm = loop.call_at(due, lambda: self._run_in_background(self.wake_due()))

    # --- reports

    async def take_report(self, member: Member, report: Report) -> None:
        """Take in a report; its answer is in the member's outbox when this returns."""
        before = member.capacity
        member.heard_at = clock()
        if member.take(report):
            self.fleet.awaken([member.settings.batch])
        if report.ended or report.capacity > before:
            self._balance_soon()
        if report.staging:  # no commit tells of it
            self.hub.tell(dict.fromkeys(staged.task for staged in report.staging))
        if report.progress or report.chunks or report.ended:
            said = reporting.Said(member.id, clock(), report.progress, report.chunks, report.ended)
            done = self.db.post(
                lambda: partial(reporting.report, said=said), partial(self._took, member, report)
            )
            self.lease_soon()
            await done
        else:
            member.tell((), (), report.seq)
            self.lease_soon()

    def _took(self, member: Member, report: Report, taken: reporting.Taken) -> None:
        member.tell(taken.settled, taken.fenced, report.seq)
        if report.chunks or report.progress:
            news = {chunk.task for chunk in report.chunks} | {p.task for p in report.progress}
            self.hub.tell(dict.fromkeys(news))
        self.told(taken.changes)

    # --- coming and going

    async def welcome(self, hello: Hello) -> tuple[Member, Welcome]:
        """Register a worker, settle what it holds against the books, and let it join."""
        self._refuse_a_copy(hello)
        row, same, greeted = await self.db.write(lambda conn: crew.greet(conn, clock(), hello))
        held = [(execution.task, execution.attempt) for execution in hello.held]
        joined: list[tuple[Member, Welcome]] = []

        def join(found: tuple[AnyRow, Sequence[AnyRow], Changes]) -> None:
            # Before another transaction begins: nobody can hand back what is being sent.
            joined.append(self._join(hello, found[0], found[1], held))
            self.told(greeted)
            self.told(found[2])

        self._arriving[row.id] += 1
        try:
            await self.db.write(
                lambda conn: crew.reconcile(conn, clock(), row.id, held, same_identity=same), join
            )
        finally:
            self._arriving[row.id] -= 1
        return joined[0]

    def _refuse_a_copy(self, hello: Hello) -> None:
        """Whoever is connected stays: the newcomer may be a copy of its machine."""
        for member in self.fleet.members.values():
            if member.name == hello.name and member.incarnation != hello.incarnation:
                raise BusyError(
                    f"worker {hello.name} is connected through another process",
                    cure="if this one's folder is a copy of that one's, give it another name",
                )

    def _join(
        self, hello: Hello, row: AnyRow, open_now: Sequence[AnyRow], held: list[Ref]
    ) -> tuple[Member, Welcome]:
        member = self._member(row, hello.incarnation)
        welcome = self._introduce(member, open_now, held)
        member.heard_at = clock()
        member.phases = {one.task: one.phase for one in hello.held if one.task in member.held}
        older = self.fleet.join(member)
        if older is not None:
            older.turn_away("another connection of this worker took over")
        return member, welcome

    def _member(self, row: AnyRow, incarnation: str) -> Member:
        return Member(
            id=row.id,
            name=row.name,
            incarnation=incarnation,
            settings=settings_of(row),
            cpus=row.cpus,
            memory=row.memory,
            disk=row.disk,
            gpus=row.gpus,
            containers=row.containers,
        )

    def _introduce(self, member: Member, open_now: Sequence[AnyRow], held: list[Ref]) -> Welcome:
        said, mine = set(held), {(row.task, row.attempt) for row in open_now}
        for row in open_now:
            if (row.task, row.attempt) in said:
                member.held[row.task] = _share(row)
            else:
                _hand(member, row)
            if row.stop_wanted:
                member.order(row.task, Signal(row.stop_wanted))
        return Welcome(
            protocol=PROTOCOL,
            worker=member.id,
            settings=member.settings,
            lease_seconds=self.lease_seconds,
            keep=sorted(said & mine),
            fenced=sorted(said - mine),
        )

    async def goodbye(self, member: Member, why: str) -> None:
        """A worker's connection ended; what never left the outbox goes to somebody else."""
        if self.fleet.members.get(member.id) is not member:
            return
        self.fleet.leave(member)
        unsent = [(parcel.task, parcel.attempt) for parcel in member.empty().leases]
        try:
            if unsent and not self._arriving[member.id]:
                await self._hand_back(unsent)
            left = partial(crew.left, worker=member.id, name=member.name, why=why)
            await self.db.write(lambda conn: left(conn, clock()), self.told)
        except (BusyError, StorageFullError):
            log.warning("could not write down that worker %s went offline", member.name)

    def close(self) -> None:
        """Look at nothing any more."""
        for timer in (self._balancing, self._alarm):
            if timer is not None:
                timer.cancel()

    def _run_in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _note_failure(done: "asyncio.Future[Changes]") -> None:
    if not done.cancelled() and done.exception() is not None:
        log.warning("leases stay with a worker that has gone for now: %s", done.exception())


def _share(row: AnyRow) -> Share:
    return Share(row.attempt, row.cpus, row.memory, row.disk, row.gpus, row.containers)


def _hand(member: Member, row: AnyRow) -> None:
    """Send an open execution to its worker; one that it holds already does no harm."""
    member.hand(Parcel(row.task, row.attempt, row.name, row.spec), _share(row))


def settings_of(row: AnyRow) -> WorkerSettings:
    """A worker's settings, from its row."""
    return WorkerSettings(
        version=row.settings_version,
        batch=row.batch,
        concurrency=row.concurrency,
        prefetch=row.prefetch,
        paused=row.paused,
        draining=row.draining,
    )
