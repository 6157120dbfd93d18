"""Lists of tasks: complete, in order, and as cheap with many as with few; on both databases."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from rig import Rig, task

from pytq.schema import limits
from pytq.schema.queries import ExecutionFilter, TaskFilter
from pytq.schema.states import Outcome, TaskStatus
from pytq.server.store import listing, tries
from pytq.server.store.database import Database


@pytest.fixture
async def rig(database_uri: str) -> AsyncIterator[Rig]:
    db = await Database.open(database_uri)
    yield Rig(db)
    await db.close()


async def every(rig: Rig, **wanted: Any) -> list[int]:
    """Page after page to the end: each task once."""
    ids: list[int] = []
    query = TaskFilter(**{"limit": 3, **wanted})
    while True:
        page = await rig.queue.list_tasks(query)
        ids += [one.id for one in page.items]
        if page.next is None:
            assert len(ids) == len(set(ids))
            return ids
        query = query.model_copy(update={"after": page.next})


@pytest.fixture
async def many(rig: Rig) -> list[int]:
    """Tasks of three batches, of every status, with names and words, done by two workers."""
    ids = await rig.submit(
        *[
            task(
                batch="abc"[n % 3],
                name=f"n{n % 4}" if n % 2 else None,
                command=["align", f"read {n}"] if n % 5 else f'echo "quoted" {n} | sort',
                priority=n % 3,
            )
            for n in range(24)
        ]
    )
    for name, batch in (("w1", "a"), ("w2", "b")):
        member = await rig.join(capacity=3, name=name, identity=name, batch=batch)
        held = list(member.held)
        await rig.end(member, held[0])
        await rig.end(member, held[1], "failed", cause="exit", exit_code=2)
    await rig.queue.cancel_task(ids[2])
    return ids


FILTERS: list[dict[str, Any]] = [
    {},
    {"batch": "a"},
    {"batch": "c"},
    {"batch": "nobody"},
    {"status": [TaskStatus.PENDING]},
    {"status": [TaskStatus.FAILED, TaskStatus.SUCCEEDED]},
    {"status": [TaskStatus.ACTIVE], "batch": "b"},
    {"status": [TaskStatus.WAITING]},
    {"name": "n1"},
    {"name": "n3", "status": [TaskStatus.PENDING]},
    {"worker": "w1"},
    {"worker": "w2", "status": [TaskStatus.FAILED]},
    {"worker": "w1", "name": "n1"},
    {"worker": "nobody"},
    {"search": "ALIGN"},
    {"search": "n1"},
    {"search": "read 1"},
    {"search": 'echo "quoted"'},
    {"search": "100%"},
    {"search": "command"},
    {"search": "align", "batch": "a", "status": [TaskStatus.PENDING]},
    {"search": "sort", "worker": "w2"},
]


def fits(row: Any, wanted: dict[str, Any], worker: str | None) -> bool:
    steps = row.spec.steps
    command = steps[0].command if isinstance(steps[0].command, str) else " ".join(steps[0].command)
    text = f"{row.name or ''}\n{command}".lower()
    return (
        wanted.get("batch") in (None, row.batch)
        and row.status in wanted.get("status", [row.status])
        and wanted.get("name") in (None, row.name)
        and wanted.get("worker") in (None, worker)
        and all(word in text for word in wanted.get("search", "").lower().split())
    )


@pytest.mark.usefixtures("many")
async def test_every_filter_finds_exactly_what_fits(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is asked, in either direction and over many pages, a list is right."""
    monkeypatch.setattr(listing, "_WINDOW", 2)
    monkeypatch.setattr(listing, "_MERGED", 2)
    rows = (await rig.queue.list_tasks(TaskFilter(limit=100))).items
    tried = await rig.queue.list_executions(ExecutionFilter(limit=100))
    workers = {one.task: one.worker for one in tried.items}
    for wanted in FILTERS:
        right = [row.id for row in rows if fits(row, wanted, workers.get(row.id))]
        assert await every(rig, **wanted) == sorted(right, reverse=True), wanted
        assert await every(rig, oldest_first=True, **wanted) == sorted(right), wanted


@pytest.mark.usefixtures("many")
async def test_every_order_is_complete(rig: Rig) -> None:
    """By change and by priority: the same tasks, in that order, and turned round exactly."""
    rows = {row.id: row for row in (await rig.queue.list_tasks(TaskFilter(limit=100))).items}
    for wanted in FILTERS:
        right = await every(rig, **wanted)
        changed = await every(rig, sort="changed", **wanted)
        urgent = await every(rig, sort="priority", **wanted)

        assert changed == sorted(right, key=lambda i: (rows[i].changed_at, i), reverse=True)
        assert urgent == sorted(right, key=lambda i: (-rows[i].priority, i))
        for sort, order in (("changed", changed), ("priority", urgent)):
            assert await every(rig, sort=sort, oldest_first=True, **wanted) == order[::-1]


TRIES: list[dict[str, Any]] = [
    {},
    {"open": True},
    {"open": False},
    {"worker": "w1"},
    {"worker": "w2", "open": True},
    {"worker": "nobody"},
    {"outcome": Outcome.FAILED},
    {"outcome": Outcome.LOST},
    {"outcome": Outcome.SUCCEEDED, "worker": "w1"},
    {"task": 1},
    {"task": 1, "outcome": Outcome.FAILED},
]


