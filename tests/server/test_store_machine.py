"""A random history of submits, workers, zombies and restarts; invariants after each step."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rig import Rig, check_counts, task

from pytq.schema.problems import ConflictError
from pytq.schema.states import TASK_ENDED, RunWhen, TaskStatus
from pytq.server.fleet import Member
from pytq.server.liveness import Liveness
from pytq.server.store.database import Database
from pytq.server.store.tables import executions, tasks

WORKERS = ("w1", "w2", "w3")
picks = st.integers(min_value=0, max_value=10**6)


class Played:
    """A worker as it sees itself: it may believe in executions that were handed on long ago."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.member: Member | None = None
        self.held: dict[tuple[int, int], str] = {}  # execution -> phase

    def listen(self) -> None:
        """Read what the server has sent."""
        if self.member is None:
            return
        full = self.member.empty()
        self.held |= {(p.task, p.attempt): "assigned" for p in full.leases}
        for ref in (*full.settled, *full.fenced):
            self.held.pop(tuple(ref), None)


class StoreMachine(RuleBasedStateMachine):
    """Everything that can happen to the store, in any order."""

    uri: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.db = self.run(Database.open(self.uri))
        self.rig = Rig(self.db)
        self.workers = {name: Played(name) for name in WORKERS}
        self.zombies: list[tuple[Member, tuple[int, int]]] = []
        self.ids: list[int] = []
        self.keys: dict[str, list[int]] = {}
        self.ended: dict[tuple[int, int], tuple[Any, ...]] = {}

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.db.close())
        self.runner.close()

    # --- what people do

    @rule(count=st.integers(1, 4), retries=st.integers(0, 2), key=st.sampled_from("abcdef"))
    def submit(self, count: int, retries: int, key: str) -> None:
        """The same key must give the same ids; another body is refused."""
        wanted = [task(retries=retries, retry_delay=50.0 * (retries > 1)) for _ in range(count)]
        body = f"{count}/{retries}"
        try:
            answer = self.run(self.rig.queue.submit_tasks(wanted, key, body))
        except ConflictError:
            assert key in self.keys
            return
        assert answer.repeated == (key in self.keys)
        assert self.keys.setdefault(key, answer.ids) == answer.ids
        if not answer.repeated:
            self.ids += answer.ids

    @precondition(lambda self: self.ids)
    @rule(pick=picks, when=st.sampled_from(["succeeded", "ended"]))
    def submit_dependant(self, pick: int, when: str) -> None:
        required = self.ids[pick % len(self.ids)]
        self.ids += self.run(self.rig.submit(task(requirements=[required], run_when=RunWhen(when))))

    @precondition(lambda self: self.ids)
    @rule(pick=picks, act=st.sampled_from(["cancel_task", "retry_task", "delete_task"]))
    def act(self, pick: int, act: str) -> None:
        one = self.ids[pick % len(self.ids)]
        try:
            self.run(getattr(self.rig.queue, act)(one))
        except ConflictError:
            return
        if act == "delete_task":
            self.ids.remove(one)
            self.ended = {ref: row for ref, row in self.ended.items() if ref[0] != one}

    # --- what workers do

    @rule(name=st.sampled_from(WORKERS), keep=st.booleans(), capacity=st.integers(1, 3))
    def connect(self, name: str, keep: bool, capacity: int) -> None:
        """A worker says hello, with everything it believes in or, after a disaster, nothing."""
        played = self.workers[name]
        played.listen()
        if not keep:
            self.zombies += [(played.member, ref) for ref in played.held if played.member]
            played.held = {}
        held = [{"task": t, "attempt": a, "phase": p} for (t, a), p in played.held.items()]
        played.member = self.run(
            self.rig.join(capacity=capacity, name=name, identity=name, held=held)
        )
        for ref in self.rig.welcome.fenced:
            played.held.pop(tuple(ref), None)

    @rule(name=st.sampled_from(WORKERS), heard=st.booleans())
    def leave(self, name: str, heard: bool) -> None:
        self.disconnect(name, heard=heard)

    def disconnect(self, name: str, *, heard: bool) -> None:
        played = self.workers[name]
        if played.member is not None:
            if heard:
                played.listen()
            self.run(self.rig.dispatcher.goodbye(played.member, "test"))
            self.zombies += [(played.member, ref) for ref in played.held]

    @rule(
        name=st.sampled_from(WORKERS),
        pick=picks,
        phase=st.sampled_from(["downloading", "ready", "running", "uploading"]),
    )
    def progress(self, name: str, pick: int, phase: str) -> None:
        played = self.workers[name]
        played.listen()
        if played.member is None or not played.held:
            return
        ref = sorted(played.held)[pick % len(played.held)]
        said = {"task": ref[0], "attempt": ref[1], "phase": phase}
        self.run(self.rig.report(played.member, progress=[said]))
        played.held[ref] = phase
        played.listen()

    @rule(
        name=st.sampled_from(WORKERS),
        pick=picks,
        outcome=st.sampled_from(
            ["succeeded", "succeeded", "failed", "lost", "refused", "cancelled"]
        ),
        twice=st.booleans(),
    )
    def end(self, name: str, pick: int, outcome: str, twice: bool) -> None:
        played = self.workers[name]
        played.listen()
        if played.member is None or not played.held:
            return
        ref = sorted(played.held)[pick % len(played.held)]
        self.say_end(played.member, ref, outcome)
        if twice:
            self.say_end(played.member, ref, outcome)
        played.listen()

    @precondition(lambda self: self.zombies)
    @rule(pick=picks, outcome=st.sampled_from(["succeeded", "failed"]))
    def zombie_speaks(self, pick: int, outcome: str) -> None:
        """Somebody long given up insists on a result."""
        member, ref = self.zombies[pick % len(self.zombies)]
        self.say_end(member, ref, outcome)

    def say_end(self, member: Member, ref: tuple[int, int], outcome: str) -> None:
        cause = None if outcome == "succeeded" else {"failed": "exit"}.get(outcome, outcome)
        ended = {"task": ref[0], "attempt": ref[1], "outcome": outcome, "cause": cause}
        self.run(self.rig.report(member, ended=[ended]))

    # --- what fate does

    @rule(name=st.sampled_from(WORKERS))
    def fall_silent(self, name: str) -> None:
        """A worker is cut off for longer than a lease, and goes on believing in what it holds."""
        self.disconnect(name, heard=True)
        liveness = Liveness(self.rig.dispatcher)
        self.run(liveness.sweep(0))
        self.run(liveness.sweep(31))

    @rule()
    def time_passes(self) -> None:
        """Every next try is due."""
        self.run(self.rig.hurry())

    @rule()
    def balance(self) -> None:
        """What waits behind busy workers is asked back."""

        async def balance() -> None:
            self.rig.dispatcher.balance()

        self.run(balance())

    @rule()
    def restart_server(self) -> None:
        self.rig.dispatcher.close()
        self.run(self.db.close())
        self.db = self.run(Database.open(self.uri))
        seq = self.rig.seq
        self.rig = Rig(self.db)
        self.rig.seq = seq
        for played in self.workers.values():
            played.listen()
            self.zombies += [(played.member, ref) for ref in played.held if played.member]
            played.member = None

    # --- what must hold

    @invariant()
    def counts_equal_reality(self) -> None:
        self.run(check_counts(self.db))

    @invariant()
    def tasks_and_executions_agree(self) -> None:
        """Active means exactly one open execution, of the task's own attempt; else none."""
        self.run(self._check())

    async def _check(self) -> None:
        await self.rig.settle()
        every = await self.db.read(lambda conn: conn.execute(sa.select(tasks)).all())
        tries = await self.db.read(lambda conn: conn.execute(sa.select(executions)).all())
        assert {row.id for row in every} == set(self.ids), "a task was lost or invented"
        open_now = {row.task: row.attempt for row in tries if row.ended_at is None}
        active = {row.id: row.attempt for row in every if row.status == TaskStatus.ACTIVE}
        assert open_now == active
        for row in tries:
            if row.ended_at is not None:
                seen = self.ended.setdefault((row.task, row.attempt), tuple(row))
                assert seen == tuple(row), "an ended execution changed"
        succeeded = {row.task for row in tries if row.outcome == "succeeded"}
        for row in every:
            if row.status == TaskStatus.SUCCEEDED:
                assert row.id in succeeded
            assert row.status not in TASK_ENDED or row.id not in open_now


@pytest.fixture
def uris(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """One database per test; each history begins with empty tables."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'machine.db'}"
        return
    server = request.getfixturevalue("postgres_server")

    async def create() -> None:
        connection = await asyncpg.connect(f"{server}/postgres")
        await connection.execute("DROP DATABASE IF EXISTS machine")
        await connection.execute("CREATE DATABASE machine")
        await connection.close()

    asyncio.run(create())
    yield f"{server}/machine"


async def _empty(uri: str) -> None:
    db = await Database.open(uri)
    tables = ("outputs", "requirements", "executions", "tasks", "task_counts", "submissions",
              "workers", "batches", "events")  # fmt: skip
    for table in tables:
        await db.write(lambda conn, t=table: conn.execute(sa.text(f"DELETE FROM {t}")))  # noqa: S608
    await db.close()


def test_any_history_keeps_the_invariants(uris: str) -> None:
    """Whatever workers, zombies, people and restarts do: one voice, one outcome, right counts."""

    class OnThis(StoreMachine):
        uri = uris

        def __init__(self) -> None:
            asyncio.run(_empty(uris))
            super().__init__()

    examples = int(os.environ.get("PYTQ_STATEFUL_EXAMPLES", "25"))
    run_state_machine_as_test(
        OnThis, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
