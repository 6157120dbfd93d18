"""Tasks: finding them among many, and every key on one or several."""

import csv
from pathlib import Path

import pytest
import world as worlds
from cockpits import Looking, looking
from fake_server import FakeServer, Refusal

from pytq.schema.states import Cause, Signal, TaskStatus
from pytq.schema.views import Reason
from pytq.tui.messages import Done, Refused, ShowTask
from pytq.tui.screens.asking import Confirm
from pytq.tui.screens.editing import Edit
from pytq.tui.screens.task import TaskPage
from pytq.tui.screens.tasks import TasksPage


async def among(person: Looking) -> TasksPage:
    """Go to the tasks."""
    await person.press("4")
    await person.sees("NAME AND COMMAND", "merge 400")
    assert isinstance(person.screen, TasksPage)
    return person.screen


async def test_failed_ones_with_one_key(server: FakeServer) -> None:
    """f shows the failed tasks and why; f again shows all."""
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
    """o walks through the orders and O turns them round; the server is asked accordingly."""
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
            server.world.tasks[number] = worlds.task(number, TaskStatus.PENDING, name=f"new {number}")
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
    """t runs a failed task again at once, and the row shows it."""
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
    """w tells why a task is not running, worker by worker."""
    async with looking(server) as person:
        await among(person)
        await person.press("w")
        await person.sees("Why is task 400 not running?", "3,201 tasks", "vm-15  it is draining")
        await person.press("escape")
        await person.unsees("vm-15  it is draining")


async def test_signal(server: FakeServer) -> None:
    """s sends a signal to the latest execution."""
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
async def test_an_edit_that_cannot_be(server: FakeServer, field: str, value: str, said: str) -> None:
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


# --- one task


async def opened(person: Looking, task: int) -> TaskPage:
    person.app.post_message(ShowTask(task))
    await person.until(lambda: isinstance(person.screen, TaskPage))
    assert isinstance(person.screen, TaskPage)
    return person.screen


async def test_a_failed_task_shows_its_stderr(server: FakeServer) -> None:
    """Enter on a failed task: its reason, its tries, and stderr with the keys on it."""
    async with looking(server) as person:
        await among(person)
        await person.press("f", "enter")
        await person.sees("task 388", "✗ failed, exit 3", "? lost", "3 executions")
        await person.sees("unable to mmap", "kraken2 failed with [code 3]", "classified")
        assert person.app.focused is not None
        assert person.app.focused.id == "stderr"


async def test_output_comes_while_the_task_runs(server: FakeServer) -> None:
    """What a task writes appears by itself, and is fetched from where we are."""
    async with looking(server) as person:
        await opened(person, 317)
        await person.sees("[08:40] classified")
        more = b"one more line\n"
        server.world.outputs[317, 1, "stdout"] += more
        one = server.world.executions[317, 1]
        one = one.model_copy(update={"stdout_bytes": one.stdout_bytes + len(more)})
        server.world.executions[317, 1] = one
        await server.send(watched=server.seen(317))
        await person.sees("one more line")
        offsets = [query.offset for place, query in server.made("get_output") if place["stream"] == "stdout"]
        assert len(worlds.STDOUT) in offsets


async def test_an_earlier_try(server: FakeServer) -> None:
    """[ and ] choose whose output is shown."""
    server.world.outputs[388, 2, "stderr"] = b"what the second try said\n"
    one = server.world.executions[388, 2]
    server.world.executions[388, 2] = one.model_copy(update={"stderr_bytes": 25})
    async with looking(server) as person:
        page = await opened(person, 388)
        await person.sees("unable to mmap")
        await person.press("left_square_bracket")
        await person.sees("what the second try said")
        assert page.attempt == 2
        await person.press("right_square_bracket")
        await person.sees("unable to mmap")


async def test_search_follow_wrap_zoom(server: FakeServer) -> None:
    """/ finds, n goes on, f stops following, l wraps, z zooms, Escape takes back."""
    async with looking(server) as person:
        page = await opened(person, 388)
        await person.sees("unable to mmap")
        pane = page.shown_pane
        await person.press("slash")
        await person.types("KRAKEN2")
        await person.press("enter")
        await person.sees("2 of 2 × KRAKEN2")  # noqa: RUF001 - times
        assert not pane.following
        await person.press("n")
        await person.sees("1 of 2")
        await person.press("f")
        assert pane.following
        await person.press("l")
        assert pane.wrapping
        await person.press("z")
        assert not page.query_one("#facts").display
        await person.sees("tab: stdout, 27 lines")
        await person.press("z", "escape")
        assert not pane.sought
        await person.press("tab")
        assert page.shown_pane.id == "stdout"
        await person.press("escape")
        assert not isinstance(person.screen, TaskPage)


async def test_staging_file_by_file(server: FakeServer) -> None:
    """A task that is being staged in shows how far each of its files is."""
    async with looking(server) as person:
        await opened(person, 315)
        await person.sees("↓ downloading", "57 s left", "_1.fastq.gz", "82%", "1 file to come")


async def test_a_requirement_is_one_key_away(server: FakeServer) -> None:
    """R opens what a waiting task waits for."""
    async with looking(server) as person:
        await opened(person, 399)
        await person.sees("after", "299")
        await person.press("R")
        await person.sees("task 299")


async def test_a_task_that_is_gone(server: FakeServer) -> None:
    """A number that no task has is said to be none."""
    async with looking(server) as person:
        await opened(person, 4_000)
        await person.sees("no task 4000")


async def test_hostile_names_and_output(server: FakeServer) -> None:
    """Markup and terminal commands in names, commands and output are shown harmlessly."""
    nasty = b"\x1b]52;c;cm0gLXJm\x07\x1b[2J[bold]loud[/] [@click=app.quit]x[/]\x9b31m\nend\n"
    view = server.world.tasks[388]
    server.world.tasks[388] = view.model_copy(
        update={
            "name": "[red]name[/]",
            "reason": Reason(cause=Cause.EXIT, detail="\x1b[2J[boo]"),
        }
    )
    server.world.outputs[388, 3, "stderr"] = nasty
    async with looking(server) as person:
        page = await opened(person, 388)
        await person.sees("[red]name[/]", "[boo]", "[bold]loud[/] [@click=app.quit]x[/]", "end")
        strips = page._compositor.render_strips()
        assert not any("\x1b" in strip.text or "\x9b" in strip.text for strip in strips)


# --- taking away


async def test_copy_save_export(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """y copies the command, S saves the log as it came, E the table as CSV."""
    monkeypatch.chdir(tmp_path)
    async with looking(server) as person:
        await among(person)
        await person.press("f")
        await person.sees("388")
        await person.press("y")
        assert person.app.clipboard == "pipeline.sh -e -c /input SRR891288"
        await person.press("E")
        await person.sees("saved")
        with (tmp_path / "tasks.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows][:2] == ["388", "359"]
        assert rows[0]["status"] == "✗ failed"
        await opened(person, 388)
        await person.sees("unable to mmap")
        await person.press("S")
        await person.until((tmp_path / "task-388.3.stderr").exists)
        saved = (tmp_path / "task-388.3.stderr").read_bytes()
        assert saved == worlds.STDERR


async def test_a_list_that_cannot_be_had(server: FakeServer) -> None:
    """When the server refuses the list, its reason stands where the rows would."""
    server.refusals["list_tasks"] = Refusal(503, "busy", "the database cannot be reached just now")
    async with looking(server) as person:
        await person.press("4")
        await person.sees("the database cannot be reached just now")
