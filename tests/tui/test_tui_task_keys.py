"""Tasks: finding them among many, and every key on one or several."""

import pytest
import world as worlds
from cockpits import Looking, among, looking
from fake_server import FakeServer, RefusalError

from pytq.schema.states import Signal, TaskStatus
from pytq.tui.messages import Done, Refused
from pytq.tui.screens.asking import Confirm
from pytq.tui.screens.editing import Edit


async def test_failed_ones_with_one_key(server: FakeServer) -> None:
    """Key f shows the failed tasks and why; f again shows all."""
    async with looking(server) as person:
        await among(person)
        await person.press("f")
        await person.sees("status:failed", "kraken2: database")
        await person.unsees("merge 400")
        await person.press("f")
        await person.sees("merge 400")


async def test_a_typed_filter(server: FakeServer) -> None:
    """Words and key:value pairs are looked for while they are typed; nonsense is said to be."""
    async with looking(server) as person:
        page = await among(person)
        await person.press("slash")
        await person.types("status:fail srr891259")
        await person.until(lambda: page.query_.text == "srr891259")
        await person.sees("359")
        assert page.query_.statuses == (TaskStatus.FAILED,)
        await person.types(" worker:nobody")
        await person.sees("no task fits the filter", "esc clears")
        await person.press("escape")
        await person.sees("merge 400")
        await person.press("slash")
        await person.types("status:banana")
        await person.sees("none of waiting")


async def test_tabs_of_statuses(server: FakeServer) -> None:
    """Left and right walk through the statuses."""
    async with looking(server) as person:
        page = await among(person)
        await person.press("right", "right", "right")
        assert page.query_.statuses == (TaskStatus.ACTIVE,)
        await person.sees("► running", "↓ downloading")
        await person.press("left")
        assert page.query_.statuses == (TaskStatus.PENDING,)


async def test_orders(server: FakeServer) -> None:
    """Key o walks through the orders and O turns them round; the server is asked accordingly."""
    server.world.tasks[5] = worlds.task(5, TaskStatus.PENDING, priority=9, name="urgent")
    async with looking(server) as person:
        await among(person)
        await person.press("o")
        await person.sees("changed last")
        await person.press("o")
        await person.sees("most urgent first")
        await person.until(lambda: person.screen.table.key == 5)  # type: ignore[attr-defined]
        await person.press("O")
        await person.sees("least urgent first", "urgent")
        await person.until(lambda: person.screen.table.key == 400)  # type: ignore[attr-defined]


async def test_home_and_end(server: FakeServer) -> None:
    """The ends of the list are one key away, whatever was fetched before."""
    async with looking(server) as person:
        page = await among(person)
        await person.press("end")
        await person.until(lambda: page.table.key == 1)
        await person.press("home")
        await person.until(lambda: page.table.key == 400)
        for _ in range(3):
            await person.press("pagedown")
        await person.until(lambda: page.table.key is not None and int(page.table.key) < 330)


async def test_what_is_in_sight_is_watched(server: FakeServer) -> None:
    """Visible tasks are watched, and a change of one shows without asking for the list again."""
    async with looking(server) as person:
        page = await among(person)
        await person.until(lambda: 400 in server.watched)
        first, last = page.table.in_sight
        assert len(server.watched) == last - first
        asked = len(server.made("list_tasks"))
        view = server.world.tasks[398].model_copy(
            update={"status": TaskStatus.CANCELLED, "changed_at": worlds.NOW}
        )
        server.world.tasks[398] = view
        await server.send(watched=server.seen(398))
        await person.sees("⊘ cancelled")
        assert len(server.made("list_tasks")) == asked


async def test_new_tasks_come_by_themselves(server: FakeServer) -> None:
    """When the counts change, what is visible is fetched anew; the cursor stays on its task."""
    async with looking(server) as person:
        page = await among(person)
        await person.press("down", "down")
        assert page.table.key == 398
        for number in range(401, 411):
            server.world.tasks[number] = worlds.task(
                number, TaskStatus.PENDING, name=f"new {number}"
            )
        batch = server.world.batches["run7"]
        counts = batch.counts.model_copy(update={"pending": batch.counts.pending + 10})
        server.world.batches["run7"] = batch.model_copy(update={"counts": counts})
        await server.send(batches=[server.world.batches["run7"]])
        await person.until(lambda: page.lister.window.row(0).id == 410)  # type: ignore[union-attr]
        assert page.table.key == 398


@pytest.mark.parametrize(
    ("key", "question", "endpoint"),
    [("x", "Cancel task 388?", "cancel_task"), ("d", "Delete task 388?", "delete_task")],
)
async def test_acts_on_one(server: FakeServer, key: str, question: str, endpoint: str) -> None:
    """What cannot be taken back asks first."""
    async with looking(server) as person:
        await among(person)
        await person.press("f")
        await person.sees("388")
        await person.press(key)
        await person.sees(question)
        await person.press("escape")
        assert not server.made(endpoint)
        await person.press(key, "y")
        await person.done()
        assert server.made(endpoint)[0][0] == {"task": "388"}


