"""`pytq server`: keep the queue and serve workers and people."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Any, Final

_OPTIONS: Final = (
    *("host", "port", "data_dir", "lease_seconds", "log_level"),
    *("tls_cert", "tls_key", "admin_token_file", "insecure"),
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `pytq server` to the command line."""
    parser = commands.add_parser(
        "server",
        help="keep the queue and serve workers and people",
        description="Keep the queue and serve workers and people. The queue lives in an SQLite file"
        " unless SQLALCHEMY_DATABASE_URI names a PostgreSQL database.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", help="where to listen (default 127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, help="the port (default 5000; 0 takes any free one)")
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    parser.add_argument(
        "--lease-seconds",
        type=float,
        metavar="SECONDS",
        help="how long a worker may be silent before its tasks run elsewhere (default 1800)",
    )
    parser.add_argument("--log-level", help="DEBUG, INFO (default), WARNING or ERROR")
    parser.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="serve https with this certificate (PEM)"
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="and its key")
    parser.add_argument(
        "--admin-token-file",
        type=Path,
        metavar="FILE",
        help="let in who shows the token in it, as an admin; for a first start in a container",
    )
    parser.add_argument(
        "--insecure",
        action="store_const",
        const=True,
        help="ask for no tokens: anybody who can connect may run commands on the workers",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from pydantic import ValidationError

    from pytq import redaction
    from pytq.schema.problems import PytqError
    from pytq.server.settings import ServerSettings

    given = {name: getattr(arguments, name) for name in _OPTIONS}
    try:
        settings = ServerSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        for problem in error.errors():
            field = ".".join(str(part) for part in problem["loc"])
            print(f"pytq server: {field}: {problem['msg']}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    redaction.keep_secrets()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        asyncio.run(_serve(settings))
    except PytqError as error:
        cure = f"\n  {error.cure}" if error.cure else ""
        print(redaction.redacted(f"pytq server: {error}{cure}"), file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Any) -> None:
    from pytq.server.app import serve

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)
