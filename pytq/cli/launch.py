"""`pytq launch`: queue one command, as fast as a shell loop wants it.

Standard library only: neither pydantic nor aiohttp nor rich may be imported here, nor by anything
that this file imports. What is wrong with a task the server says better than we could.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn

from pytq.cli import wire
from pytq.cli.showing import add_credentials
from pytq.schema import address

USAGE_ERROR = 2
INTERRUPTED = 130
_SHORT = 2  # characters of -x
_DOCKER_OPTION = ("-O", "--option")
_FLAGS = frozenset({"-h", "--help", "--version", "-t", "--test", "-w", "--wait"})
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}

_EPILOG = """\
The first word that is no option starts COMMAND; everything after it belongs to the command,
unchanged. Use sh -c '…' for shell syntax. With -d, an unknown short option starts it too: it is
meant for the image's own program.
URIs: s3://…, file:///…, ftp://…, http(s)://…, run+fastq://ACCESSION/; with |gunzip, |untar,
|unzip or |mv:FOLDER after them as wanted.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {wire.harmless(message)}; see {self.prog} -h\n")


class _Once(argparse.Action):
    """An option that says one thing: given twice, nobody knows which was meant."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del parser
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, f"{option_string} was given twice; give it once")
        setattr(namespace, self.dest, values)


def _text(word: str) -> str:
    # Through the bytes, so that the words survive a locale that is not UTF-8.
    try:
        return os.fsencode(word).decode("utf-8")
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not valid UTF-8; rename what it names, or build the word inside the"
            " task with sh -c and printf"
        ) from error


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = _text(word).partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{word!r} is no pair; write KEY=VALUE")
    return key, value


def _ids(word: str) -> list[int]:
    parts = _text(word).replace(",", " ").split()
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{word!r} is no list of task ids; write 17 or 17,18")
    return [int(part) for part in parts]


def _docker_options(text: str) -> list[str]:
    """Options of `docker run`, as one types them there, each as one word."""
    import shlex

    try:
        words = shlex.split(_text(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}; close the quote") from error
    if not words:
        raise argparse.ArgumentTypeError("no option; write it as in -O --shm-size=2g")
    options: list[str] = []
    for word in words:
        if word.startswith("-"):
            options.append(word)
        elif not options:
            options.append(f"--{word}")
        else:
            options[-1] += f"={word}"
    return options


def _uris(word: str) -> list[str]:
    return _text(word).split()


def _number(kind: type[int] | type[float], example: str) -> Callable[[str], float]:
    def read(word: str) -> float:
        try:
            value = kind(word)
            int(value)  # neither infinite nor NaN
        except (ValueError, OverflowError) as error:
            raise argparse.ArgumentTypeError(
                f"{word!r} is no number; write it as in {example}"
            ) from error
        return value

    return read


def _bytes(word: str) -> int:
    number = word.upper().removesuffix("B").removesuffix("I")
    digits = number.rstrip("KMGT")
    try:
        return int(float(digits) * _UNITS[number[len(digits) :]])
    except (ValueError, KeyError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{word!r} is no size; write it as in 512M or 4G"
        ) from error


def _server(word: str) -> address.Address:
    try:
        return address.parse(word)
    except address.AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def build_parser(prog: str = "pytq launch") -> argparse.ArgumentParser:
    """Every option of `pytq launch`; COMMAND has been cut off before."""
    parser = _Parser(
        prog=prog,
        usage=f"{prog} [options] [--] COMMAND…",
        description="Queue one command and print the new task's id.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_what(parser)
    _add_how(parser)
    return parser


def _add_what(parser: argparse.ArgumentParser) -> None:
    once, text = _Once, _text
    add = parser.add_argument
    add("-b", "--batch", action=once, type=text, metavar="BATCH", help="(default: default)")
    add("-n", "--name", action=once, type=text, metavar="NAME", help="a name of your own")
    add("-d", "--docker", action=once, type=text, metavar="IMAGE", help="run it in a container")
    lists: dict[str, Any] = {"action": "extend", "type": _uris, "default": [], "metavar": "URI…"}
    add(
        *_DOCKER_OPTION,
        action="extend",
        type=_docker_options,
        default=[],
        metavar="OPTION",
        help="an option of docker run: --gpus=all, --shm-size=2g; repeatable",
    )
    add("-i", "--input", help="into /input ($INPUT); repeatable, or a quoted list", **lists)
    add("-r", "--resource", help="into /resource, once per worker; likewise", **lists)
    add("-o", "--output", action=once, type=text, metavar="URI", help="a folder for /output")
    pairs: dict[str, Any] = {"action": "append", "type": _pair, "default": []}
    add("-e", "--env", metavar="KEY=VALUE", help="an environment variable; repeatable", **pairs)
    add("--tag", metavar="KEY=VALUE", help="a tag to find it by; repeatable", **pairs)
    add(
        *("-R", "--requirements"),
        action="extend",
        type=_ids,
        default=[],
        metavar="IDS",
        help="start after these tasks have succeeded: 17,18",
    )


def _add_how(parser: argparse.ArgumentParser) -> None:
    once = _Once
    add = parser.add_argument
    whole, real = _number(int, "3"), _number(float, "1.5")
    add("--priority", action=once, type=whole, metavar="N", help="higher goes first")
    add("--retry", action=once, type=whole, metavar="N", help="try again so often if it fails")
    add("--timeout", action=once, type=real, metavar="SECONDS", help="end it after so long")
    more = {"download": "let its inputs take so long", "upload": "and its outputs"}
    for phase, text in more.items():
        add(f"--{phase}-timeout", action=once, type=real, metavar="SECONDS", help=text)
    add("--cpus", action=once, type=real, metavar="N", help="CPUs it needs")
    add("--mem", action=once, type=_bytes, metavar="SIZE", help="memory it needs: 512M, 4G")
    add("--disk", action=once, type=_bytes, metavar="SIZE", help="disk it needs: 100G")
    add("--gpus", action=once, type=whole, metavar="N", help="GPUs it needs")
    add("-u", "--uid", action=once, type=whole, metavar="UID", help="run as this user: 1000")
    add("-g", "--gid", action=once, type=whole, metavar="GID", help="and this group")
    add(
        *("-s", "--server"),
        action=once,
        type=_server,
        help=f"host, host:port or URL (default: $PYTQ_SERVER or {address.DEFAULT_SERVER})",
    )
    add_credentials(parser)
    add("-t", "--test", action="store_true", help="show what would be sent, send nothing")
    add("-w", "--wait", action="store_true", help="show its output, exit with its exit code")


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Cut a command line into our options and the command, of which not a byte is touched."""
    at = 0
    while at < len(argv):
        word = argv[at]
        if word == "--":
            return [*argv[:at]], [*argv[at + 1 :]]
        if not word.startswith("-") or word == "-" or _is_for_the_image(word, argv[:at]):
            break
        at += 2 if _wants_a_value(word) else 1
    return [*argv[:at]], [*argv[at:]]


