"""The connected workers, in memory: what each would take, what it holds, what to tell it next.

Liveness and hunger live here; ownership lives in the database.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pytq.schema.frames import Ref, Report
from pytq.schema.states import Phase, Signal
from pytq.schema.views import Cleaning, Load, Pin, ResourceView, Staging, WorkerSettings
from pytq.server.rules import Hungry, Laden, Needs


class Share(NamedTuple):
    """What an execution takes of a worker's machine."""

    attempt: int
    cpus: float
    memory: int
    disk: int
    gpus: int
    containers: bool = False

    @property
    def asks(self) -> bool:
        """Whether it takes more than a slot."""
        return bool(self.cpus or self.memory or self.disk or self.gpus)


class Parcel(NamedTuple):
    """A lease on its way to a worker; `spec` is JSON already."""

    task: int
    attempt: int
    name: str | None
    spec: str


@dataclass(slots=True)
class Outbox:
    """What a worker is to be told, gathered until its connection is free."""

    answers: int | None = None
    leases: list[Parcel] = field(default_factory=list)
    settled: list[Ref] = field(default_factory=list)
    fenced: list[Ref] = field(default_factory=list)
    signals: list[tuple[int, int, Signal]] = field(default_factory=list)
    settings: WorkerSettings | None = None
    take_back: int = 0
    clean: Cleaning | None = None
    pins: list[Pin] = field(default_factory=list)

    def frame(self) -> str:
        """The `Orders` frame. Built by hand: specs are JSON already, and stay as they are."""
        parts = ['"type":"orders"']
        if self.answers is not None:
            parts.append(f'"answers":{self.answers}')
        if self.leases:
            parts.append(f'"leases":[{",".join(map(_lease_json, self.leases))}]')
        if self.settled:
            parts.append(f'"settled":{json.dumps(self.settled)}')
        if self.fenced:
            parts.append(f'"fenced":{json.dumps(self.fenced)}')
        if self.signals:
            orders = [{"task": t, "attempt": a, "signal": s.value} for t, a, s in self.signals]
            parts.append(f'"signals":{json.dumps(orders)}')
        if self.settings is not None:
            parts.append(f'"settings":{self.settings.model_dump_json()}')
        if self.take_back:
            parts.append(f'"take_back":{self.take_back}')
        if self.clean is not None:
            parts.append(f'"clean":{self.clean.model_dump_json()}')
        if self.pins:
            parts.append(f'"pins":[{",".join(pin.model_dump_json() for pin in self.pins)}]')
        return "{" + ",".join(parts) + "}"


def _lease_json(parcel: Parcel) -> str:
    name = "" if parcel.name is None else f'"name":{json.dumps(parcel.name)},'
    return f'{{"task":{parcel.task},"attempt":{parcel.attempt},{name}"spec":{parcel.spec}}}'


@dataclass(slots=True, eq=False)
class Member:
    """A connected worker."""

    id: int
    name: str
    incarnation: str  # of its agent's process
    settings: WorkerSettings
    cpus: int
    memory: int
    disk: int
    gpus: int
    containers: bool
    held: dict[int, Share] = field(default_factory=dict)  # by task
    phases: dict[int, Phase] = field(default_factory=dict)  # of those that have begun
    heard_at: int = 0  # when it last said something: microseconds since 1970
    moves: int = 0  # grows whenever anything here changes
    capacity: int = 0  # nothing until its first report
    applied: int = 0
    load: Load | None = None
    staging: dict[Ref, Staging] = field(default_factory=dict)
    resources: list[ResourceView] = field(default_factory=list)
    outbox: Outbox = field(default_factory=Outbox)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    turned: str = ""  # why it has to go

    def take(self, report: Report) -> bool:
        """Note what a report says of the worker itself; True if it freed part of its machine."""
        freed = False
        self.moves += 1
        self.capacity = report.capacity
        self.applied = report.applied
        if report.load is not None:
            self.load = report.load
        if report.staging is not None:
            self.staging = {(s.task, s.attempt): s.staging for s in report.staging}
        if report.resources is not None:
            self.resources = report.resources
        for step in report.progress:
            share = self.held.get(step.task)
            if share is not None and share.attempt == step.attempt:
                self.phases[step.task] = step.phase
        for end in report.ended:
            share = self._drop(end.task, end.attempt)
            freed = freed or (share is not None and share.asks)
        return freed

    def _drop(self, task: int, attempt: int) -> Share | None:
        """It does not hold this execution any more; what it took, if it was held."""
        share = self.held.get(task)
        if share is None or share.attempt != attempt:
            return None
        self.phases.pop(task, None)
        return self.held.pop(task)

    def begun(self) -> Counter[Phase]:
        """How many executions are in each phase; those that have not begun are not counted."""
        return Counter(self.phases.values())

    @property
    def willing(self) -> bool:
        """Whether it takes anything at all."""
        return self.capacity > 0 and not (self.settings.paused or self.settings.draining)

    @property
    def total(self) -> Needs:
        """What its machine has."""
        return Needs(float(self.cpus), self.memory, self.disk, self.gpus, self.containers)

    @property
    def left(self) -> Needs:
        """What of that no execution has asked for."""
        cpus, memory, disk, gpus, containers = self.total
        for share in self.held.values():
            cpus -= share.cpus
            memory -= share.memory
            disk -= share.disk
            gpus -= share.gpus
        return Needs(cpus, memory, disk, gpus, containers)

    def hunger(self) -> Hungry:
        """What it would take now."""
        room = max(0, self.capacity - len(self.held)) if self.willing else 0
        left = self.left if room else self.total
        return Hungry(
            worker=self.id,
            batch=self.settings.batch,
            concurrency=self.settings.concurrency,
            held=len(self.held),
            room=room,
            cpus=left.cpus,
            memory=left.memory,
            disk=left.disk,
            gpus=left.gpus,
            containers=self.containers,
        )

    def hand(self, parcel: Parcel, share: Share) -> None:
        """Put a lease into the outbox."""
        self.held[parcel.task] = share
        self.moves += 1
        self.outbox.leases.append(parcel)
        self.wake.set()

    def tell(self, settled: Iterable[Ref], fenced: Iterable[Ref], answers: int) -> None:
        """Put the answer to a report into the outbox."""
        for ref in settled:
            self.outbox.settled.append(ref)
            self._drop(*ref)
        for ref in fenced:
            self.outbox.fenced.append(ref)
            self._drop(*ref)
        self.moves += 1
        self.outbox.answers = answers
        self.wake.set()

    def order(self, task: int, signal: Signal) -> bool:
        """Put a signal into the outbox; False if the worker does not hold the task."""
        share = self.held.get(task)
        if share is None:
            return False
        self.outbox.signals.append((task, share.attempt, signal))
        self.wake.set()
        return True

    def take_back(self, count: int) -> None:
        """Ask for so many executions that have not started."""
        self.outbox.take_back += count
        self.wake.set()

    def tune(self, settings: WorkerSettings) -> None:
        """Put new settings into the outbox."""
        self.settings = settings
        self.moves += 1
        self.outbox.settings = settings
        self.wake.set()

    def turn_away(self, why: str) -> None:
        """Have it go, for good."""
        self.turned = why
        self.wake.set()

    def clean(self, wish: Cleaning) -> None:
        """Put a wish to clean up into the outbox."""
        self.outbox.clean = wish
        self.wake.set()

    def pin(self, pin: Pin) -> None:
        """Put a pin into the outbox."""
        self.outbox.pins.append(pin)
        self.wake.set()

    def empty(self) -> Outbox:
        """Take the outbox's content, leaving a new one."""
        self.wake.clear()
        full, self.outbox = self.outbox, Outbox()
        return full


