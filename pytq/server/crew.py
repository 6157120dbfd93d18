"""What people can ask about workers, and the knobs they can turn."""

from collections import Counter
from collections.abc import Mapping

from pytq.schema.problems import ConflictError, NotFoundError
from pytq.schema.queries import WorkerRemoval
from pytq.schema.states import Phase, WorkerStatus
from pytq.schema.views import Cleaning, Pin, ResourceView, WorkerUpdate, WorkerView, moment
from pytq.server.dispatcher import Dispatcher, clock, settings_of
from pytq.server.explaining import Mate
from pytq.server.fleet import Member
from pytq.server.keyring import actor
from pytq.server.rules import Needs
from pytq.server.store import crew, reading
from pytq.server.store.tables import AnyRow


class Crew:
    """Workers, as people see them."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.started_at = clock()

    async def list_workers(self) -> list[WorkerView]:
        """List workers."""
        return await self._look(None)

    async def get_worker(self, name: str) -> WorkerView:
        """Show a worker."""
        found = await self._look(name)
        if not found:
            raise NotFoundError(f"there is no worker {name!r}", field="name")
        return found[0]

    async def update_worker(self, name: str, body: WorkerUpdate) -> WorkerView:
        """Tune a worker: the wish is stored, and sent at once if the worker is connected."""
        by = actor()
        row, _ = await self.dispatcher.db.write(
            lambda conn: crew.tune(conn, clock(), name, body, by),
            lambda tuned: self.dispatcher.told(tuned[1]),
        )
        member = self.dispatcher.fleet.members.get(row.id)
        if member is not None:
            member.tune(settings_of(row))
            self.dispatcher.fleet.awaken([row.batch])
            self.dispatcher.lease_soon()
        return await self.get_worker(name)

    async def delete_worker(self, name: str, query: WorkerRemoval) -> None:
        """Forget a worker that is offline."""
        worker = await self.get_worker(name)
        if worker.id in self.dispatcher.fleet.members:
            raise ConflictError(
                f"worker {name!r} is connected", field="name", cure="stop or drain it first"
            )
        by = actor()
        _, changes = await self.dispatcher.db.write(
            lambda conn: crew.forget(conn, clock(), name, by, force=query.force)
        )
        self.dispatcher.told(changes)

    async def list_resources(self, name: str) -> list[ResourceView]:
        """List what a connected worker keeps: resources and images."""
        return (await self._connected(name)).resources

    async def pin_resource(self, name: str, body: Pin) -> None:
        """Have a worker keep something whatever happens, or no longer."""
        (await self._connected(name)).pin(body)

    async def clean_worker(self, name: str, body: Cleaning) -> None:
        """Have a worker throw away what it keeps and nothing uses."""
        (await self._connected(name)).clean(body)

    def connected(self) -> Mapping[str, int]:
        """The names of connected workers, and how many executions each holds."""
        return {member.name: len(member.held) for member in self.dispatcher.fleet.members.values()}

    def dismiss(self, name: str) -> None:
        """Have a connected worker end, whoever started it."""
        for member in self.dispatcher.fleet.members.values():
            if member.name == name:
                member.turn_away(f"worker {name} was released")

    async def mates(self, batch: str) -> list[Mate]:
        """The workers of a batch, as they look to a task."""
        rows = await self.dispatcher.db.read(reading.list_workers)
        members = self.dispatcher.fleet.members
        return [_mate(row, members.get(row.id)) for row in rows if row.batch == batch]

    async def _connected(self, name: str) -> Member:
        worker = await self.get_worker(name)
        member = self.dispatcher.fleet.members.get(worker.id)
        if member is None:
            raise ConflictError(
                f"worker {name!r} is not connected", field="name", cure="start it, or wait for it"
            )
        return member

    async def _look(self, name: str | None) -> list[WorkerView]:
        names = None if name is None else [name]
        members = self.dispatcher.fleet.members
        there = set(members)  # as they are now: the look may take place in another thread
        rows, held = await self.dispatcher.db.read(lambda conn: reading.crew(conn, names, there))
        return [worker_view(row, members.get(row.id), held.get(row.id)) for row in rows]


def worker_view(row: AnyRow, member: Member | None, held: Mapping[Phase, int] | None) -> WorkerView:
    """A worker as people see it; `held` are the books' counts by phase, while it is not there."""
    if member is not None:
        begun, number, settings = member.begun(), len(member.held), member.settings
    else:
        begun, settings = Counter(held or {}), settings_of(row)
        number = begun.total()
    return WorkerView(
        id=row.id,
        name=row.name,
        hostname=row.hostname,
        status=_status(row, member),
        settings=settings,
        applied=member.applied if member else 0,
        version=row.version,
        cpus=row.cpus,
        memory=row.memory,
        containers=row.containers,
        open=number,
        downloading=begun[Phase.DOWNLOADING],
        ready=begun[Phase.READY],
        running=begun[Phase.RUNNING],
        uploading=begun[Phase.UPLOADING],
        load=member.load if member else None,
        created_at=row.created_at,
        seen_at=moment(row.seen_at if member is None else member.heard_at),
    )


def _mate(row: AnyRow, member: Member | None) -> Mate:
    total = Needs(row.cpus, row.memory, row.disk, row.gpus, row.containers)
    free, held, slots = total, 0, row.concurrency
    if member is not None:
        free, held, slots = member.left, len(member.held), member.capacity or row.concurrency
    return Mate(row.id, row.name, _status(row, member), slots, held, total, free)


def _status(row: AnyRow, member: Member | None) -> WorkerStatus:
    if member is None:
        return WorkerStatus.OFFLINE
    if row.draining:
        return WorkerStatus.DRAINING
    return WorkerStatus.PAUSED if row.paused else WorkerStatus.ONLINE
