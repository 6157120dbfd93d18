"""`pytq up`: a server, one local worker and a live view, in one go, on SQLite."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any, Final

from platformdirs import user_data_path, user_log_path

from pytq.cli import asking, screen, stack
from pytq.cli.progress import Watch
from pytq.schema import address, limits

_LARGEST_PORT: Final = 65535


def add_parser(subparsers: Any) -> None:
    """Declare `pytq up`."""
    parser = subparsers.add_parser(
        "up",
        help="server, one local worker and a live view, in one go",
        description="Start a server, one local worker and a live view; Ctrl-C ends all of it.",
    )
    add = parser.add_argument
    add("--port", type=port, default=address.DEFAULT_PORT, help="(default: %(default)s)")
    add("--concurrency", type=concurrency, metavar="N", help="tasks at once (default: all CPUs)")
    add("--data-dir", type=Path, metavar="DIR", help="where queue and work live")


def port(word: str) -> int:
    """An argparse type for a port."""
    if not (word.isascii() and word.isdigit() and 0 < int(word) <= _LARGEST_PORT):
        raise argparse.ArgumentTypeError(f"{word!r}: a port is a number from 1 to {_LARGEST_PORT}")
    return int(word)


def concurrency(word: str) -> int:
    """An argparse type for how many tasks run at once."""
    if not (word.isascii() and word.isdigit() and 0 < int(word) <= limits.CONCURRENCY):
        raise argparse.ArgumentTypeError(
            f"{word!r}: concurrency is a number from 1 to {limits.CONCURRENCY}"
        )
    return int(word)


def run(args: argparse.Namespace) -> int:
    """Run until told to stop."""
    try:
        return asyncio.run(_up(plan_of(args)))
    except stack.StackError as error:
        asking.complain(str(error))
        return 1
    except OSError as error:
        asking.complain(f"{error.filename or 'pytq up'}: {error.strerror}; choose a --data-dir")
        return 1


def plan_of(args: argparse.Namespace) -> stack.Plan:
    """Where everything goes."""
    base: Path | None = args.data_dir and args.data_dir.absolute()
    home = base or user_data_path("pytq")
    server_dir = home / "server"
    if base is None and "PYTQ_DATA_DIR" in os.environ:
        server_dir = Path(os.environ["PYTQ_DATA_DIR"]).absolute()
    return stack.Plan(
        port=args.port,
        server_dir=server_dir,
        work_dir=home / "worker",
        log_dir=home / "log" if base else user_log_path("pytq"),
        concurrency=args.concurrency or os.cpu_count() or 1,
    )


async def _up(plan: stack.Plan) -> int:
    stop = stack.stop_event()
    console = screen.console()
    async with stack.running(plan) as (children, client):
        console.print(greeting(plan))
        await Watch(console, client, children).until(stop, lambda _: False)
        console.print("stopping …")
    console.print("stopped; the queue is kept for the next time")
    return 0


def greeting(plan: stack.Plan) -> str:
    """How to go on from here."""
    usual = plan.port == address.DEFAULT_PORT
    option = "" if usual else f" -s {plan.server}"
    return (
        f"PYTQ is up: http://{plan.server}/ (logs in {plan.log_dir})\n"
        "In another terminal:\n"
        f"  pytq launch{option} echo hello\n"
        f"  pytq launch{option} -w sh -c 'echo $CPU CPUs for me'\n"
        f"  pytq task list{option}\n"
        "Ctrl-C stops it.\n"
    )