class Fleet:
    """All connected workers, and which batches have nothing for any of them."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self._dry: set[str] = set()

    def join(self, member: Member) -> Member | None:
        """Add a worker; returns the connection it replaces, if there is one."""
        older = self.members.get(member.id)
        self.members[member.id] = member
        self._dry.discard(member.settings.batch)
        return older

    def leave(self, member: Member) -> None:
        """Remove a worker, unless a newer connection has taken its place."""
        if self.members.get(member.id) is member:
            del self.members[member.id]

    def awaken(self, batches: Iterable[str]) -> None:
        """These batches may have something to lease again."""
        self._dry.difference_update(batches)

    def awaken_all(self) -> None:
        """Any batch may have something: it is not known what was missed."""
        self._dry.clear()

    def known(self) -> dict[int, frozenset[int]]:
        """The tasks that each connected worker is known to hold."""
        return {member.id: frozenset(member.held) for member in self.members.values()}

    def dry_up(self, batches: Iterable[str]) -> None:
        """These batches have nothing more that fits anybody."""
        self._dry.update(batches)

    def hungry(self) -> list[Hungry]:
        """Every worker that would take something its batch may have."""
        found: list[Hungry] = []
        for member in self.members.values():
            if member.settings.batch not in self._dry and member.capacity > len(member.held):
                hunger = member.hunger()
                if hunger.room:
                    found.append(hunger)
        if found:
            willing = self._willing_by_batch()
            for hunger in found:
                hunger.peers = willing[hunger.batch] - 1
        return found

    def idle(self) -> list[Hungry]:
        """Workers with empty slots whose batch has nothing for them."""
        return [
            member.hunger()
            for member in self.members.values()
            if member.settings.batch in self._dry
            and member.willing
            and len(member.held) < min(member.settings.concurrency, member.capacity)
        ]

    def laden(self, batches: Collection[str]) -> list[Laden]:
        """Workers of these batches that hold more than they can run at once."""
        found = []
        for member in self.members.values():
            surplus = len(member.held) - member.settings.concurrency
            if surplus > 0 and member.settings.batch in batches:
                shares = member.held.values()
                needs = Needs(
                    max(share.cpus for share in shares),
                    max(share.memory for share in shares),
                    max(share.disk for share in shares),
                    max(share.gpus for share in shares),
                    any(share.containers for share in shares),
                )
                found.append(Laden(member.id, member.settings.batch, surplus, needs))
        return found

    def _willing_by_batch(self) -> dict[str, int]:
        count: dict[str, int] = {}
        for member in self.members.values():
            if member.willing:
                count[member.settings.batch] = count.get(member.settings.batch, 0) + 1
        return count

    def holder(self, task: int) -> Member | None:
        """The connected worker that holds a task."""
        for member in self.members.values():
            if task in member.held:
                return member
        return None

    def order(self, tasks: Collection[int], signal: Signal) -> int:
        """Send a signal to those of the tasks that connected workers hold; returns how many."""
        wanted = set(tasks)
        told = 0
        for member in self.members.values():
            for task in wanted & member.held.keys():
                told += member.order(task, signal)
        return told

    def staging(self, ref: Ref) -> Staging | None:
        """How far an execution's inputs or outputs have come, as its worker told of late."""
        member = self.holder(ref[0])
        return None if member is None else member.staging.get(ref)

    def online_by_batch(self) -> Mapping[str, int]:
        """How many connected workers each batch has."""
        count: dict[str, int] = {}
        for member in self.members.values():
            count[member.settings.batch] = count.get(member.settings.batch, 0) + 1
        return count
