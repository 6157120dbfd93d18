"""`pytq job`: see what the server is doing by itself, read it, stop it."""

import argparse
import asyncio
from typing import Any, Final

from pytq.cli import asking, screen
from pytq.cli.tasks import number
from pytq.cli.wire import harmless
from pytq.client import Client
from pytq.schema.recruit import JobStatus, JobView

_COLUMNS: Final = ("JOB", "STATUS", "DONE", "WHAT", "STARTED", "ENDED", "WHY")
_LOOK_SECONDS: Final = 0.5


def add_parser(subparsers: Any) -> None:
    """Declare `pytq job`."""
    parser = subparsers.add_parser("job", help="list, show, cancel jobs, read their logs")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="list jobs, newest first")
    asking.add_server(listing)
    asking.add_json(listing)
    show = verbs.add_parser("show", help="show jobs")
    log = verbs.add_parser("log", help="write what a job has said")
    cancel = verbs.add_parser("cancel", help="have jobs stop and clean up")
    for parser in (show, cancel):
        parser.add_argument("ids", nargs="+", type=number, metavar="JOB")
    log.add_argument("id", type=number, metavar="JOB")
    log.add_argument(
        "-f", "--follow", action="store_true", help="until it ends; fail if it does not succeed"
    )
    for parser in (show, log, cancel):
        asking.add_server(parser)
    asking.add_json(show)


def run(args: argparse.Namespace) -> int:
    """Do what was asked of the jobs."""
    works = {"list": _list, "show": _show, "log": _log, "cancel": _cancel}
    return asking.ask(args, works[args.verb])


async def _list(args: argparse.Namespace, client: Client) -> int:
    jobs = await client.list_jobs()
    if args.json:
        asking.print_json_list(jobs)
    else:
        screen.print_table(_COLUMNS, map(_row, jobs))
    return 0


def _row(job: JobView) -> tuple[object, ...]:
    return (
        job.id,
        job.status.value,
        f"{job.progress:.0%}",
        job.title,
        screen.moment(job.started_at),
        screen.moment(job.ended_at),
        job.detail,
    )


async def _show(args: argparse.Namespace, client: Client) -> int:
    for one in args.ids:
        job = await client.get_job(one)
        if args.json:
            asking.print_json(job)
            continue
        pairs = zip((column.lower() for column in _COLUMNS), _row(job), strict=True)
        more = [("batch", job.batch), ("workers", " ".join(job.workers))]
        screen.print_pairs([*pairs, *more, ("created", screen.moment(job.created_at))])
    return 0


async def _log(args: argparse.Namespace, client: Client) -> int:
    if args.follow:
        return await follow(client, args.id)
    print(harmless(await client.whole_job_log(args.id)), end="")
    return 0


async def follow(client: Client, job: int) -> int:
    """Print what a job says until it ends; 0 if it succeeds."""
    offset = 0
    while True:
        part = await client.get_job_log(job, offset)
        print(harmless(part.text), end="", flush=True)
        offset = part.next_offset
        if part.ended:
            break
        if not part.text:
            await asyncio.sleep(_LOOK_SECONDS)
    ended = await client.get_job(job)
    print(f"job {job}: {ended.status.value}" + (f": {ended.detail}" if ended.detail else ""))
    return 0 if ended.status is JobStatus.SUCCEEDED else 1


async def _cancel(args: argparse.Namespace, client: Client) -> int:
    async def act(job: int | str) -> str:
        await client.cancel_job(int(job))
        return f"job {job}: being cancelled"

    return await asking.each(args.ids, act)
