"""`pytq token`: who may do what."""

import argparse
import os
import re
import sys
import webbrowser
from pathlib import Path
from typing import Any, Final

from pytq import credentials
from pytq.cli import asking, screen
from pytq.client import Client
from pytq.schema.access import Role, TokenOrder

_COLUMNS: Final = ("NAME", "ROLE", "MADE", "BY", "EXPIRES", "USED")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_ROLES: Final = """\
roles, each with the rights of those before it:
  viewer     sees everything
  submitter  submits tasks, changes their own
  operator   changes any task, batch or worker
  admin      makes and revokes tokens, recruits workers
and apart from them:
  worker     runs `pytq worker`, nothing else
"""


def add_parser(subparsers: Any) -> None:
    """Declare `pytq token`."""
    parser = subparsers.add_parser("token", help="create, list, revoke tokens; open the web page")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_create(verbs)
    listing = verbs.add_parser("list", help="list tokens, not what they are")
    asking.add_server(listing)
    asking.add_json(listing)
    revoke = verbs.add_parser("revoke", help="make tokens worthless, cut off who uses them")
    revoke.add_argument("names", nargs="+", metavar="NAME")
    asking.add_server(revoke)
    opening = verbs.add_parser("open", help="open the server's web page, logged in as you are")
    opening.add_argument(
        "--no-browser", action="store_true", help="only print the link: good once, for 5 minutes"
    )
    asking.add_server(opening)


def _add_create(verbs: Any) -> None:
    create = verbs.add_parser(
        "create",
        help="make a token and print it, this once",
        epilog=_ROLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    create.add_argument("name", metavar="NAME", help="whose it is; events tell it")
    create.add_argument(
        "--role",
        choices=[*map(str, Role)],
        default=str(Role.SUBMITTER),
        help="(default: %(default)s)",
    )
    create.add_argument(
        "--expires", type=duration, metavar="TIME", help="as in 12h, 30d, 8w (default: never)"
    )
    create.add_argument(
        "--save", type=Path, metavar="FILE", help="write it there, for you alone; print nothing"
    )
    asking.add_server(create)


def duration(word: str) -> float:
    """An argparse type for a duration: 45s, 90m, 12h, 30d, 8w."""
    shape = _DURATION.fullmatch(word)
    if shape is None or not int(shape[1]):
        raise argparse.ArgumentTypeError(f"{word!r} is no duration; write it as in 12h or 30d")
    return float(int(shape[1]) * _UNITS[shape[2]])


def run(args: argparse.Namespace) -> int:
    """Do what was asked of the tokens."""
    return asking.ask(args, globals()[f"_{args.verb}"])


async def _create(args: argparse.Namespace, client: Client) -> int:
    if args.save is not None and args.save.exists():
        asking.complain(f"{args.save} is there already; choose another file for --save")
        return 1
    order = TokenOrder(name=args.name, role=Role(args.role), expires_in=args.expires)
    new = await client.create_token(order)
    if args.save is not None:
        return _save(args.save, new.token)
    print(new.token, flush=True)
    if sys.stderr.isatty():
        print("It is not shown again. Use it as PYTQ_TOKEN or by --token-file.", file=sys.stderr)
    return 0


def _save(path: Path, token: str) -> int:
    try:
        _write_for_us_alone(path, f"{token}\n")
    except OSError as error:
        asking.complain(f"{path}: {error.strerror}; the token is lost, revoke it")
        return 1
    return 0


def _write_for_us_alone(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


async def _list(args: argparse.Namespace, client: Client) -> int:
    tokens = await client.list_tokens()
    if args.json:
        asking.print_json_list(tokens)
        return 0
    screen.print_table(
        _COLUMNS,
        [
            (
                token.name,
                token.role,
                screen.moment(token.created_at),
                token.created_by,
                screen.moment(token.expires_at) or "never",
                screen.moment(token.used_at),
            )
            for token in tokens
        ],
    )
    return 0


async def _revoke(args: argparse.Namespace, client: Client) -> int:
    async def revoke(name: str | int) -> str:
        await client.revoke_token(str(name))
        return f"token {name}: revoked"

    return await asking.each(args.names, revoke)


async def _open(args: argparse.Namespace, client: Client) -> int:
    code = (await client.offer_login()).code
    link = f"{client.address.url}/#login={code}"
    if args.no_browser or not _show(link):
        print(link)
    return 0


def _show(link: str) -> bool:
    """Open a browser, by way of a file: what stands on its command line, everybody can read."""
    if sys.platform != "darwin" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return False
    page = Path(credentials.pointers()) / "login.html"
    try:
        page.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        page.unlink(missing_ok=True)
        _write_for_us_alone(
            page, f'<!doctype html><meta http-equiv="refresh" content="0;url={link}">'
        )
    except OSError:
        return False
    return webbrowser.open(page.as_uri())
