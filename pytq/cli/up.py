"""`pytq up`: a server, one local worker and the cockpit, in one go, on SQLite."""

import argparse
import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from platformdirs import user_data_path, user_log_path

from pytq.cli import asking, holding, screen, stack
from pytq.cli.progress import Watch
from pytq.schema import address, limits

_LARGEST_PORT: Final = 65535
STOPPED: Final = "stopped; the queue is kept for the next time"


def add_parser(subparsers: Any) -> None:
    """Declare `pytq up`."""
    parser = subparsers.add_parser(
        "up",
        help="server, one local worker and the cockpit, in one go",
        description="Start a server and one local worker, and show the cockpit. Quitting asks"
        " whether to stop them too or to leave them running; `pytq down` stops what was left."
        " Without a terminal, say now and then how things stand, until Ctrl-C or SIGTERM.",
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
    """Run until told to stop, or to leave it running."""
    plan = plan_of(args)
    try:
        held = holding.find(plan.state)
        if screen.console().is_terminal and sys.stdin.isatty():
            return asyncio.run(_cockpit(plan, held))
        if held is not None:
            asking.complain(f"it is up already, at {held.plan.server}; `pytq down` stops it")
            return 1
        return asyncio.run(_up(plan))
    except stack.StackError as error:
        asking.complain(str(error))
        return 1
    except OSError as error:
        asking.complain(f"{error.filename or 'pytq up'}: {error.strerror}; choose a --data-dir")
        return 1


def plan_of(args: argparse.Namespace) -> stack.Plan:
    """What to start, and where everything goes."""
    plan = places(args.data_dir)
    return replace(plan, port=args.port, concurrency=args.concurrency or plan.concurrency)


def places(data_dir: Path | None) -> stack.Plan:
    """The usual plan, below a folder or in the user's own."""
    base = data_dir and data_dir.absolute()
    home = base or user_data_path("pytq")
    server_dir = home / "server"
    if base is None and "PYTQ_DATA_DIR" in os.environ:
        server_dir = Path(os.environ["PYTQ_DATA_DIR"]).absolute()
    return stack.Plan(
        port=address.DEFAULT_PORT,
        server_dir=server_dir,
        work_dir=home / "worker",
        log_dir=home / "log" if base else user_log_path("pytq"),
        concurrency=os.cpu_count() or 1,
    )


async def _up(plan: stack.Plan) -> int:
    """Without a terminal: say now and then how things stand, until a signal comes."""
    stop = stack.stop_event()
    console = screen.console()
    async with stack.running(plan) as (children, client):
        console.print(greeting(plan))
        await Watch(console, client, children).until(stop, lambda _: False)
        console.print("stopping …")
    console.print(STOPPED)
    return 0


async def _cockpit(plan: stack.Plan, held: holding.Held | None) -> int:
    """In a terminal: the cockpit, over what is started now or was left running."""
    if held is None:
        print(f"starting; logs in {plan.log_dir} …", flush=True)
        held = await holding.Held.begin(plan)
    choice = await _show(held)
    if choice == "leave":
        held.leave()
        print(left_behind(held.plan))
        return 0
    if choice == "ended":
        asking.complain(f"server and worker have ended; their logs are in {held.plan.log_dir}")
        return 1
    print("stopping …", flush=True)
    if not held.stop():
        asking.complain(f"they do not end; their logs are in {held.plan.log_dir}")
        return 1
    print(STOPPED)
    return 0


async def _show(held: holding.Held) -> str:
    """Show the cockpit; what shall become of the rest: stop or leave, or "ended" if it has."""
    from pytq.tui.app import CrashedError
    from pytq.tui.app import run as show

    stop = asyncio.create_task(stack.stop_event().wait())
    ended = asyncio.create_task(held.ended())
    cockpit = asyncio.create_task(show(held.plan.server, None, ask_leave=True))
    try:
        await asyncio.wait({stop, ended, cockpit}, return_when=asyncio.FIRST_COMPLETED)
        if cockpit.done():
            return "leave" if cockpit.result() == "leave" else "stop"
        return "ended" if ended.done() else "stop"
    except CrashedError as error:
        asking.complain(str(error))
        return "leave"
    finally:
        for task in (stop, ended, cockpit):
            task.cancel()
        await asyncio.gather(stop, ended, cockpit, return_exceptions=True)


def left_behind(plan: stack.Plan) -> str:
    """How to come back to what was left running."""
    option = "" if plan.port == address.DEFAULT_PORT else f" {plan.server}"
    return (
        f"Server and worker go on: http://{plan.server}/ (logs in {plan.log_dir})\n"
        f"  pytq tui{option}   shows them again\n"
        "  pytq down  stops them (with the same --data-dir, if you gave one)"
    )


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
