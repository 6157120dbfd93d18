"""One task: its tries, its output while it comes, its files; and taking things away."""

import csv
from pathlib import Path

import pytest
import world as worlds
from cockpits import Looking, among, looking
from fake_server import FakeServer

from pytq.schema.states import Cause
from pytq.schema.views import Reason
from pytq.tui.messages import ShowTask
from pytq.tui.screens.task import TaskPage


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
        offsets = [
            query.offset
            for place, query in server.made("get_output")
            if place["stream"] == "stdout"
        ]
        assert len(worlds.STDOUT) in offsets


async def test_an_earlier_try(server: FakeServer) -> None:
    """Keys [ and ] choose whose output is shown."""
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
    """Key / finds, n goes on, f stops following, l wraps, z zooms, Escape takes back."""
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


async def test_copy_save_export(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key y copies the command, S saves the log as it came, E the table as CSV."""
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
