"""A queue on a real database, with workers that the test plays."""

import asyncio
import json

import sqlalchemy as sa

from pytq.schema import frames
from pytq.schema.states import TaskStatus
from pytq.schema.tasks import TaskSubmit
from pytq.server.dispatcher import Dispatcher
from pytq.server.fleet import Member
from pytq.server.queue import Queue
from pytq.server.store.database import Database


def task(**about: object) -> TaskSubmit:
    return TaskSubmit.model_validate({"command": ["true"], **about})


def hello(name: str = "w1", identity: str = "id-1", **about: object) -> frames.Hello:
    said = {
        "protocol": 1,
        "version": "test",
        "name": name,
        "identity": identity,
        "incarnation": "one",
        "boot": "boot",
        "hostname": "host",
        "batch": "default",
        "concurrency": 2,
        "prefetch": 0,
        "cpus": 4,
        "memory": 10**9,
        "disk": 10**9,
        **about,
    }
    return frames.Hello.model_validate_json(json.dumps(said))


class Rig:
    """A queue with workers that are played by the test."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.dispatcher = Dispatcher(db, lease_seconds=30)
        self.queue = Queue(self.dispatcher)
        self.seq = 0

    async def submit(self, *submitted: TaskSubmit, key: str | None = None) -> list[int]:
        return (await self.queue.submit_tasks(list(submitted), key, "hash")).ids

    async def join(self, capacity: int = 2, **about: object) -> Member:
        member, self.welcome = await self.dispatcher.welcome(hello(**about))  # type: ignore[arg-type]
        await self.report(member, capacity=capacity)
        return member

    async def report(self, member: Member, capacity: int | None = None, **about: object) -> None:
        self.seq += 1
        said = {"seq": self.seq, "applied": 1, "capacity": capacity or member.capacity}
        await self.dispatcher.take_report(
            member, frames.Report.model_validate_json(json.dumps(said | about))
        )
        await self.settle()

    async def settle(self) -> None:
        """Wait until the writer has nothing left to do, nor anything that follows from it."""
        async with asyncio.timeout(5):
            while True:
                await self.db.write(_nothing)
                if not (self.dispatcher._lease_queued or self.dispatcher._background):
                    return
                await asyncio.sleep(0)

    async def end(
        self, member: Member, one: int, outcome: str = "succeeded", **about: object
    ) -> None:
        attempt = member.held[one].attempt if one in member.held else 1
        ended = {"task": one, "attempt": attempt, "outcome": outcome, "ended": 0.0} | about
        await self.report(member, ended=[ended])

    async def hurry(self) -> None:
        """Let the time of every next try come."""

        def now(conn: sa.Connection) -> None:
            conn.execute(sa.text("UPDATE tasks SET due_at = 1 WHERE due_at IS NOT NULL"))

        await self.db.write(now)
        await self.dispatcher.wake_due()
        await self.settle()

    async def status(self, one: int) -> TaskStatus:
        return (await self.queue.get_task(one)).status


def _nothing(_conn: object) -> None:
    """Queued behind everything else."""


async def check_counts(db: Database) -> None:
    def look(conn: sa.Connection) -> None:
        real = _table(conn, "SELECT batch, status, count(*) FROM tasks GROUP BY 1, 2")
        kept = _table(conn, "SELECT batch, status, n FROM task_counts WHERE n <> 0")
        assert real == kept

    await db.write(look)  # in the writer's turn, so that nothing changes between the two


def _table(conn: sa.Connection, query: str) -> dict[tuple[str, str], int]:
    return {(row[0], row[1]): row[2] for row in conn.execute(sa.text(query))}
