"""`pytq worker list|show|set|pause|resume|drain|release|forget`: see and tune workers.

What workers keep is in `kept.py`.
"""

import argparse
from typing import Any, Final

from pytq.cli import asking, jobs, kept, screen
from pytq.client import Client
from pytq.schema.views import WorkerUpdate, WorkerView

_COLUMNS: Final = (
    *("WORKER", "STATUS", "BATCH", "CONCURRENCY", "PREFETCH", "RUNNING", "HELD"),
    *("CPU %", "LOAD", "FREE MEMORY %", "DISK FREE", "SEEN"),
)
_VERBS: Final = {
    "show": "show workers",
    "set": "change concurrency, prefetch or batch while they work",
    "pause": "let them start nothing new",
    "resume": "let them take tasks again",
    "drain": "let them finish what runs and take nothing new",
    "release": "drain them, end them when they are empty, give their machines back",
    "forget": "forget workers that are offline",
}
_CHANGES: Final = {
    "pause": WorkerUpdate(paused=True),
    "resume": WorkerUpdate(paused=False, draining=False),
    "drain": WorkerUpdate(draining=True),
}


def add_parser(subparsers: Any) -> None:
    """Declare the admin verbs of `pytq worker`."""
    parser = subparsers.add_parser("worker", help="list, show, set … the workers there are")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="list every worker")
    listing.add_argument("-b", "--batch", help="only those of this batch")
    asking.add_server(listing)
    asking.add_json(listing)
    for verb, purpose in _VERBS.items():
        one = verbs.add_parser(verb, help=purpose)
        one.add_argument("names", nargs="+", metavar="WORKER")
        asking.add_server(one)
        _add_options(one, verb)
    kept.add_parsers(verbs)


def _add_options(parser: argparse.ArgumentParser, verb: str) -> None:
    if verb == "show":
        asking.add_json(parser)
    if verb == "set":
        parser.add_argument("-c", "--concurrency", type=int, metavar="N", help="tasks at once")
        parser.add_argument("-p", "--prefetch", type=int, metavar="N", help="staged in ahead")
        parser.add_argument("-b", "--batch", help="whose tasks it takes")
    if verb == "release":
        parser.add_argument("-w", "--wait", action="store_true", help="until they are gone")
    if verb == "forget":
        parser.add_argument("--force", action="store_true", help="hand on what it still held")


def run(args: argparse.Namespace) -> int:
    """Do what was asked of the workers."""
    if args.verb == "set" and not _wanted(args):
        asking.complain("worker set: say what to change: --concurrency, --prefetch or --batch")
        return asking.USAGE_ERROR
    if wrong := kept.check(args):
        asking.complain(wrong)
        return asking.USAGE_ERROR
    works = {"list": _list, "show": _show, "forget": _forget, "resources": kept.show_kept}
    works |= {"release": _release, "clean": kept.clean, "pin": kept.pin, "unpin": kept.pin}
    return asking.ask(args, works.get(args.verb, _change))


def _wanted(args: argparse.Namespace) -> dict[str, Any]:
    fields = ("concurrency", "prefetch", "batch")
    return {field: getattr(args, field) for field in fields if getattr(args, field) is not None}


async def _list(args: argparse.Namespace, client: Client) -> int:
    workers = await client.list_workers()
    if args.batch is not None:
        workers = [worker for worker in workers if worker.settings.batch == args.batch]
    if args.json:
        asking.print_json_list(workers)
        return 0
    screen.print_table(_COLUMNS, map(_row, workers))
    return 0


def _row(worker: WorkerView) -> tuple[object, ...]:
    settings, load = worker.settings, worker.load
    machine: tuple[object, ...] = ("", "", "", "")
    if load is not None:
        free = f"{100 - load.memory:.0f}"
        machine = (f"{load.cpu:.0f}", f"{load.load:.1f}", free, screen.size(load.disk_free))
    return (
        worker.name,
        worker.status.value,
        settings.batch,
        settings.concurrency,
        settings.prefetch,
        worker.running,
        worker.open,
        *machine,
        screen.moment(worker.seen_at),
    )


async def _show(args: argparse.Namespace, client: Client) -> int:
    for name in args.names:
        worker = await client.get_worker(name)
        if args.json:
            asking.print_json(worker)
            continue
        screen.print_pairs(
            [
                *zip((column.lower() for column in _COLUMNS), _row(worker), strict=True),
                ("host", worker.hostname),
                ("version", worker.version),
                ("cpus", worker.cpus),
                ("memory", screen.size(worker.memory)),
                ("containers", "yes" if worker.containers else "no"),
                ("settings applied", worker.applied >= worker.settings.version),
                ("first seen", screen.moment(worker.created_at)),
            ]
        )
    return 0


async def _change(args: argparse.Namespace, client: Client) -> int:
    fixed = _CHANGES.get(args.verb)
    change = WorkerUpdate(**_wanted(args)) if fixed is None else fixed

    async def act(name: str | int) -> str:
        settings = (await client.update_worker(str(name), change)).settings
        state = "draining" if settings.draining else "paused" if settings.paused else "taking tasks"
        return (
            f"worker {name}: {state}, batch {settings.batch},"
            f" concurrency {settings.concurrency}, prefetch {settings.prefetch}"
        )

    return await asking.each(args.names, act)


async def _release(args: argparse.Namespace, client: Client) -> int:
    begun: list[int] = []

    async def act(name: str | int) -> str:
        job = await client.release_worker(str(name))
        begun.append(job.id)
        return f"worker {name}: job {job.id} releases it"

    code = await asking.each(args.names, act)
    for job in begun if args.wait else ():
        code = max(code, await jobs.follow(client, job))
    return code


async def _forget(args: argparse.Namespace, client: Client) -> int:
    async def act(name: str | int) -> str:
        await client.delete_worker(str(name), force=args.force)
        return f"worker {name}: forgotten"

    return await asking.each(args.names, act)
