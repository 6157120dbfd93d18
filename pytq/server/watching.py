"""Looking at the tasks that viewers watch: once for all of them, so many at a time."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from typing import Final

from pytq.schema.states import Phase
from pytq.server.dispatcher import Dispatcher
from pytq.server.store import viewing
from pytq.server.viewer import GONE, Shown, Viewer

_AT_ONCE: Final = 250  # tasks; the others have their turn at the next tick
_STAGING: Final = frozenset({Phase.DOWNLOADING, Phase.UPLOADING})


async def look_for(viewers: Collection[Viewer], dispatcher: Dispatcher) -> None:
    """Look at what any of the viewers asks about, and leave it with those who asked."""
    asked = {viewer: viewer.asks() for viewer in viewers}
    ids = list(islice(dict.fromkeys(_in_turns(asked.values())), _AT_ONCE))
    if not ids:
        return
    looked_at = set(ids)
    answers = {viewer: [t for t in tasks if t in looked_at] for viewer, tasks in asked.items()}
    for viewer, tasks in answers.items():
        viewer.settle(tasks)  # before the look: what happens meanwhile is news again
    try:
        sights = await dispatcher.db.read(lambda conn: viewing.look_at_tasks(conn, ids))
    except BaseException:
        for viewer, tasks in answers.items():
            viewer.ask_again(tasks)
        raise
    shown = {task: _shown(sight, dispatcher) for task, sight in sights.items()}
    for viewer, tasks in answers.items():
        for task in tasks:
            viewer.show(task, shown.get(task, GONE))


def _in_turns(lists: Iterable[Sequence[int]]) -> Iterator[int]:
    """One of each, then the second of each, and so on: nobody waits behind somebody's many."""
    for row in zip_longest(*lists):
        yield from (task for task in row if task is not None)


def _shown(sight: viewing.Sight, dispatcher: Dispatcher) -> Shown:
    task, execution = sight
    if execution is None:
        return Shown(task.model_dump_json(), "null", (0, 0))
    if execution.phase in _STAGING:
        execution.staging = dispatcher.fleet.staging((task.id, execution.attempt))
    written = execution.stdout_bytes + execution.stderr_bytes
    return Shown(task.model_dump_json(), execution.model_dump_json(), (execution.attempt, written))
