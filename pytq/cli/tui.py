"""`pytq tui`: the cockpit, in this terminal."""

import argparse
import asyncio
import ctypes
import os
import signal
import sys
from typing import Any, Final

from pytq.cli import asking
from pytq.cli.showing import add_credentials
from pytq.schema import address

_PR_SET_PDEATHSIG: Final = 1


def add_parser(subparsers: Any) -> None:
    """Declare `pytq tui`."""
    parser = subparsers.add_parser(
        "tui",
        help="see everything and turn every knob, in this terminal",
        description="See everything and turn every knob of a server, in this terminal.",
        epilog="Environment: PYTQ_SERVER, and PYTQ_TOKEN where the server asks for a token.",
    )
    parser.add_argument(
        "server",
        nargs="?",
        type=asking.server,
        metavar="SERVER",
        help=f"host, host:port or URL (default: $PYTQ_SERVER or {address.DEFAULT_SERVER})",
    )
    add_credentials(parser)


def run(args: argparse.Namespace) -> int:
    """Show it until somebody quits."""
    in_browser = os.environ.get("PYTQ_UI") == "1"
    if in_browser:
        _die_with_parent()
    elif not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        asking.complain("tui needs a terminal; `pytq task list` and `pytq batch list` do not")
        return asking.USAGE_ERROR
    try:
        server = args.server or address.parse(os.environ.get("PYTQ_SERVER", address.DEFAULT_SERVER))
    except address.AddressError as error:
        asking.complain(f"PYTQ_SERVER: {error}")
        return asking.USAGE_ERROR
    from pytq.tui.app import CrashedError
    from pytq.tui.app import run as show

    try:
        asyncio.run(show(server, None))
    except CrashedError as error:
        asking.complain(str(error))
        return 1
    return 0


def _die_with_parent() -> None:
    """A browser's visitor never outlives the server that started it, however that ends."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    parent = os.getppid()
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if parent == 1 or os.getppid() != parent:  # it has gone already
        sys.exit(0)
