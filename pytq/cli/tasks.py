"""`pytq task`: see tasks, read their output, steer them."""

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from pytq.cli import asking, screen
from pytq.cli.follow import follow, say, write_all
from pytq.cli.wire import harmless
from pytq.client import Client
from pytq.schema import limits
from pytq.schema.queries import ExecutionFilter, TaskFilter
from pytq.schema.states import Stream, TaskStatus
from pytq.schema.views import ExecutionView, TaskUpdate, TaskView

_COLUMNS: Final = ("TASK", "STATUS", "BATCH", "NAME", "TRY", "CREATED", "COMMAND", "REASON")
_TRIES: Final = ("TRY", "WORKER", "PHASE", "OUTCOME", "EXIT", "RUNNING SINCE", "ENDED", "REASON")
_ACTS: Final = {
    "cancel": "cancel tasks, ending those that run",
    "retry": "run ended tasks again",
    "delete": "delete tasks that are not running, with their history",
}


def add_parser(subparsers: Any) -> None:
    """Declare `pytq task`."""
    parser = subparsers.add_parser("task", help="list, show, cancel, retry … tasks")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_list(verbs)
    show = verbs.add_parser("show", help="show tasks and their tries")
    show.add_argument("ids", nargs="+", type=number, metavar="TASK")
    asking.add_server(show)
    asking.add_json(show)
    explain = verbs.add_parser("explain", help="tell why tasks are not running")
    explain.add_argument("ids", nargs="+", type=number, metavar="TASK")
    asking.add_server(explain)
    asking.add_json(explain)
    _add_output(verbs)
    _add_set(verbs)
    for verb, purpose in _ACTS.items():
        one = verbs.add_parser(verb, help=purpose)
        one.add_argument("ids", nargs="+", type=number, metavar="TASK")
        asking.add_server(one)


def _add_list(verbs: Any) -> None:
    listing = verbs.add_parser("list", help="list tasks, newest first")
    add = listing.add_argument
    add("-b", "--batch", help="only those of this batch")
    statuses = [status.value for status in TaskStatus]
    add("-S", "--status", action="append", choices=statuses, help="only these; repeatable")
    add("-n", "--name", help="only those of exactly this name")
    add("-w", "--worker", help="only those whose latest try is, or was, on this worker")
    add("--search", metavar="WORDS", help="only those with these words in name or command")
    add("--oldest", action="store_true", help="oldest first")
    add("-l", "--limit", type=number, default=limits.PAGE_DEFAULT, metavar="N", help="at most N")
    asking.add_server(listing)
    asking.add_json(listing)


def _add_output(verbs: Any) -> None:
    output = verbs.add_parser("output", help="write what a task has written, byte by byte")
    output.add_argument("id", type=number, metavar="TASK")
    output.add_argument("--attempt", type=number, metavar="N", help="of this try (default: latest)")
    which = output.add_mutually_exclusive_group()
    which.add_argument("--stderr", action="store_true", help="stderr instead of stdout")
    which.add_argument(
        *("-f", "--follow"),
        action="store_true",
        help="both streams as they come, until the task has ended; exit with its exit code",
    )
    asking.add_server(output)


def _add_set(verbs: Any) -> None:
    change = verbs.add_parser("set", help="change tasks that are not running")
    change.add_argument("ids", nargs="+", type=number, metavar="TASK")
    add = change.add_argument
    add("-n", "--name", default=None)
    add("-b", "--batch", default=None)
    add("-p", "--priority", type=int, default=None, metavar="N", help="higher goes first")
    add(
        "--retry", dest="retries", type=int, default=None, metavar="N", help="tries after a failure"
    )
    add("-c", "--command", default=None, metavar="TEXT", help="shell text to run instead")
    asking.add_server(change)


def number(word: str) -> int:
    """An argparse type for what counts from 1."""
    if not (word.isascii() and word.isdigit() and 0 < int(word) <= limits.ID_MAX):
        raise argparse.ArgumentTypeError(f"{word!r} is no number from 1 on; write it as in 17")
    return int(word)


def run(args: argparse.Namespace) -> int:
    """Do what was asked of the tasks."""
    if args.verb == "set" and not _changes(args):
        asking.complain(
            "task set: say what to change: --name, --batch, --priority, --retry or --command"
        )
        return asking.USAGE_ERROR
    works = {
        "list": _list,
        "show": _show,
        "explain": _explain,
        "output": _output,
        "set": _set,
    }
    return asking.ask(args, works.get(args.verb, _act))


