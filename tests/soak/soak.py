#!/usr/bin/env python3
"""Everything goes wrong for some minutes while thousands of tasks run; then it is counted.

    python tests/soak/soak.py --minutes 10 --database postgresql

Needs root on Linux: it moves into namespaces of its own (network, mounts, processes), so nothing
of it is seen or left outside but its folder. Exits with 1 when a promise was broken. The choices
of what happens follow `--seed`, but real programs keep their own time: no two runs are equal.
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import psutil
import soak_fleet
import soak_net
from servers.meddler import meddler
from soak_check import Checker
from soak_load import Load
from soak_nemesis import Nemesis
from soak_people import People

INSIDE: Final = "PYTQ_SOAK_INSIDE"
DRAIN_SECONDS: Final = 400.0
NAMESPACES: Final = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]


def main() -> int:
    """Run, check, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rate", type=float, default=60.0, help="tasks brought a second")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--keep", action="store_true", help="leave its folder, with all logs")
    arguments = parser.parse_args()
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        # A shell is their process 1: it buries whatever has no parent any more.
        shell = ["--mount-proc", "sh", "-c", '"$@"; exit $?', "sh"]
        os.execvp("unshare", [*NAMESPACES, *shell, sys.executable, *sys.argv])  # noqa: S606
    del os.environ[INSIDE]
    folder = Path(tempfile.mkdtemp(prefix="pytq-soak-"))
    folder.chmod(0o755)
    try:
        return asyncio.run(soak(arguments, folder))
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


async def soak(arguments: argparse.Namespace, folder: Path) -> int:
    """One soak, from an empty queue to an empty queue."""
    print(f"seed {arguments.seed}, {arguments.database}, in {folder}", flush=True)
    soak_net.make_hub()
    database = None
    if arguments.database == "postgresql":
        database = soak_fleet.Postgres(folder)
        database.start()
    fleet = soak_fleet.Fleet(folder, database.uri if database else None)
    try:
        return await _with_fleet(arguments, fleet, database)
    finally:
        fleet.dispose()
        if database is not None:
            database.stop("immediate")


async def _with_fleet(
    arguments: argparse.Namespace, fleet: soak_fleet.Fleet, database: soak_fleet.Postgres | None
) -> int:
    chance = random.Random(arguments.seed)  # noqa: S311 - repeatable, and no secret
    shared = fleet.folder / "shared"
    shared.mkdir()
    await fleet.begin()
    load = Load(shared, chance, arguments.rate)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(fleet.client())
        patient = await stack.enter_async_context(fleet.client(60.0))
        proxy = stack.enter_context(meddler(f"http://{soak_fleet.SERVER}"))
        astray = await stack.enter_async_context(fleet.client(0.0, proxy.url))
        nemesis = Nemesis(fleet, chance, database, proxy)
        people = People(client, load, chance)
        await asyncio.sleep(3.0)  # until the workers are there
        before = _server(fleet).num_fds()
        tending = asyncio.create_task(fleet.look_after())
        bringing = asyncio.create_task(load.bring([client, astray]))
        evils = [asyncio.create_task(nemesis.run()), asyncio.create_task(people.run())]
        await _pass(arguments.minutes * 60, load, nemesis, [tending, bringing, *evils])
        await _stop(evils)
        load.over = True
        await nemesis.mend()
        await bringing
        await patient.get_server()
        await _settled(people)  # or not: then the checker finds what has no end
        checker = Checker(fleet, load)
        checker.server(_server(fleet), before)
        await checker.look(patient)
        await _stop([tending])
    await _end(fleet)
    checker.logs([one.log for one in (fleet.server, *fleet.workers)])
    checker.nothing_left()
    _tell(arguments, fleet, checker, nemesis, people)
    return 1 if checker.wrong else 0


def _server(fleet: soak_fleet.Fleet) -> psutil.Process:
    assert fleet.server.process is not None
    return psutil.Process(fleet.server.process.pid)


async def _pass(
    seconds: float, load: Load, nemesis: Nemesis, watched: list[asyncio.Task[None]]
) -> None:
    """Let time pass; whoever of these ends before it does so by an error."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        done, _ = await asyncio.wait(
            watched, timeout=min(30.0, left), return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()
        print(
            f"{seconds - left:5.0f} s: {len(load.known)} tasks, {nemesis.done.total()} faults",
            flush=True,
        )


async def _settled(people: People) -> None:
    """Put every knob right, until the queue is empty."""
    until = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(Exception):
            await people.put_right()
            counts = await people.client.count_tasks()
            if not (counts.waiting or counts.pending or counts.active):
                return
        await asyncio.sleep(2.0)


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _end(fleet: soak_fleet.Fleet) -> None:
    """End everything as its operators would."""
    for one in (*fleet.workers, fleet.server):
        await asyncio.to_thread(one.end, signal.SIGTERM)
    held = [one for worker in fleet.workers for one in worker.everything()]
    await asyncio.to_thread(soak_fleet.wait_until_gone, held, 15.0)


def _tell(
    arguments: argparse.Namespace,
    fleet: soak_fleet.Fleet,
    checker: Checker,
    nemesis: Nemesis,
    people: People,
) -> None:
    tries = [one for some in checker.tries.values() for one in some]
    outcomes = Counter(
        f"{one.outcome}{f' ({one.reason.cause})' if one.reason else ''}" for one in tries
    )
    statuses: Counter[str] = Counter(task.status for task in checker.tasks.values())
    rows = {
        "database, seed, minutes": f"{arguments.database}, {arguments.seed}, {arguments.minutes:g}",
        "tasks": f"{len(checker.tasks)}: {_counted(statuses)}",
        "executions": f"{len(tries)}: {_counted(outcomes)}",
        "faults": f"{nemesis.done.total()} of {len(nemesis.done)} kinds: {_counted(nemesis.done)}",
        "people": _counted(people.done),
        "submits that got no yes at first": _counted(checker.load.refused),
        "programs that ended by themselves": _counted(fleet.surprises) or "none",
        "failed for what was done to them": _counted(checker.excused) or "none",
        "wrong": checker.told() or "nothing",
    }
    print("\n".join(f"{name:>36}: {value}" for name, value in rows.items()), flush=True)
    (fleet.folder / "story").write_text("\n".join(nemesis.story))


def _counted(counter: "Counter[str]") -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


if __name__ == "__main__":
    sys.exit(main())
