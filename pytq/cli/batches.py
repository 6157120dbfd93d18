"""`pytq batch`: see and steer batches."""

import argparse
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pytq.cli import asking, screen
from pytq.client import Client
from pytq.schema.views import BatchUpdate

_COLUMNS: Final = (
    *("BATCH", "STATE", "WORKERS"),
    *("WAITING", "PENDING", "ACTIVE", "SUCCEEDED", "FAILED", "CANCELLED"),
)
_VERBS: Final = {
    "show": "show batches",
    "failures": "tell how their failed tasks failed",
    "pause": "start nothing new of them",
    "go": "let paused ones go on",
    "cancel": "cancel every open task of them",
    "retry": "run every failed task of them again",
    "delete": "delete them with their tasks, if none runs",
}


def add_parser(subparsers: Any) -> None:
    """Declare `pytq batch`."""
    parser = subparsers.add_parser("batch", help="list, show, pause, go, cancel … batches")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="list every batch")
    asking.add_server(listing)
    asking.add_json(listing)
    for verb, purpose in _VERBS.items():
        one = verbs.add_parser(verb, help=purpose)
        one.add_argument("names", nargs="+", metavar="BATCH")
        asking.add_server(one)
        if verb in _SHOWS:
            asking.add_json(one)


def run(args: argparse.Namespace) -> int:
    """Do what was asked of the batches."""
    return asking.ask(args, _SHOWS.get(args.verb, _act))


async def _list(args: argparse.Namespace, client: Client) -> int:
    batches = await client.list_batches()
    if args.json:
        asking.print_json_list(batches)
        return 0
    screen.print_table(
        _COLUMNS,
        [
            (
                batch.name,
                "paused" if batch.paused else "going",
                batch.workers,
                *batch.counts.model_dump().values(),
            )
            for batch in batches
        ],
    )
    return 0


async def _show(args: argparse.Namespace, client: Client) -> int:
    for name in args.names:
        batch = await client.get_batch(name)
        if args.json:
            asking.print_json(batch)
            continue
        screen.print_pairs(
            [
                ("batch", batch.name),
                ("state", "paused" if batch.paused else "going"),
                ("created", screen.moment(batch.created_at)),
                ("workers online", str(batch.workers)),
                ("tasks", screen.counts(batch.counts)),
            ]
        )
    return 0


async def _failures(args: argparse.Namespace, client: Client) -> int:
    for name in args.names:
        failures = await client.list_failures(name)
        if args.json:
            asking.print_json_list(failures)
            continue
        rows = [(one.count, one.cause, one.exit_code, one.task, one.detail) for one in failures]
        screen.print_table(("TASKS", "CAUSE", "EXIT", "SUCH AS", "WHY"), rows)
        if failures and failures[0].sampled:
            print(f"batch {name}: there are more; these are of the newest failures")
    return 0


async def _act(args: argparse.Namespace, client: Client) -> int:
    act = _ACTS[args.verb]
    return await asking.each(args.names, lambda name: act(client, str(name)))


async def _pause(client: Client, name: str) -> str:
    await client.update_batch(name, BatchUpdate(paused=True))
    return f"batch {name}: paused; what runs goes on"


async def _go(client: Client, name: str) -> str:
    await client.update_batch(name, BatchUpdate(paused=False))
    return f"batch {name}: going"


async def _cancel(client: Client, name: str) -> str:
    return f"batch {name}: {(await client.cancel_batch(name)).count} tasks cancelled"


async def _retry(client: Client, name: str) -> str:
    return f"batch {name}: {(await client.retry_batch(name)).count} tasks to run again"


async def _delete(client: Client, name: str) -> str:
    return f"batch {name}: deleted with {(await client.delete_batch(name)).count} tasks"


_SHOWS: Final = {"list": _list, "show": _show, "failures": _failures}
_ACTS: Final[dict[str, Callable[[Client, str], Awaitable[str]]]] = {
    "pause": _pause,
    "go": _go,
    "cancel": _cancel,
    "retry": _retry,
    "delete": _delete,
}
