"""`pytq fetch list|get|put|sync|rm`: move files as a worker would, with its errors and its care."""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from pytq.cli import screen
from pytq.cli.asking import USAGE_ERROR, complain
from pytq.cli.transferring import shown
from pytq.cli.wire import harmless
from pytq.fetch import Entry, Fetcher, FetchError, FetchOptions, Progress
from pytq.fetch.fetcher import parsed
from pytq.fetch.sync import sync
from pytq.schema.uris import Uri

_COLUMNS: Final = ("SIZE", "MODIFIED", "CHECKSUM", "NAME")
_URIS: Final = """\
A URI is s3://BUCKET/KEY, ftp://HOST/PATH, http(s)://…, file:///PATH or run+fastq://ACCESSION/;
one that ends in / is a folder. Credentials come from the environment and the AWS files (S3)
and from ~/.netrc (FTP), as on a worker."""


def add_parser(subparsers: Any) -> None:
    """Declare `pytq fetch`."""
    parser = subparsers.add_parser(
        "fetch",
        help="list, get, put, sync, rm files by URI",
        description="Move files between this machine and URIs, as workers do.",
        epilog=_URIS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = _verb(verbs, "list", "list the files of a folder")
    listing.add_argument("uri", metavar="URI", type=_uri)
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    get = _verb(verbs, "get", "bring a file, or all of a folder")
    get.add_argument("uri", metavar="URI", type=_uri)
    get.add_argument("place", metavar="PLACE", nargs="?", help="file or folder (default: here)")
    get.add_argument("--size", type=int, metavar="BYTES", help="what the file must have")
    get.add_argument("--checksum", metavar="KIND:HEX", help="md5:… or sha256:… of the file")
    put = _verb(verbs, "put", "take a file, or all of a folder, somewhere")
    put.add_argument("place", metavar="PLACE", type=Path, help="a file or folder of this machine")
    put.add_argument("uri", metavar="URI", type=_uri)
    both = _verb(verbs, "sync", "copy what differs between a folder here and one elsewhere")
    both.add_argument("source", metavar="SOURCE", type=_side, help="a URI, or a folder here")
    both.add_argument("target", metavar="TARGET", type=_side, help="a URI, or a folder here")
    both.add_argument(
        "--delete", action="store_true", help="remove what is in the target only; never by itself"
    )
    both.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")
    rm = _verb(verbs, "rm", "remove files")
    rm.add_argument("uri", metavar="URI", type=_uri)
    rm.add_argument("-r", "--recursive", action="store_true", help="all below a folder")
    rm.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")


def _verb(verbs: Any, name: str, purpose: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=purpose, description=purpose)
    defaults = FetchOptions()
    parser.add_argument(
        "--concurrency",
        type=_at_least_one,
        default=defaults.concurrency,
        metavar="N",
        help=f"files at once ({defaults.concurrency})",
    )
    parser.add_argument(
        "--stall",
        type=_seconds,
        default=defaults.stall,
        metavar="SECONDS",
        help=f"give up an attempt after so long without a byte ({defaults.stall:g})",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only errors")
    return parser


def _at_least_one(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _seconds(word: str) -> float:
    number = float(word)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds above 0")
    return number


def _uri(word: str) -> Uri:
    try:
        uri = parsed(word)
    except FetchError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if uri.actions:
        actions = ", |".join(uri.actions)
        raise argparse.ArgumentTypeError(f"|{actions}: a worker does that for a task; leave it out")
    return uri


def _side(word: str) -> Uri:
    return _uri(word) if "://" in word else _uri(f"file://{Path(word).absolute()}/")


def run(args: argparse.Namespace) -> int:
    """Do what was asked; what goes wrong becomes a sentence on stderr."""
    verbs: dict[str, Callable[[argparse.Namespace, Fetcher], Awaitable[int]]] = {
        "list": _list,
        "get": _get,
        "put": _put,
        "sync": _sync,
        "rm": _rm,
    }
    try:
        return asyncio.run(_run(args, verbs[args.verb]))
    except FetchError as error:
        complain(harmless(str(error)))
        return 1


async def _run(
    args: argparse.Namespace, verb: Callable[[argparse.Namespace, Fetcher], Awaitable[int]]
) -> int:
    options = FetchOptions(
        concurrency=args.concurrency, per_host=args.concurrency, stall=args.stall
    )
    async with Fetcher(options) as fetcher:
        return await verb(args, fetcher)


async def _list(args: argparse.Namespace, fetcher: Fetcher) -> int:
    found = [entry async for entry in fetcher.list(args.uri)]
    if args.json:
        print(json.dumps([_plain(entry) for entry in found], indent=2))
    else:
        screen.print_table(_COLUMNS, map(_row, found))
    return 0


def _plain(entry: Entry) -> dict[str, object]:
    modified = None if entry.modified is None else entry.modified.isoformat()
    return {
        "uri": entry.uri,
        "name": entry.name,
        "size": entry.size,
        "modified": modified,
        "checksum": entry.checksum,
    }


def _row(entry: Entry) -> tuple[object, ...]:
    return screen.size(entry.size), screen.moment(entry.modified), entry.checksum, entry.name


async def _get(args: argparse.Namespace, fetcher: Fetcher) -> int:
    uri: Uri = args.uri
    place = Path(args.place or ".")
    to_folder = (
        args.place is None or args.place.endswith("/") or await asyncio.to_thread(place.is_dir)
    )
    if not uri.is_folder and to_folder:
        place /= uri.basename.partition("?")[0]
    progress = Progress()
    async with shown(str(uri), progress, quiet=args.quiet):
        await fetcher.get(
            uri,
            place,
            directory=uri.is_folder,
            size=args.size,
            checksum=args.checksum,
            progress=progress,
        )
    return 0


async def _put(args: argparse.Namespace, fetcher: Fetcher) -> int:
    progress = Progress()
    folder = await asyncio.to_thread(args.place.is_dir)
    async with shown(str(args.place), progress, quiet=args.quiet):
        await fetcher.put(args.place, args.uri, directory=folder, progress=progress)
    return 0


async def _sync(args: argparse.Namespace, fetcher: Fetcher) -> int:
    if "file" not in (args.source.scheme, args.target.scheme):
        complain("fetch sync: one of SOURCE and TARGET must be a folder of this machine")
        return USAGE_ERROR
    progress = Progress()
    async with shown(str(args.source), progress, quiet=args.quiet or args.dry_run):
        changes = await sync(
            fetcher,
            args.source,
            args.target,
            delete=args.delete,
            dry_run=args.dry_run,
            progress=progress,
        )
    for verb, names in (("copy", changes.copied), ("remove", changes.removed)):
        for name in names if args.dry_run else ():
            print(f"{verb} {harmless(name)}")
    if not args.quiet:
        would = "would be " if args.dry_run else ""
        print(
            f"{len(changes.copied)} {would}copied ({screen.size(changes.size)}),"
            f" {len(changes.removed)} {would}removed, {changes.same} the same",
            file=sys.stderr,
        )
    return 0


async def _rm(args: argparse.Namespace, fetcher: Fetcher) -> int:
    if args.uri.is_folder and not args.recursive:
        complain(f"fetch rm: {harmless(str(args.uri))} is a folder; add --recursive to mean it")
        return USAGE_ERROR
    if args.dry_run:
        async for entry in fetcher.list(args.uri):
            print(f"remove {harmless(entry.name)}")
        return 0
    count = await fetcher.remove(args.uri)
    if not args.quiet:
        print(f"{count} removed", file=sys.stderr)
    return 0
