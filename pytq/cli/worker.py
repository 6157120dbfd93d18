"""`pytq worker SERVER [CONCURRENCY]`: run a worker on this machine."""

import argparse
import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytq.cli.showing import add_credentials
from pytq.schema import address, limits


def add_parser(subparsers: Any) -> None:
    """Declare `pytq worker`."""
    parser = subparsers.add_parser(
        "worker",
        help="run a worker",
        description="Run tasks of one batch on this machine. Running tasks outlive the worker:"
        " start it again to take them over. To look after workers there are: pytq worker"
        " list|show|set|pause|resume|drain|release|forget|resources|clean|pin|unpin.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "server",
        metavar="SERVER",
        nargs="?",
        default=os.environ.get("PYTQ_SERVER") or address.DEFAULT_SERVER,
        help=f"host, host:port or URL (default: $PYTQ_SERVER or {address.DEFAULT_SERVER})",
    )
    parser.add_argument(
        "concurrency",
        metavar="CONCURRENCY",
        nargs="?",
        type=_at_most(limits.CONCURRENCY),
        help="how many tasks run at once (default: one for each CPU)",
    )
    parser.add_argument("--batch", default="default", help="whose tasks to run (default: default)")
    parser.add_argument("--name", help="the worker's name (default: this machine's)")
    parser.add_argument(
        "--prefetch",
        metavar="N",
        type=_at_most(limits.PREFETCH),
        default=0,
        help="fetch the inputs of N more tasks ahead (default: 0)",
    )
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        type=Path,
        help="where journal and tasks' folders lie (default: $PYTQ_WORK_DIR or a user folder)",
    )
    _add_data_options(parser)
    _add_container_options(parser)
    add_credentials(parser)
    parser.add_argument(
        "--kill", action="store_true", help="end the running tasks too when the worker is stopped"
    )


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--file-root",
        metavar="DIR",
        type=Path,
        action="append",
        help="below this folder file:// may read and write; may be repeated (default: anywhere)",
    )
    parser.add_argument(
        "--transfers",
        metavar="N",
        type=_at_least_one,
        help="files that come or go at once (default: 32)",
    )
    parser.add_argument(
        "--transfers-per-host",
        metavar="N",
        type=_at_least_one,
        help="of them from or to one host (default: 16)",
    )
    parser.add_argument(
        "--disk-high",
        metavar="PART",
        type=_part,
        help="when more of the work directory's disk is taken, what was used longest ago goes:"
        " resources, images, folders of failed tasks (default: 0.9)",
    )


def _add_container_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="what containers see as /data; '' for nothing (default: /data, where there is one)",
    )
    parser.add_argument(
        "--allow-docker-option",
        metavar="NAME",
        action="append",
        default=[],
        help="let tasks use an option of docker run that reaches out of the container, as"
        " privileged or volume; may be repeated (see docs/containers.md)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the worker until it is stopped."""
    from pytq import redaction
    from pytq.worker.agent import run_worker
    from pytq.worker.options import WorkerError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    redaction.keep_secrets()
    try:
        return asyncio.run(run_worker(_options(args)))
    except (WorkerError, address.AddressError) as error:
        print(f"pytq worker: {error}", file=sys.stderr)
        return 1


def _options(args: argparse.Namespace) -> Any:
    from pydantic import TypeAdapter, ValidationError

    from pytq.schema.text import Name
    from pytq.worker.options import WorkerError, WorkerOptions, default_name

    given = {"batch": args.batch, "name": args.name or default_name()}
    for option, value in given.items():
        try:
            TypeAdapter(Name).validate_python(value)
        except ValidationError as error:
            raise WorkerError(
                f"--{option} {value!r}: use letters, digits and _ . + @ -, a letter or digit first"
            ) from error
    if args.concurrency is not None:
        given["concurrency"] = args.concurrency
    address.parse(args.server)
    return WorkerOptions(
        server=args.server,
        prefetch=args.prefetch,
        work_dir=args.work_dir,
        kill_on_exit=args.kill,
        **given,
        **_data_options(args),
        **_container_options(args),
    )


def _data_options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("transfers", "transfers_per_host", "disk_high")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.file_root:
        given["file_roots"] = tuple(root.absolute() for root in args.file_root)
    return given


def _container_options(args: argparse.Namespace) -> dict[str, Any]:
    from pytq.worker.options import WorkerError
    from pytq.worker.runners.docker.options import OptionError, guarded_name

    try:
        allowed = tuple(guarded_name(name) for name in args.allow_docker_option)
    except OptionError as error:
        raise WorkerError(f"--allow-docker-option: {error}") from error
    given: dict[str, Any] = {"docker_options": allowed}
    if args.data is not None:
        given["data_dir"] = Path(args.data).absolute() if args.data else None
        if args.data and not given["data_dir"].is_dir():
            raise WorkerError(f"--data {args.data}: there is no such folder on this machine")
    return given


def _at_most(most: int) -> Any:
    def count(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {most}")
        return int(text)

    return count


def _at_least_one(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} will not do; it takes a number of at least 1")
    return int(text)


def _part(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a part of a disk: write 0.9 for 90 %")
