"""`pytq recruit`: bring new workers."""

import argparse
from typing import Any, Final

from pytq.cli import asking, jobs, screen
from pytq.cli.tasks import number
from pytq.client import Client
from pytq.schema.recruit import ProviderView, Recruit

_COLUMNS: Final = (
    *("PROVIDER", "REGION", "FLAVOR", "CPUS", "MEMORY", "DISK", "GPUS", "AN HOUR", "AVAILABLE"),
)


def add_parser(subparsers: Any) -> None:
    """Declare `pytq recruit`."""
    parser = subparsers.add_parser(
        "recruit",
        help="bring new workers",
        description="Bring new workers. Without --provider they are processes on the server's own"
        " machine. `pytq worker release NAME` takes them away again.",
    )
    add = parser.add_argument
    add("-l", "--list", action="store_true", help="list who has machines, and which")
    add("-n", "--count", type=number, default=1, metavar="N", help="how many (default: 1)")
    add("-b", "--batch", default="default", help="whose tasks they take (default: default)")
    add("-P", "--provider", default="local", help="(default: local)")
    add("-r", "--region", help="(default: the provider's first)")
    add("-f", "--flavor", help="(default: the region's first)")
    add("-c", "--concurrency", type=number, metavar="N", help="tasks at once (default: its CPUs)")
    add("-p", "--prefetch", type=int, default=0, metavar="N", help="staged in ahead (default: 0)")
    add("-w", "--wait", action="store_true", help="show the job's log until it ends")
    asking.add_server(parser)
    asking.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Recruit, or tell what could be recruited."""
    return asking.ask(args, _list if args.list else _recruit)


async def _list(args: argparse.Namespace, client: Client) -> int:
    providers = await client.list_providers()
    if args.json:
        asking.print_json_list(providers)
        return 0
    rows = [row for provider in providers for row in _rows(provider)]
    screen.print_table(_COLUMNS, rows)
    for provider in providers:
        if provider.trouble:
            asking.complain(f"{provider.name}: {provider.trouble}")
    return 0


def _rows(provider: ProviderView) -> list[tuple[object, ...]]:
    currency = f" {provider.currency}" if provider.currency else ""
    return [
        (
            provider.name,
            flavor.region,
            flavor.name,
            flavor.cpus,
            screen.size(flavor.memory),
            screen.size(flavor.disk),
            flavor.gpus or "",
            "" if flavor.price is None else f"{flavor.price:.3f}{currency}",
            "" if flavor.available is None else flavor.available,
        )
        for flavor in provider.flavors
    ]


async def _recruit(args: argparse.Namespace, client: Client) -> int:
    wish = Recruit(
        provider=args.provider,
        region=args.region,
        flavor=args.flavor,
        count=args.count,
        batch=args.batch,
        concurrency=args.concurrency,
        prefetch=args.prefetch,
    )
    job = await client.recruit(wish)
    if args.json:
        asking.print_json(job)
    else:
        print(f"job {job.id}: {job.title}", flush=True)
    return await jobs.follow(client, job.id) if args.wait else 0
