"""What every subcommand that asks the server shares: -s SERVER, one client, friendly errors."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from pydantic import BaseModel, ValidationError

from pytq import arguments
from pytq.cli.showing import add_credentials
from pytq.cli.wire import explain, harmless
from pytq.client import Client
from pytq.schema import address
from pytq.schema.problems import PytqError

USAGE_ERROR: Final = 2
PATIENCE_SECONDS: Final = 2.0


def server(word: str) -> address.Address:
    """An argparse type for SERVER."""
    try:
        return address.parse(word)
    except address.AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_server(parser: argparse.ArgumentParser) -> None:
    """Let a parser take -s SERVER, --token-file and --ca."""
    parser.add_argument(
        "-s",
        "--server",
        type=server,
        help=f"host, host:port or URL (default: $PYTQ_SERVER or {address.DEFAULT_SERVER})",
    )
    add_credentials(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Let a parser take --json."""
    parser.add_argument("--json", action="store_true", help="print the API's own JSON")


def ask(
    args: argparse.Namespace,
    work: Callable[[argparse.Namespace, Client], Awaitable[int]],
) -> int:
    """Do `work` with a client; what goes wrong becomes a sentence on stderr."""
    try:
        return asyncio.run(_ask(args, work))
    except address.AddressError as error:
        complain(f"PYTQ_SERVER: {error}")
        return USAGE_ERROR
    except ValidationError as error:
        complain(harmless(str(arguments.told(error))))
        return USAGE_ERROR
    except PytqError as error:
        complain(told(error))
        return 1


async def _ask(
    args: argparse.Namespace,
    work: Callable[[argparse.Namespace, Client], Awaitable[int]],
) -> int:
    async with Client(args.server, patience=PATIENCE_SECONDS) as client:
        return await work(args, client)


async def each(
    things: Iterable[str] | Iterable[int], act: Callable[[str | int], Awaitable[str]]
) -> int:
    """Act on each thing and print what came of it; one that is refused does not stop the rest."""
    code = 0
    for thing in things:
        try:
            print(await act(thing))
        except PytqError as error:
            complain(told(error))
            code = 1
    return code


def told(error: PytqError) -> str:
    """An error of the API as a sentence: what is wrong, in which field, what to do."""
    return explain(str(error), error.field, error.cure, getattr(error, "__notes__", []))


def complain(text: str) -> None:
    """Say what is wrong."""
    print(f"pytq: {text}", file=sys.stderr)


def print_json(answer: BaseModel) -> None:
    """Print a model as the API shows it."""
    print(answer.model_dump_json(indent=2))


def print_json_list(answers: Iterable[BaseModel]) -> None:
    """Print a list of models as the API shows them."""
    inner = ",\n".join(answer.model_dump_json() for answer in answers)
    print(f"[{inner}]")
