"""What a person can ask of the server: each act names itself, does it, and knows its undoing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pytq.client import Client
from pytq.schema.problems import ConflictError, NotFoundError, PytqError
from pytq.schema.recruit import Recruit
from pytq.schema.states import Signal
from pytq.schema.tasks import Command
from pytq.schema.views import BatchUpdate, BatchView, Cleaning, Kept, TaskUpdate, WorkerUpdate
from pytq.transport import UnreachableError
from pytq.tui.words import clean, plural, things

T = TypeVar("T")

_AT_ONCE: Final = 8
_NAMED: Final = 3
_SIGNALLED: Final = {
    Signal.PAUSE: "paused",
    Signal.RESUME: "resumed",
    Signal.TERM: "asked to end",
    Signal.KILL: "killed",
}


@dataclass(frozen=True, slots=True)
class Act:
    """Something to ask of the server; `run` answers with a sentence about what came of it."""

    title: str
    run: Callable[[Client], Awaitable[str]]
    undo: "Act | None" = None


_MAYBE: Final = "the server went away; look whether it was done once it is back"


def told(error: PytqError) -> str:
    """A refusal as a sentence: what is wrong, and what to do."""
    if isinstance(error, UnreachableError):
        return "the server is away; nothing was changed" if error.unsent else _MAYBE
    text = str(error)
    if error.field and error.field not in text:
        text = f"{error.field}: {text}"
    if error.cure:
        text = f"{text.rstrip('.')}; {error.cure}"
    return clean(text)


async def _each(things: Sequence[T], one: Callable[[T], Awaitable[object]]) -> int:
    """Do `one` to each thing, a few at a time; tells to how many. One refusal stops no other."""
    gate = asyncio.Semaphore(_AT_ONCE)
    refusals: list[PytqError] = []

    async def act(thing: T) -> None:
        async with gate:
            try:
                await one(thing)
            except PytqError as error:
                refusals.append(error)

    await asyncio.gather(*map(act, things))
    if len(refusals) == len(things):
        raise refusals[0]
    if refusals:
        done = len(things) - len(refusals)
        raise ConflictError(f"{done} done, {len(refusals)} refused: {told(refusals[0])}")
    return len(things)


def named(names: Sequence[object], thing: str) -> str:
    """`worker vm-1`, `workers vm-1 and vm-2`, or `12 workers`."""
    shown = [clean(str(name)) for name in names]
    if len(shown) > _NAMED:
        return plural(len(shown), thing)
    if len(shown) == 1:
        return f"{thing} {shown[0]}"
    return f"{things(thing)} {', '.join(shown[:-1])} and {shown[-1]}"


# --- workers


def tune(name: str, change: WorkerUpdate, before: WorkerUpdate | None = None) -> Act:
    """Turn the knobs of a worker."""
    said = ", ".join(f"{key} {_said(value)}" for key, value in _given(change).items())

    async def run(client: Client) -> str:
        await client.update_worker(name, change)
        return f"{clean(name)}: {said}"

    undo = None if before is None else tune(name, before)
    return Act(f"set {clean(name)}: {said}", run, undo)


def _given(change: WorkerUpdate) -> dict[str, object]:
    return change.model_dump(exclude_unset=True)


def _said(value: object) -> str:
    return (
        {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )


def clean_workers(names: Sequence[str], what: Sequence[Kept]) -> Act:
    """Have workers throw away what they keep and nothing uses."""

    async def run(client: Client) -> str:
        wish = Cleaning(what=list(what))
        await _each(names, lambda name: client.clean_worker(name, wish))
        return f"{named(names, 'worker')}: unused {' and '.join(what)} are thrown away"

    return Act(f"clean {named(names, 'worker')}", run)


def forget_workers(names: Sequence[str], *, force: bool) -> Act:
    """Forget workers that are offline; by force, what they still held is handed on."""

    async def run(client: Client) -> str:
        await _each(names, lambda name: client.delete_worker(name, force=force))
        return f"{named(names, 'worker')}: forgotten"

    return Act(f"forget {named(names, 'worker')}", run)


def release_workers(names: Sequence[str]) -> Act:
    """Drain workers, end them and give their machines back."""

    async def run(client: Client) -> str:
        await _each(names, client.release_worker)
        return (
            f"{named(names, 'worker')}: ending as soon as what runs there is done; 5 shows the jobs"
        )

    return Act(f"release {named(names, 'worker')}", run)


def recruit(wish: Recruit) -> Act:
    """Recruit new workers."""

    async def run(client: Client) -> str:
        job = await client.recruit(wish)
        return f"job {job.id}: {clean(job.title)}"

    return Act(f"recruit {plural(wish.count, 'worker')}", run)


def cancel_job(job: int) -> Act:
    """Cancel a job."""

    async def run(client: Client) -> str:
        view = await client.cancel_job(job)
        return f"job {job}: {view.status}"

    return Act(f"cancel job {job}", run)


# --- batches


def pause_batches(batches: Sequence[BatchView], *, paused: bool, running: bool = False) -> Act:
    """Start nothing new of batches, or let them go on; `running`: also what runs already."""
    names = [batch.name for batch in batches]

    async def one(client: Client, name: str) -> None:
        await client.update_batch(name, BatchUpdate(paused=paused))
        if running:
            await client.signal_batch(name, Signal.PAUSE if paused else Signal.RESUME)

    async def run(client: Client) -> str:
        await _each(names, lambda name: one(client, name))
        rest = "what runs is stopped where it is" if running else "what runs goes on"
        return f"{named(names, 'batch')}: " + (f"paused; {rest}" if paused else "going")

    word = "pause" if paused else "let go on"
    undo = Act(
        f"undo: {word} {named(names, 'batch')}",
        lambda client: pause_batches(batches, paused=not paused, running=running).run(client),
    )
    return Act(f"{word} {named(names, 'batch')}", run, undo)


def _sum_of(
    title: str, names: Sequence[str], call: Callable[[Client, str], Awaitable[int]], said: str
) -> Act:
    """An act on batches that tells how many tasks it touched."""

    async def run(client: Client) -> str:
        counts: list[int] = []

        async def one(name: str) -> None:
            counts.append(await call(client, name))

        await _each(names, one)
        return f"{named(names, 'batch')}: {plural(sum(counts), 'task')} {said}"

    return Act(f"{title} {named(names, 'batch')}", run)


async def _cancel(client: Client, name: str) -> int:
    return (await client.cancel_batch(name)).count


async def _retry(client: Client, name: str) -> int:
    return (await client.retry_batch(name)).count


async def _delete(client: Client, name: str) -> int:
    return (await client.delete_batch(name)).count


def cancel_batches(names: Sequence[str]) -> Act:
    """Cancel every open task of batches."""
    return _sum_of("stop", names, _cancel, "cancelled")


def retry_batches(names: Sequence[str]) -> Act:
    """Run every failed task of batches again."""
    return _sum_of("try the failed tasks again of", names, _retry, "to run again")


def delete_batches(names: Sequence[str]) -> Act:
    """Delete batches with all their tasks."""
    return _sum_of("delete", names, _delete, "deleted")


def signal_batches(names: Sequence[str], signal: Signal) -> Act:
    """Send a signal to everything of batches that runs."""

    async def call(client: Client, name: str) -> int:
        return (await client.signal_batch(name, signal)).count

    return _sum_of(f"{signal} what runs of", names, call, _SIGNALLED[signal])


# --- tasks


def _of_tasks(
    title: str, tasks: Sequence[int], call: Callable[[Client, int], Awaitable[object]], said: str
) -> Act:
    async def run(client: Client) -> str:
        await _each(tasks, lambda task: call(client, task))
        return f"{_which(tasks)}: {said}"

    return Act(f"{title} {_which(tasks)}", run)


def _which(tasks: Sequence[int]) -> str:
    return f"task {tasks[0]}" if len(tasks) == 1 else plural(len(tasks), "task")


def retry_tasks(tasks: Sequence[int]) -> Act:
    """Run ended tasks again."""
    return _of_tasks(
        "try again", tasks, lambda client, task: client.retry_task(task), "to run again"
    )


def cancel_tasks(tasks: Sequence[int]) -> Act:
    """Cancel tasks, ending what runs."""
    return _of_tasks("cancel", tasks, lambda client, task: client.cancel_task(task), "cancelled")


def delete_tasks(tasks: Sequence[int]) -> Act:
    """Delete tasks with their history."""
    return _of_tasks("delete", tasks, lambda client, task: client.delete_task(task), "deleted")


def signal_tasks(tasks: Sequence[int], signal: Signal) -> Act:
    """Send a signal to the running executions of tasks."""

    async def call(client: Client, task: int) -> None:
        view = await client.get_task(task)
        if not view.attempt:
            raise NotFoundError(f"task {task} has never run", cure="w tells why it is not running")
        await client.signal_execution(task, view.attempt, signal)

    return _of_tasks(f"{signal}", tasks, call, _SIGNALLED[signal])


def edit_task(task: int, change: TaskUpdate, *, before: TaskUpdate | None, again: bool) -> Act:
    """Change a task; `again`: and run it again."""

    async def run(client: Client) -> str:
        await client.update_task(task, change)
        if again:
            await client.retry_task(task)
        return f"task {task}: changed" + (", to run again" if again else "")

    undo = None if before is None or again else edit_task(task, before, before=None, again=False)
    return Act(f"change task {task}", run, undo)


def as_command(given: str, *, shell: bool) -> Command:
    """A command as it was typed, as the API takes it: a script for the shell, or words."""
    import shlex

    return given if shell else shlex.split(given)
