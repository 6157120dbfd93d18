"""`pytq demo`: a real pipeline on this machine, from nothing to results, in under a minute."""

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from pytq.cli import asking, demo_tasks, screen, stack, up
from pytq.cli.demo_tasks import Intention
from pytq.cli.progress import Watch, ended, total
from pytq.cli.wire import harmless
from pytq.client import Client
from pytq.schema.problems import PytqError
from pytq.schema.queries import ExecutionFilter
from pytq.schema.states import Stream, TaskStatus
from pytq.schema.tasks import TaskSubmit
from pytq.schema.views import TaskView

_FILES: Final = 240
_LIMIT_SECONDS: Final = 600.0
_SHOWN: Final = 10
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Finding:
    """A task's intention, and what came of it."""

    intention: Intention
    task: TaskView
    exit_code: int | None
    differs: str  # empty if all went as intended


def add_parser(subparsers: Any) -> None:
    """Declare `pytq demo`."""
    _declare(subparsers.add_parser("demo", help="run a real pipeline on this machine"))


def _declare(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Start a private server and worker, run a pipeline over Python's own library with some"
        " failures on purpose, check that everything went as intended, and stop."
    )
    add = parser.add_argument
    add("--output", type=Path, default=Path("demo-output"), metavar="DIR", help="for the results")
    add("--files", type=up.concurrency, default=_FILES, metavar="N", help="(default: %(default)s)")
    add("--concurrency", type=up.concurrency, metavar="N", help="tasks at once (default: all CPUs)")


def run(args: argparse.Namespace) -> int:
    """Run the demo: 0 if everything went as intended."""
    private = Path(tempfile.mkdtemp(prefix="pytq-demo-"))
    code = 1
    try:
        code = asyncio.run(_demo(args, private))
    except stack.StackError as error:
        asking.complain(str(error))
    except PytqError as error:
        asking.complain(asking.told(error))
    except OSError as error:
        asking.complain(f"{error.filename or 'pytq demo'}: {error.strerror}; choose an --output")
    finally:
        if code == 1:
            asking.complain(f"the logs and the queue are kept in {private}")
        else:
            shutil.rmtree(private, ignore_errors=True)
    return code


async def _demo(args: argparse.Namespace, private: Path) -> int:
    results = args.output.absolute()
    demo_tasks.clean(results)
    stop = stack.stop_event()
    console = screen.console()
    plan = stack.Plan(
        port=stack.free_port(),
        server_dir=private / "server",
        work_dir=private / "worker",
        log_dir=private,
        concurrency=args.concurrency or os.cpu_count() or 1,
    )
    files = demo_tasks.sources(args.files)
    console.print(f"Starting a private server and worker; the API is at http://{plan.server}/")
    async with stack.running(plan) as (children, client):
        console.print(f"Packing, checksumming and counting {len(files)} files of Python's library")
        began = time.monotonic()
        wanted = await _submit(client, files, results)
        watch = Watch(console, client, children)
        if not await _finish(watch, stop, len(wanted)):
            console.print("stopped before the end")
            return _INTERRUPTED
        took = time.monotonic() - began
        findings = [finding async for finding in _findings(client, wanted)]
        text = await _output(client, next(f.task for f in findings if f.task.name == "summary"))
    return _report(console, findings, text, results, took)


async def _submit(client: Client, files: Sequence[Path], results: Path) -> dict[int, Intention]:
    """Queue everything; what is intended of each task."""
    good = demo_tasks.pipeline(files, results)
    bad = demo_tasks.failures()
    ids = await _send(client, [one.task for one in good])
    bad_ids = await _send(client, [one.task for one in bad])
    failing = next(
        number
        for number, one in zip(bad_ids, bad, strict=True)
        if one.exit_code == demo_tasks.EXIT_CODE
    )
    last = [demo_tasks.dependant(failing), demo_tasks.summary(ids, results)]
    last_ids = await _send(client, [one.task for one in last])
    return dict(zip([*ids, *bad_ids, *last_ids], [*good, *bad, *last], strict=True))


async def _send(client: Client, tasks: list[TaskSubmit]) -> list[int]:
    return (await client.submit_tasks(tasks)).ids


async def _finish(watch: Watch, stop: asyncio.Event, amount: int) -> bool:
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            return await watch.until(stop, lambda c: ended(c) == total(c) == amount)
    except TimeoutError as error:
        raise stack.StackError(
            f"the demo is not done after {_LIMIT_SECONDS:.0f} seconds; the logs may tell why"
        ) from error


async def _findings(client: Client, wanted: dict[int, Intention]) -> AsyncIterator[Finding]:
    async for task in client.each_task():
        intention = wanted[task.id]
        if intention.status == task.status == TaskStatus.SUCCEEDED:
            yield Finding(intention, task, 0, "")
            continue
        tries = await client.list_executions(ExecutionFilter(task=task.id))
        code = tries.items[0].exit_code if tries.items else None
        yield Finding(intention, task, code, _difference(intention, task, code))


async def _output(client: Client, task: TaskView) -> str:
    if task.attempt == 0:
        return ""
    parts = [part.data async for part in client.each_output(task.id, task.attempt, Stream.STDOUT)]
    return b"".join(parts).decode(errors="replace")


def _difference(intention: Intention, task: TaskView, code: int | None) -> str:
    """What is not as intended, in words."""
    if task.status != intention.status:
        return f"{task.status} ({screen.reason(task.reason)}) instead of {intention.status}"
    cause = task.reason.cause if task.reason else None
    if cause != intention.cause:
        return f"failed because of {cause} instead of {intention.cause}"
    if intention.exit_code is not None and code != intention.exit_code:
        return f"exit code {code} instead of {intention.exit_code}"
    return ""


def _report(
    console: Console, findings: list[Finding], text: str, results: Path, took: float
) -> int:
    failures = [one for one in findings if one.intention.status == TaskStatus.FAILED]
    surprises = [one for one in findings if one.differs]
    good = sum(1 for one in findings if one.task.status == TaskStatus.SUCCEEDED)
    console.print("\nFailed on purpose:")
    console.print(screen.table(("NAME", "WHY", "REASON"), [_why(one) for one in failures]))
    console.print("\nThe summary task says:")
    console.print(harmless(text))
    for one in surprises[:_SHOWN]:
        console.print(screen.cell(f"NOT AS INTENDED: {one.task.name}: {one.differs}"))
    planned = len(findings) - len(failures)
    console.print(
        f"{good} of {planned} tasks succeeded,"
        f" {len(failures) - sum(1 for one in failures if one.differs)} of {len(failures)} failed"
        f" as intended, {len(surprises)} surprises\n"
        f"{len(findings)} tasks in {took:.1f} seconds: {len(findings) / took:.0f} per second\n"
        f"The results are in {results}"
    )
    return 1 if surprises else 0


def _why(one: Finding) -> tuple[str, str, str]:
    return one.task.name or "", one.intention.wanted, screen.reason(one.task.reason)


def main() -> int:
    """`python -m pytq.cli.demo`."""
    parser = argparse.ArgumentParser(prog="pytq demo", allow_abbrev=False)
    _declare(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
