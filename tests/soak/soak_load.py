"""What the soak has run: thousands of small commands that tell a ledger what became of them.

Each command holds a lock on its task's file for as long as anything of it lives, so two executions
of one task at the same time find out themselves, wherever they run.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from pytq.client import Client
from pytq.schema.problems import PytqError
from pytq.schema.states import Cause, TaskStatus

BACKLOG: Final = 1500  # tasks that wait; more are not brought
SUBMITTERS: Final = 4
SCRIPT: Final = """
exec 9>>"$SHARED/locks/$PYTQ_TASK" || exit 28
flock --nonblock 9 || echo "overlap $PYTQ_TASK $PYTQ_ATTEMPT" >>"$SHARED/ledger"
echo "start $PYTQ_TASK $PYTQ_ATTEMPT" >>"$SHARED/ledger"
{deed}
echo "stop $PYTQ_TASK $PYTQ_ATTEMPT" >>"$SHARED/ledger"
exit {code}
"""
FULL: Final = 28  # ENOSPC: what a command of ours returns when it cannot write

Brought = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of task, and how tasks of it may end when nobody cancels them."""

    name: str
    weight: int
    deed: Callable[[random.Random], str]
    code: str = "0"
    ends: TaskStatus = TaskStatus.SUCCEEDED
    cause: Cause | None = None
    fields: Brought = field(default_factory=dict)
    output: bool = False


def _sleep(least: float, most: float) -> Callable[[random.Random], str]:
    return lambda chance: f"sleep {chance.uniform(least, most):.2f}"


_SAVE: Final = 'echo "$PYTQ_TASK $PYTQ_ATTEMPT" >"$OUTPUT/out.txt" || exit 28'
KINDS: Final = (
    Kind("quick", 600, _sleep(0.0, 0.3)),
    Kind("saving", 180, lambda chance: f"{_sleep(0.0, 0.5)(chance)}; {_SAVE}", output=True),
    Kind("medium", 60, _sleep(1.0, 5.0)),
    Kind("long", 10, _sleep(20.0, 60.0)),
    Kind("long-saving", 5, lambda chance: f"{_sleep(10, 40)(chance)}; {_SAVE}", output=True),
    Kind("failing", 30, _sleep(0.0, 0.2), "3", TaskStatus.FAILED, Cause.EXIT, {"retries": 1}),
    Kind(
        "flaky",
        30,
        lambda chance: f"{_sleep(0.0, 0.2)(chance)}; [ $PYTQ_ATTEMPT -gt 1 ] || exit 4",
        fields={"retries": 30, "retry_delay": 0.5},
    ),
    Kind("stubborn", 10, lambda _: "trap '' TERM; sleep 3"),
    Kind("daemon", 15, lambda _: "setsid sleep 300 & sleep 0.1"),
    Kind("loud", 15, lambda _: "head -c 300000 /dev/zero | tr '\\0' x; sleep 0.1"),
    Kind(
        "endless",
        5,
        lambda _: "sleep 300",
        ends=TaskStatus.FAILED,
        cause=Cause.TIMEOUT,
        fields={"timeouts": {"run": 2.0}},
    ),
)
BY_NAME: Final = {kind.name: kind for kind in KINDS}


@dataclass
class Known:
    """What is known of a task from outside."""

    kind: Kind
    key: str
    requires: int | None = None
    cancelled: bool = False  # by people, acknowledged or perhaps


class Load:
    """Brings tasks, each until it was acknowledged; remembers what was promised."""

    def __init__(self, shared: Path, chance: random.Random, rate: float) -> None:
        self.shared, self.chance, self.rate = shared, chance, rate
        self.known: dict[int, Known] = {}
        self.refused: Counter[str] = Counter()  # answers other than yes, by their code
        self.over = False
        self._brought = 0
        (shared / "locks").mkdir()
        (shared / "out").mkdir()
        (shared / "ledger").touch()

    async def bring(self, clients: list[Client]) -> None:
        """Bring tasks through all these clients until it is over and all is acknowledged."""
        async with asyncio.TaskGroup() as group:
            for number in range(SUBMITTERS):
                group.create_task(self._bring(clients[number % len(clients)], number))

    async def _bring(self, client: Client, number: int) -> None:
        lot = 0
        while not self.over:
            lot += 1
            key = f"lot-{number}-{lot}"
            kinds = self.chance.choices(KINDS, [kind.weight for kind in KINDS], k=self._size())
            chained = self.chance.random() < 0.05
            requires = self._someone() if chained else None
            tasks = [self._task(kind, f"{key}-{n}", requires) for n, kind in enumerate(kinds)]
            for task, id_ in zip(tasks, await self._until_taken(client, tasks, key), strict=True):
                known = Known(BY_NAME[task["tags"]["kind"]], task["name"], requires)
                assert self.known.setdefault(id_, known).key == task["name"]
            await asyncio.sleep(len(tasks) * SUBMITTERS / self.rate)
            while not self.over and await self._waiting(client) > BACKLOG:  # noqa: ASYNC110 - as people
                await asyncio.sleep(1.0)

    async def _until_taken(self, client: Client, tasks: list[Brought], key: str) -> list[int]:
        """Submit with one key until there is a yes; repeat the same now and then."""
        while True:
            try:
                ids = (await client.submit_tasks(tasks, key=key)).ids
            except PytqError as error:
                self.refused[error.code] += 1
            except (aiohttp.ClientError, OSError) as error:
                self.refused[type(error).__name__] += 1
            else:
                if self.chance.random() < 0.05:
                    await self._repeat(client, tasks, key, ids)
                return ids
            await asyncio.sleep(self.chance.uniform(0.1, 0.6))

    async def _repeat(
        self, client: Client, tasks: list[Brought], key: str, before: list[int]
    ) -> None:
        try:
            again = await client.submit_tasks(tasks, key=key)
        except (PytqError, aiohttp.ClientError, OSError):
            return
        assert again.ids == before, f"{key} was given {before}, then {again.ids}"

    async def _waiting(self, client: Client) -> int:
        try:
            counts = await client.count_tasks()
        except (PytqError, aiohttp.ClientError, OSError):
            return 0
        return counts.pending + counts.waiting

    def _size(self) -> int:
        return self.chance.choice((1, 1, 2, 5, 20, 60))

    def _someone(self) -> int | None:
        return self.chance.choice(list(self.known)) if self.known else None

    def _task(self, kind: Kind, name: str, requires: int | None) -> Brought:
        script = SCRIPT.format(deed=kind.deed(self.chance), code=kind.code)
        task: Brought = {
            "command": ["sh", "-c", script],
            "name": name,
            "batch": self.chance.choice(("odd", "even")),
            "env": {"SHARED": str(self.shared)},
            "tags": {"kind": kind.name},
            "retries": 3,
            **kind.fields,
        }
        if kind.output:
            task["output"] = f"file://{self.shared}/out/{name}/"
        if requires is not None:
            task["requirements"] = [requires]
            task["run_when"] = "ended"
        return task