async def _list(args: argparse.Namespace, client: Client) -> int:
    query = TaskFilter(
        batch=args.batch,
        status=[TaskStatus(status) for status in args.status or []],
        name=args.name,
        worker=args.worker,
        search=args.search,
        oldest_first=args.oldest,
        limit=min(args.limit, limits.PAGE_MAX),
    )
    tasks = [task async for task in _first(args.limit, client.each_task(query))]
    if args.json:
        asking.print_json_list(tasks)
    else:
        screen.print_table(_COLUMNS, map(_row, tasks))
    return 0


async def _first(amount: int, tasks: AsyncIterator[TaskView]) -> AsyncIterator[TaskView]:
    async for task in tasks:
        yield task
        amount -= 1
        if amount == 0:
            return


def _row(task: TaskView) -> tuple[object, ...]:
    return (
        task.id,
        task.status.value,
        task.batch,
        task.name,
        task.attempt or "",
        screen.moment(task.created_at),
        screen.command(task.spec),
        screen.reason(task.reason),
    )


async def _show(args: argparse.Namespace, client: Client) -> int:
    for task_id in args.ids:
        task = await client.get_task(task_id)
        if args.json:
            asking.print_json(task)
            continue
        screen.print_pairs(_pairs(task))
        tries = await client.list_executions(ExecutionFilter(task=task_id))
        if tries.items:
            screen.print_table(_TRIES, map(_try, tries.items))
    return 0


def _pairs(task: TaskView) -> list[tuple[str, object]]:
    spec = task.spec
    container = next((step.container for step in spec.steps if step.container), None)
    return [
        ("task", task.id),
        ("name", task.name),
        ("batch", task.batch),
        ("status", task.status.value),
        ("reason", screen.reason(task.reason)),
        ("command", screen.command(spec)),
        ("container", container),
        ("inputs", " ".join(mount.source or mount.path for mount in spec.mounts)),
        ("outputs", " ".join(output.destination for output in spec.outputs)),
        ("requires", " ".join(map(str, task.requirements))),
        ("priority", task.priority or None),
        ("tries", f"{task.attempt} (failed {task.failures}, lost {task.losses})"),
        ("retries left", max(0, task.retries - task.failures) or None),
        ("tags", " ".join(f"{key}={value}" for key, value in task.tags.items())),
        ("created", screen.moment(task.created_at)),
        ("changed", screen.moment(task.changed_at)),
    ]


def _try(one: ExecutionView) -> tuple[object, ...]:
    return (
        one.attempt,
        one.worker,
        "paused" if one.paused else one.phase.value,
        one.outcome,
        one.exit_code,
        screen.moment(one.running_at),
        screen.moment(one.ended_at),
        screen.reason(one.reason),
    )


async def _explain(args: argparse.Namespace, client: Client) -> int:
    for task in args.ids:
        told = await client.explain_task(task)
        if args.json:
            asking.print_json(told)
            continue
        print(harmless(f"task {task}: {told.summary}"))
        if told.workers:
            rows = [(one.worker, one.reason) for one in told.workers]
            screen.print_table(("WORKER", "WHY"), rows)
    return 0


async def _output(args: argparse.Namespace, client: Client) -> int:
    if args.follow:
        # Blocking is fine: nothing else goes on here.
        return follow(client.address, args.id)
    attempt = args.attempt or (await client.get_task(args.id)).attempt
    if attempt == 0:
        say(f"task {args.id} has not started yet; wait for it with -f")
        return 0
    stream = Stream.STDERR if args.stderr else Stream.STDOUT
    seen = 0
    async for part in client.each_output(args.id, attempt, stream):
        if part.offset > seen:
            say(f"{part.offset - seen} bytes of {stream} were not kept")
        write_all(part.data)
        seen = part.offset + len(part.data)
    return 0


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    fields = ("name", "batch", "priority", "retries", "command")
    return {field: getattr(args, field) for field in fields if getattr(args, field) is not None}


async def _set(args: argparse.Namespace, client: Client) -> int:
    change = TaskUpdate(**_changes(args))

    async def act(task: str | int) -> str:
        await client.update_task(int(task), change)
        return f"task {task}: changed"

    return await asking.each(args.ids, act)


async def _act(args: argparse.Namespace, client: Client) -> int:
    act = _DEEDS[args.verb]
    return await asking.each(args.ids, lambda task: act(client, int(task)))


async def _cancel(client: Client, task: int) -> str:
    status = (await client.cancel_task(task)).status
    return f"task {task}: " + ("cancelled" if status == TaskStatus.CANCELLED else "being ended")


async def _retry(client: Client, task: int) -> str:
    return f"task {task}: {(await client.retry_task(task)).status}"


async def _delete(client: Client, task: int) -> str:
    await client.delete_task(task)
    return f"task {task}: deleted"


_DEEDS: Final[dict[str, Callable[[Client, int], Awaitable[str]]]] = {
    "cancel": _cancel,
    "retry": _retry,
    "delete": _delete,
}