async def test_lists_of_tries_are_right(
    rig: Rig, many: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over many short pages, every filter of executions finds exactly what fits, newest first."""
    monkeypatch.setattr(tries, "_WINDOW", 2)
    monkeypatch.setattr(limits, "SEARCH_IDS", 4)
    await rig.queue.retry_task(many[0])
    await rig.settle()
    whole = (await rig.queue.list_executions(ExecutionFilter(limit=100))).items
    assert [(one.task, one.attempt) for one in whole] == sorted(
        ((one.task, one.attempt) for one in whole), reverse=True
    )
    for wanted in TRIES:
        right = [
            one.id
            for one in whole
            if wanted.get("worker") in (None, one.worker)
            and wanted.get("outcome") in (None, one.outcome)
            and wanted.get("task") in (None, one.task)
            and wanted.get("open") in (None, one.ended_at is None)
        ]
        query = ExecutionFilter(**{"limit": 2, **wanted})
        found: list[str] = []
        while True:
            page = await rig.queue.list_executions(query)
            found += [one.id for one in page.items]
            if page.next is None:
                break
            query = query.model_copy(update={"after": page.next})
        assert found == right, wanted


async def test_cursors_can_be_made_from_a_task(rig: Rig, many: list[int]) -> None:
    """A viewer may jump: after any task that it shows, in any order."""
    row = await rig.queue.get_task(many[10])
    changed = round(row.changed_at.timestamp() * 1e6)
    for sort, cursor in (
        ("id", f"{row.id}"),
        ("changed", f"{changed}.{row.id}"),
        ("priority", f"{limits.PRIORITY - row.priority}.{row.id}"),
    ):
        whole = await every(rig, sort=sort)
        rest = await every(rig, sort=sort, after=cursor)
        assert rest == whole[whole.index(row.id) + 1 :]


async def test_a_search_looks_so_far_and_no_further(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request looks through so many numbers, then says where to go on, with an empty page."""
    monkeypatch.setattr(limits, "SEARCH_IDS", 4)
    monkeypatch.setattr(listing, "_WINDOW", 2)
    ids = await rig.submit(*[task(name="needle" if n == 0 else "hay") for n in range(20)])

    page = await rig.queue.list_tasks(TaskFilter(search="needle"))

    assert page.items == []
    assert page.next is not None
    assert await every(rig, search="needle") == [ids[0]]


PLANS: list[dict[str, Any]] = [
    {},
    {"batch": "b"},
    {"status": [TaskStatus.FAILED]},
    {"batch": "b", "status": [TaskStatus.FAILED, TaskStatus.PENDING]},
    {"name": "x"},
    {"worker": "w"},
    {"search": "needle", "batch": "b"},
]


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("wanted", PLANS)
async def test_lists_read_an_index_and_sort_nothing(
    database_uri: str, wanted: dict[str, Any], oldest_first: bool
) -> None:
    """By number, a list walks an index in its order, whatever the database knows of the tables."""
    db = await Database.open(database_uri)
    plans: list[str] = []

    def look(conn: sa.Connection) -> None:
        conn.execute(sa.text("INSERT INTO batches VALUES ('b', FALSE, 0), ('c', FALSE, 0)"))
        for batch in "bc":
            for status in ("failed", "pending"):
                conn.execute(
                    sa.text(f"INSERT INTO task_counts VALUES ('{batch}', '{status}', 1)")  # noqa: S608
                )
        _fill(conn)
        explain = "EXPLAIN QUERY PLAN " if db.kind == "sqlite" else "EXPLAIN "

        def plan(conn: Any, _c: Any, statement: str, parameters: Any, _x: Any, _many: bool) -> None:
            if statement.startswith(("SELECT tasks.id", "SELECT executions.task", "SELECT anon")):
                plans.append(
                    "\n".join(map(str, conn.exec_driver_sql(explain + statement, parameters)))
                )

        sa.event.listen(conn, "before_cursor_execute", plan)
        listing.list_tasks(conn, TaskFilter(oldest_first=oldest_first, **wanted))
        sa.event.remove(conn, "before_cursor_execute", plan)

    # In the writer's turn, because there the rows are seen that were just put in.
    await db.write(look)
    await db.close()
    lists = [plan for plan in plans if "LIMIT" in plan.upper() or "tasks" in plan]
    assert lists
    for plan in lists:
        assert "Seq Scan on tasks" not in plan, plan
        assert "TEMP B-TREE FOR ORDER BY" not in plan, plan
        assert "Sort Key: tasks" not in plan, plan
        if wanted:  # all of them, in the order of the table itself, are read from the table
            assert "SCAN tasks" not in plan or "USING" in plan, plan


def _fill(conn: sa.Connection) -> None:
    """A worker with an execution, so that there is something to plan for."""
    conn.execute(
        sa.text(
            "INSERT INTO workers (id, name, identity, incarnation, boot, hostname, version,"
            " declared, batch, concurrency, prefetch, paused, draining, settings_version, cpus,"
            " memory, disk, gpus, containers, gone, created_at, seen_at) VALUES (1, 'w', '', '',"
            " '', '', '', '', 'b', 1, 0, FALSE, FALSE, 1, 1, 1, 1, 0, FALSE, FALSE, 0, 0)"
        )
    )
