"""What the worker and its server say to each other, and when."""

import asyncio
import logging
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from pytq import __version__
from pytq.schema import frames, limits
from pytq.schema.states import Cause, Outcome, Phase
from pytq.schema.views import Load
from pytq.worker import moves
from pytq.worker.hands import Hands
from pytq.worker.link import Frame, Link
from pytq.worker.load import Machine
from pytq.worker.options import WorkerOptions
from pytq.worker.outbox import Entry
from pytq.worker.staging.disk import look

log = logging.getLogger(__name__)

GATHER_SECONDS: Final = 0.05  # outcomes, while there is other work to go on with
GATHER_OUTCOMES: Final = 128
PROGRESS_SECONDS: Final = 0.05
RENEW_SECONDS: Final = 1.0  # between two leases told to the keeper
BEATS_PER_LEASE: Final = 4
LEASE_SHARE: Final = 0.25  # of a lease that is very short, kept as margin


class Dialogue:
    """Frames in, events out; news in, reports out."""

    def __init__(self, options: WorkerOptions, host: Machine, identity: str, hands: Hands) -> None:
        self.hands = hands
        self.machine, self.outbox = hands.machine, hands.outbox
        self.load: Load | None = None  # goes with the next report
        self.link = Link(options.server, options.token, self.hello, self.report, self.receive)
        self.link.dialling, self.link.nobody_there = self._dial, self._find_nobody
        self._options, self._host, self._identity = options, host, identity
        self._incarnation = uuid.uuid4().hex
        self._lease_seconds = limits.LEASE_SECONDS
        self._greeted = self._renewed = 0.0
        self._lease_ends = 0.0  # none is known of
        self._lease_known = False  # how long it is, from a server's own mouth
        self._dialled = 0.0
        self._settled = asyncio.Event()
        self.welcomed: Callable[[], None] = lambda: None  # a server that knows nothing is there
        self._owes_hello = False  # the next report must be sent, news or not

    def hello(self) -> frames.Hello:
        """Who we are, what our command line asked for, and what we hold."""
        options, host = self._options, self._host
        self._greeted = self.hands.clock()
        return frames.Hello(
            protocol=frames.PROTOCOL,
            version=__version__,
            name=options.name,
            identity=self._identity,
            incarnation=self._incarnation,
            boot=host.boot,
            hostname=host.hostname,
            batch=options.batch,
            concurrency=options.concurrency,
            prefetch=options.prefetch,
            cpus=host.cpus,
            memory=host.memory,
            disk=host.disk,
            containers=self.hands.containers.there,
            held=[
                frames.Held(task=execution.ref[0], attempt=execution.ref[1], phase=execution.phase)
                for execution in self.machine.executions.values()
                if not execution.fenced
            ],
        )

    def report(self) -> frames.Report | None:
        """Everything new, safe in the journal first; None when there is nothing to say now."""
        self.hands.write_down()
        if self.outbox.full or not (self.outbox.news or self._owes_hello or self.load):
            return None
        self._owes_hello = False
        report = self.outbox.report(
            self.hands.clock(), self.machine.capacity, self.machine.settings.version, self.load
        )
        self.load = None
        if self.outbox.fresh:  # more output than fits in one
            self.link.report_within(0)
        return report

    def receive(self, frame: Frame) -> None:
        """Take in what the server says."""
        if isinstance(frame, frames.Welcome):
            self._welcome(frame)
        elif isinstance(frame, frames.Orders):
            self._follow(frame)

    def speak_up(self) -> None:
        """See to it that what is new is told in time."""
        fresh = len(self.outbox.fresh)
        if self.outbox.full:
            return  # its answer will bring us back here
        if fresh >= GATHER_OUTCOMES or (fresh and self.machine.hungry):
            self.link.report_within(0)
        elif fresh:
            self.link.report_within(GATHER_SECONDS)
        elif self.outbox.progress:
            self.link.report_within(PROGRESS_SECONDS)

    def tell(self) -> None:
        """Have the next report sent at once: what it always says has changed."""
        self._owes_hello = True
        self.link.report_within(0)

    def beat(self, load: Load) -> None:
        """A sign of life."""
        self.load = load
        self.outbox.repeat(self.hands.clock())
        self.link.report_within(0)

    def _welcome(self, welcome: frames.Welcome) -> None:
        log.info("connected to %s as worker %d", self.link.url, welcome.worker)
        self._know_lease(welcome.lease_seconds)
        self._renew(self._greeted)
        self.tell_lease()
        self.outbox.begin_anew([tail for tails in self.hands.tails.values() for tail in tails])
        self._owes_hello = True
        self.welcomed()
        events: list[moves.Event] = [moves.Fenced(ref) for ref in welcome.fenced]
        self.hands.take(*events, moves.SettingsChanged(welcome.settings), self.lease())
        for execution in self.machine.executions.values():
            if execution.paused:
                told = moves.TellPhase(execution.ref, execution.phase, self._greeted, paused=True)
                self.outbox.progress[execution.ref] = told
        self.link.report_within(0)

    def _follow(self, orders: frames.Orders) -> None:
        if orders.answers is not None:
            sent = self.outbox.answered(orders.answers)
            if sent is not None and sent - self._renewed >= RENEW_SECONDS:
                self._renew(sent)
                self.tell_lease()
        accepted = self._accept(orders.leases) if orders.leases else []
        for ref in (*orders.settled, *orders.fenced):
            if ref not in self.machine.executions:
                self.outbox.drop(ref)  # refused before the machine ever knew it
        events: list[moves.Event] = [moves.Settled(ref) for ref in orders.settled]
        events += [moves.Fenced(ref) for ref in orders.fenced]
        if orders.settings is not None:
            self._owes_hello = True  # to say that they are in effect
            events.append(moves.SettingsChanged(orders.settings))
        if orders.clean is not None:
            self.hands.porter.clean(orders.clean)
        for pin in orders.pins:
            self.hands.porter.pin(pin)
        if orders.take_back:
            events.append(moves.TookBack(orders.take_back))
        events += [moves.Leased((lease.task, lease.attempt), lease.spec) for lease in accepted]
        events += [moves.Signalled((o.task, o.attempt), o.signal) for o in orders.signals]
        self.hands.take(*events)
        self._settled.set()
        if orders.settings is not None or orders.signals or orders.take_back:
            self.link.report_within(0)
        self.speak_up()

    def _accept(self, leases: Sequence[frames.Lease]) -> Sequence[frames.Lease]:
        """Into the journal before anything is done about them; none if that cannot be."""
        new = [
            lease for lease in leases if (lease.task, lease.attempt) not in self.machine.executions
        ]
        self.hands.journal.accept(
            ((lease.task, lease.attempt), lease.model_dump_json(exclude_unset=True))
            for lease in new
        )
        try:
            self.hands.journal.commit()
        except sqlite3.Error as error:
            log.error("leases refused, as the journal cannot be written: %s", error)  # noqa: TRY400 - a full disk needs no traceback
            self.hands.journal.retract()
            disk = look(self._options.home)
            if disk.low:
                self.hands.take(moves.DiskLookedAt(disk.full))
            self._refuse(new, disk.full if disk.low else str(error))
            return []
        return new

    def _refuse(self, leases: Sequence[frames.Lease], why: str) -> None:
        now = self.hands.clock()
        detail = f"the worker's journal cannot be written: {why}"
        for lease in leases:
            verdict = moves.Verdict(Outcome.REFUSED, now, Cause.DISK, detail)
            self.outbox.add(Entry((lease.task, lease.attempt), verdict))

    def lease(self) -> moves.LeaseLookedAt:
        """Whether the server may have given up on us by now."""
        return moves.LeaseLookedAt(passed=self.hands.clock() >= self._lease_ends)

    def inherit(self, seconds: float, length: float) -> None:
        """The agent before this one had a lease that lasts so much longer, of this whole length."""
        self._lease_ends = self.hands.clock() + seconds
        if length:
            self._know_lease(length)
        self.hands.take(self.lease())

    def tell_lease(self) -> None:
        """Tell the keeper how long tasks may run, before it is asked to start any."""
        if self._lease_ends:
            left = max(0.0, self._lease_ends - self.hands.clock())
            order = {"type": "lease", "seconds": left, "grace": self._margin / 2}
            length = {"length": self._lease_seconds} if self._lease_known else {}
            self.hands.keeping.send_first(order | length)

    def _dial(self) -> None:
        self._dialled = self.hands.clock()

    def _find_nobody(self) -> None:
        """The server's machine answers that no server runs there, so nobody can hand anything on.

        The next server will grant a whole lease from its start, which is later than our call: so
        the call counts as much as an answer. Not if the lease had passed: the server before may
        have handed on what we hold.
        """
        if self._lease_known and not self.lease().passed:
            self._renew(self._dialled)
            self.tell_lease()
            self.hands.take(self.lease())

    def _renew(self, since: float) -> None:
        """Tasks may run as long as the server will wait for us, less a margin."""
        self._lease_ends = since + self._lease_seconds - self._margin
        self._renewed = since

    @property
    def _margin(self) -> float:
        return min(limits.LEASE_MARGIN_SECONDS, self._lease_seconds * LEASE_SHARE)

    @property
    def beat_seconds(self) -> float:
        """Between two signs of life: several fit into the shortest lease."""
        return min(limits.HEARTBEAT_SECONDS, self._often) if self._renewed else 1.0

    def _know_lease(self, length: float) -> None:
        self._lease_seconds, self._lease_known = length, True
        self.link.longest_pause = min(limits.RECONNECT_SECONDS, self._often)

    @property
    def _often(self) -> float:
        """Seconds that fit several times into a lease."""
        return (self._lease_seconds - self._margin) / BEATS_PER_LEASE

    async def all_heard(self) -> None:
        """Wait until the server has settled everything, as long as it can be reached."""
        while self.link.up and self.outbox.entries:
            self._settled.clear()
            await self._settled.wait()

    @property
    def still_running(self) -> int:
        """How many executions have processes."""
        return len(self.machine.phases[Phase.RUNNING])