async def test_try_again(server: FakeServer) -> None:
    """Key t runs a failed task again at once, and the row shows it."""
    async with looking(server) as person:
        await among(person)
        await person.press("f")
        await person.sees("388")
        await person.press("t")
        assert await person.done() == "task 388: to run again"
        await person.sees("○ pending")


async def test_several_at_once(server: FakeServer) -> None:
    """Marked tasks are acted on together; deleting them takes their number typed."""
    async with looking(server) as person:
        page = await among(person)
        await person.press("f")
        await person.sees("388")
        await person.press("space", "space", "space", "t")
        await person.sees("Run 3 tasks again?")
        await person.press("y")
        assert await person.done() == "3 tasks: to run again"
        assert len(server.made("retry_task")) == 3
        await person.press("escape", "a")
        assert len(page.table.marks) > 10
        await person.press("d")
        await person.sees(f"Delete {len(page.table.marks)} tasks?")
        await person.types(str(len(page.table.marks)))
        await person.press("enter")
        await person.hears(Done, 2)
        assert not page.table.marks


async def test_some_refused(server: FakeServer) -> None:
    """Of several, those that cannot be done are counted and one reason is told."""
    async with looking(server) as person:
        page = await among(person)
        await person.press("f")
        await person.sees("388")
        page.table.marks = {388, 399}
        await person.press("t", "y")
        refused = await person.hears(Refused)
        assert refused.sentence == "1 done, 1 refused: task 399 has not ended"


async def test_why(server: FakeServer) -> None:
    """Key w tells why a task is not running, worker by worker."""
    async with looking(server) as person:
        await among(person)
        await person.press("w")
        await person.sees("Why is task 400 not running?", "3,201 tasks", "vm-15  it is draining")
        await person.press("escape")
        await person.unsees("vm-15  it is draining")


async def test_signal(server: FakeServer) -> None:
    """Key s sends a signal to the latest execution."""
    async with looking(server) as person:
        await among(person)
        await person.press("right", "right", "right")
        await person.sees("320")
        await person.press("s", "k")
        assert await person.done() == "task 320: killed"
        [(place, body)] = server.made("signal_execution")
        assert (place, body.signal) == ({"task": "320", "attempt": "1"}, Signal.KILL)


# --- editing


async def editing(person: Looking) -> Edit:
    await among(person)
    await person.press("f")
    await person.sees("388")
    await person.press("e")
    await person.until(lambda: isinstance(person.screen, Edit))
    await person.sees("Change task 388")
    assert isinstance(person.screen, Edit)
    return person.screen


async def test_edit_and_requeue(server: FakeServer) -> None:
    """The command is changed, the task runs again, and only what changed is sent."""
    async with looking(server) as person:
        screen = await editing(person)
        area = screen.query_one("#command")
        area.text = "pipeline.sh -v 'two words'"  # type: ignore[attr-defined]
        await person.press("ctrl+r")
        assert await person.done() == "task 388: changed, to run again"
        [(_, change)] = server.made("update_task")
        assert change.model_dump(exclude_unset=True) == {
            "command": ["pipeline.sh", "-v", "two words"]
        }
        assert server.made("retry_task")[0][0] == {"task": "388"}


async def test_edit_without_running_can_be_undone(server: FakeServer) -> None:
    """Saving alone does not run it; u puts back what it was."""
    async with looking(server) as person:
        screen = await editing(person)
        screen.query_one("#priority").value = "7"  # type: ignore[attr-defined]
        await person.press("ctrl+s")
        assert await person.done() == "task 388: changed"
        await person.press("u")
        await person.done(2)
        sent = [change.model_dump(exclude_unset=True) for _, change in server.made("update_task")]
        assert sent == [{"priority": 7}, {"priority": 0}]
        assert not server.made("retry_task")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("command", "echo 'open", "command: no closing quotation"),
        ("command", "  ", "command: there is nothing to run"),
        ("retries", "many", "retries: 'many' is no whole number"),
        ("retries", "1000", "retries: Input should be less than"),
        ("batch", "no way", "batch: String should match"),
    ],
)
async def test_an_edit_that_cannot_be(
    server: FakeServer, field: str, value: str, said: str
) -> None:
    """The form names the field and what is wrong with it, and sends nothing."""
    async with looking(server) as person:
        screen = await editing(person)
        widget = screen.query_one(f"#{field}")
        setattr(widget, "text" if field == "command" else "value", value)
        await person.press("ctrl+s")
        await person.sees(said)
        assert not server.made("update_task")


async def test_an_active_task_is_not_edited(server: FakeServer) -> None:
    """It is said what to do first."""
    async with looking(server) as person:
        await among(person)
        await person.press("right", "right", "right")
        await person.sees("320")
        await person.press("e")
        await person.sees("it is with a worker now; x cancels it first")
        assert not isinstance(person.screen, (Edit, Confirm))


async def test_a_list_that_cannot_be_had(server: FakeServer) -> None:
    """When the server refuses the list, its reason stands where the rows would."""
    server.refusals["list_tasks"] = RefusalError(
        503, "busy", "the database cannot be reached just now"
    )
    async with looking(server) as person:
        await person.press("4")
        await person.sees("the database cannot be reached")
