"""`pytq worker SERVER [CONCURRENCY]`: run a worker on this machine."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

from pytq.cli.showing import add_credentials
from pytq.schema import address, limits


def add_parser(subparsers: Any) -> None:
    """Declare `pytq worker`."""
    parser = subparsers.add_parser(
        "worker",
        help="run a worker",
        description="Run tasks of one batch on this machine. Running tasks outlive the worker:"
        " start it again to take them over. To look after workers there are: pytq worker"
        " list|show|set|pause|resume|drain|forget.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "server",
        metavar="SERVER",
        nargs="?",
        default=os.environ.get("PYTQ_SERVER") or address.DEFAULT_SERVER,
        help=f"host, host:port or URL (default: $PYTQ_SERVER or {address.DEFAULT_SERVER})",
    )
    parser.add_argument(
        "concurrency",
        metavar="CONCURRENCY",
        nargs="?",
        type=_at_most(limits.CONCURRENCY),
        help="how many tasks run at once (default: one for each CPU)",
    )
    parser.add_argument("--batch", default="default", help="whose tasks to run (default: default)")
    parser.add_argument("--name", help="the worker's name (default: this machine's)")
    parser.add_argument(
        "--prefetch",
        metavar="N",
        type=_at_most(limits.PREFETCH),
        default=0,
        help="fetch the inputs of N more tasks ahead (default: 0)",
    )
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        type=Path,
        help="where journal and tasks' folders lie (default: $PYTQ_WORK_DIR or a user folder)",
    )
    add_credentials(parser)
    parser.add_argument(
        "--kill", action="store_true", help="end the running tasks too when the worker is stopped"
    )


def run(args: argparse.Namespace) -> int:
    """Run the worker until it is stopped."""
    from pytq import redaction
    from pytq.worker.agent import run_worker
    from pytq.worker.options import WorkerError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    redaction.keep_secrets()
    try:
        return asyncio.run(run_worker(_options(args)))
    except (WorkerError, address.AddressError) as error:
        print(f"pytq worker: {error}", file=sys.stderr)
        return 1


def _options(args: argparse.Namespace) -> Any:
    from pydantic import TypeAdapter, ValidationError

    from pytq.schema.text import Name
    from pytq.worker.options import WorkerError, WorkerOptions, default_name

    given = {"batch": args.batch, "name": args.name or default_name()}
    for option, value in given.items():
        try:
            TypeAdapter(Name).validate_python(value)
        except ValidationError as error:
            raise WorkerError(
                f"--{option} {value!r}: use letters, digits and _ . + @ -, a letter or digit first"
            ) from error
    if args.concurrency is not None:
        given["concurrency"] = args.concurrency
    address.parse(args.server)
    return WorkerOptions(
        server=args.server,
        prefetch=args.prefetch,
        work_dir=args.work_dir,
        kill_on_exit=args.kill,
        **given,
    )


def _at_most(most: int) -> Any:
    def count(text: str) -> int:
        number = int(text)
        if not 0 <= number <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to {most}")
        return number

    return count