def _is_for_the_image(word: str, before: Sequence[str]) -> bool:
    """Whether an option is none of ours, and an image is named whose program may know it."""
    named = any(w.startswith(("-d", "--docker")) for w in before)
    return named and word[1] not in f"-{_letters()}"


@cache
def _letters() -> str:
    parser = build_parser()
    words = parser._option_string_actions  # noqa: SLF001 - argparse has no public list of them
    return "".join(word[1] for word in words if len(word) == _SHORT)


def _wants_a_value(word: str) -> bool:
    if word.startswith("--"):
        return word not in _FLAGS and "=" not in word
    for place, letter in enumerate(word[1:], start=1):
        if f"-{letter}" not in _FLAGS:
            return place == len(word) - 1  # otherwise its value is glued to it
    return False


def read(argv: Sequence[str], prog: str = "pytq launch") -> tuple[argparse.Namespace, list[str]]:
    """Options and command of a command line; exits with 2 and a sentence if it makes no sense."""
    parser = build_parser(prog)
    options, command = split(argv)
    args = parser.parse_args(_glued(options))
    try:
        words = [_text(word) for word in command]
    except argparse.ArgumentTypeError as error:
        parser.error(f"COMMAND: {error}")
    if not words:
        parser.error("COMMAND is missing; say what to run, as in: echo hello")
    return args, words


def _glued(options: list[str]) -> list[str]:
    """`-O --gpus=all` as `-O--gpus=all`: argparse takes no value that looks like an option."""
    words, rest = [], iter(options)
    for word in rest:
        if word in _DOCKER_OPTION:
            value = next(rest, None)
            word = word if value is None else f"--option={value}"  # noqa: PLW2901 - that is the point
        words.append(word)
    return words


def task_of(args: argparse.Namespace, command: list[str]) -> dict[str, Any]:
    """The JSON of the task, without the fields nobody asked for."""
    task = {
        "command": command,
        "name": args.name,
        "batch": args.batch,
        "container": args.docker,
        "container_options": args.option,
        "inputs": args.input,
        "resources": args.resource,
        "output": args.output,
        "env": dict(args.env),
        "tags": dict(args.tag),
        "requirements": args.requirements,
        "priority": args.priority,
        "retries": args.retry,
        "timeouts": _given(
            {
                "run": args.timeout,
                "download": args.download_timeout,
                "upload": args.upload_timeout,
            }
        ),
        "request": _given(
            {"cpus": args.cpus, "memory": args.mem, "disk": args.disk, "gpus": args.gpus}
        ),
        "uid": args.uid,
        "gid": args.gid,
    }
    return _given(task)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def main(argv: Sequence[str] | None = None, prog: str = "pytq-launch") -> int:
    """Queue one command; the console script `pytq-launch`."""
    try:
        return _launch(sys.argv[1:] if argv is None else argv, prog)
    except (wire.UnreachableError, wire.RefusedError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from noticing it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _launch(argv: Sequence[str], prog: str) -> int:
    args, command = read(argv, prog)
    task = task_of(args, command)
    if args.test:
        return _show(task, command)
    place = args.server or _default_server(prog)
    body = json.dumps(task).encode("ascii")
    key = os.urandom(16).hex()
    answer = wire.call(place, "POST", "/tasks", body, key=key)
    number = answer["ids"][0]
    if not args.wait:
        print(number)
        return 0
    from pytq.cli.follow import follow

    print(f"task {number}", file=sys.stderr, flush=True)
    return follow(place, number)


def _default_server(prog: str) -> address.Address:
    given = os.environ.get("PYTQ_SERVER") or address.DEFAULT_SERVER
    try:
        return address.parse(given)
    except address.AddressError as error:
        print(f"{prog}: PYTQ_SERVER: {error}", file=sys.stderr)
        raise SystemExit(USAGE_ERROR) from error


def _show(task: dict[str, Any], command: list[str]) -> int:
    import shlex

    print(json.dumps(task, indent=2, ensure_ascii=False), flush=True)
    print(f"would run: {wire.harmless(shlex.join(command))}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
