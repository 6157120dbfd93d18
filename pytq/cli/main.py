"""The one `pytq` command: finds the subcommand and imports nothing but its file."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

# subcommand -> (module, what it is for). A module has add_parser(subparsers) and run(args) -> int.
COMMANDS = {
    "up": ("pytq.cli.up", "server, one local worker and the cockpit, in one go"),
    "down": ("pytq.cli.down", "stop what `pytq up` left running"),
    "server": ("pytq.cli.server", "run the server"),
    "worker": ("pytq.cli.worker", "run a worker; or list, show, set … the workers there are"),
    "tui": ("pytq.cli.tui", "see everything and turn every knob, in this terminal"),
    "launch": ("pytq.cli.launch", "queue one command"),
    "task": ("pytq.cli.tasks", "list, show, cancel, retry … tasks, read their output"),
    "batch": ("pytq.cli.batches", "list, show, pause, go, cancel … batches"),
    "fetch": ("pytq.cli.fetch", "list, get, put, sync, rm files by URI, as workers do"),
    "recruit": ("pytq.cli.recruit", "bring new workers"),
    "job": ("pytq.cli.jobs", "list, show, cancel the server's own jobs, read their logs"),
    "token": ("pytq.cli.tokens", "create, list, revoke tokens; open the web page"),
    "demo": ("pytq.cli.demo", "run a real pipeline on this machine and see what comes out"),
}
WORKER_VERBS = frozenset(
    {"list", "show", "set", "pause", "resume", "drain", "release", "forget"}
    | {"resources", "clean", "pin", "unpin"}
)


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["launch"]:
        from pytq.cli import launch

        return launch.main(words[1:], prog="pytq launch")
    module = _module(words)
    args = _parser(words, module).parse_args(words)
    if module is None:
        return 2
    try:
        return int(module.run(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from noticing it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def worker() -> int:
    """`pytq-worker`: the same as `pytq worker`."""
    return main(["worker", *sys.argv[1:]])


def _module(words: list[str]) -> Any:
    name = words[0] if words else ""
    if name == "worker" and WORKER_VERBS.intersection(words[1:2]):
        return import_module("pytq.cli.workers")
    return import_module(COMMANDS[name][0]) if name in COMMANDS else None


def _parser(words: list[str], module: Any) -> "argparse.ArgumentParser":
    import argparse

    from pytq import __version__

    parser = argparse.ArgumentParser(
        prog="pytq",
        description="A task queue: shell commands on a fleet of workers, tuned live.",
        epilog="pytq COMMAND -h tells more of each.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pytq {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (_, purpose) in COMMANDS.items():
        if module is None or name != words[0]:
            subparsers.add_parser(name, help=purpose, add_help=False)
    if module is not None:
        module.add_parser(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
