"""`pytq down`: stop what `pytq up` left running."""

import argparse
from pathlib import Path
from typing import Any

from pytq.cli import asking, holding, up


def add_parser(subparsers: Any) -> None:
    """Declare `pytq down`."""
    parser = subparsers.add_parser(
        "down",
        help="stop what `pytq up` left running",
        description="Stop the server and the worker that `pytq up` left running, with its tasks."
        " The queue is kept for the next time.",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="as it was given to `up`")


def run(args: argparse.Namespace) -> int:
    """Stop it, and wait for that."""
    held = holding.find(up.places(args.data_dir).state)
    if held is None:
        asking.complain("nothing is up here; was it started with another --data-dir?")
        return 1
    print(f"stopping what serves {held.plan.server} …", flush=True)
    if not held.stop():
        asking.complain(f"it does not end; its logs are in {held.plan.log_dir}")
        return 1
    print(up.STOPPED)
    return 0
