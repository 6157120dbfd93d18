"""--token-file and --ca, for every command that speaks to a server. Standard library only."""

import argparse
from collections.abc import Sequence
from typing import Any

from pytq import credentials


class _Use(argparse.Action):
    """Takes effect at once, and for what this command starts."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        del parser, namespace, option_string
        credentials.use(**{self.dest: str(values)})


class _Refuse(argparse.Action):
    """Says where a token belongs."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        del parser, namespace, values, option_string
        raise argparse.ArgumentError(
            None,
            "a token on a command line can be read by everybody on this machine and stays in the"
            " shell's history; put it into PYTQ_TOKEN, or into a file for --token-file",
        )


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Let a parser take --token-file and --ca, and refuse --token."""
    add = parser.add_argument
    nothing: dict[str, Any] = {"default": argparse.SUPPRESS}
    add(
        "--token-file",
        action=_Use,
        metavar="FILE",
        help="what to show the server (default: $PYTQ_TOKEN, or what a server here has left)",
        **nothing,
    )
    add(
        "--ca",
        action=_Use,
        metavar="FILE",
        help="who vouches for an https server (default: $PYTQ_CA, or as the system does)",
        **nothing,
    )
    add("--token", action=_Refuse, help=argparse.SUPPRESS, **nothing)
