"""`pytq worker resources|clean|pin|unpin`: what workers keep for the tasks to come."""

import argparse
from typing import Any, Final

from pytq.cli import asking, screen
from pytq.client import Client
from pytq.schema.views import Cleaning, Pin, ResourceView

_COLUMNS: Final = ("KIND", "STATE", "SIZE", "TASKS", "LAST USED", "NAME")
_KINDS: Final = ("resources", "images", "failed")
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR


def add_parsers(verbs: Any) -> None:
    """Declare these verbs of `pytq worker`."""
    listing = verbs.add_parser("resources", help="list the resources and images a worker keeps")
    listing.add_argument("name", metavar="WORKER")
    asking.add_server(listing)
    asking.add_json(listing)
    clean = verbs.add_parser(
        "clean",
        help="throw away what a worker keeps and nothing uses",
        description="Throw away what a worker keeps, but what is pinned or in use. Without options"
        " all of it; with URIs only these.",
    )
    clean.add_argument("name", metavar="WORKER")
    clean.add_argument("uris", nargs="*", metavar="URI", help="only these resources or images")
    clean.add_argument("--resources", action="store_true", help="downloaded resources")
    clean.add_argument("--images", action="store_true", help="container images it pulled")
    clean.add_argument("--failed", action="store_true", help="folders of failed tasks")
    asking.add_server(clean)
    _let_mix(clean)
    for verb, purpose in (
        ("pin", "have a worker keep a resource or an image whatever happens"),
        ("unpin", "let a worker throw it away again when it needs the room"),
    ):
        one = verbs.add_parser(verb, help=purpose)
        one.add_argument("name", metavar="WORKER")
        one.add_argument("uris", nargs="+", metavar="URI")
        asking.add_server(one)


def _let_mix(parser: argparse.ArgumentParser) -> None:
    """Let options stand between the words: argparse alone would not take any URI after them."""
    plain = parser.parse_known_args

    def parse(args: Any = None, namespace: Any = None) -> Any:
        parser.parse_known_args = plain  # type: ignore[method-assign] # for what comes of the next
        return parser.parse_known_intermixed_args(args, namespace)

    parser.parse_known_args = parse  # type: ignore[method-assign]


def check(args: argparse.Namespace) -> str:
    """What is wrong with the arguments; empty when nothing is."""
    if args.verb == "clean" and args.failed and args.uris:
        return "worker clean: --failed is all or nothing; leave the URIs out, or --failed"
    return ""


async def show_kept(args: argparse.Namespace, client: Client) -> int:
    """List what a worker keeps."""
    kept = await client.list_resources(args.name)
    if args.json:
        asking.print_json_list(kept)
        return 0
    screen.print_table(_COLUMNS, map(_row, sorted(kept, key=lambda view: (view.kind, view.used))))
    return 0


async def clean(args: argparse.Namespace, client: Client) -> int:
    """Have a worker throw things away."""
    what = [kind for kind in _KINDS if getattr(args, kind)]
    if not what:
        what = [kind for kind in _KINDS if kind != "failed" or not args.uris]
    wish = Cleaning.model_validate({"what": what, "uris": args.uris})
    await client.clean_worker(args.name, wish)
    print(f"worker {args.name}: throws away what nothing uses of: {', '.join(args.uris or what)}")
    return 0


async def pin(args: argparse.Namespace, client: Client) -> int:
    """Have a worker keep things, or no longer."""
    pinned = args.verb == "pin"

    async def act(uri: str | int) -> str:
        await client.pin_resource(args.name, Pin(uri=str(uri), pinned=pinned))
        return f"worker {args.name}: {'keeps' if pinned else 'may let go of'} {uri}"

    return await asking.each(args.uris, act)


def _row(view: ResourceView) -> tuple[object, ...]:
    state = "coming" if not view.ready else "pinned" if view.pinned else "kept"
    used = "now" if view.users else f"{_ago(view.used)} ago"
    return (view.kind, state, screen.size(view.bytes), view.users or "", used, view.uri)


def _ago(seconds: float) -> str:
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
