"""Every key on batches, by what the server is asked and what the person is told."""

import pytest
from cockpits import Looking, looking
from fake_server import FakeServer, RefusalError

from pytq.schema.states import Signal
from pytq.tui.messages import Refused, ShowTask, ShowTasks, ShowWorkers
from pytq.tui.screens.asking import Confirm
from pytq.tui.screens.recruit import RecruitPage


async def on(person: Looking, name: str) -> None:
    """Put the cursor on a batch."""
    await person.press("2")
    await person.sees("TIME LEFT")
    person.screen.table.move_to_key(name)  # type: ignore[attr-defined]
    await person.sees(f"batch {name}")


async def test_pause_go_and_undo(server: FakeServer) -> None:
    """Key p pauses at once and says so; u undoes it; p again lets go on."""
    async with looking(server) as person:
        await on(person, "run7")
        await person.press("p")
        assert await person.done() == "batch run7: paused; what runs goes on"
        await person.sees("u undoes it", "‖ paused")
        await person.press("u")
        assert await person.done(2) == "batch run7: going"
        asked = [body.paused for _, body in server.made("update_batch")]
        assert asked == [True, False]
        assert not server.made("signal_batch")


async def test_pause_with_what_runs(server: FakeServer) -> None:
    """Key P also stops running tasks where they are, and lets them go on."""
    async with looking(server) as person:
        await on(person, "run7")
        await person.press("P")
        assert "what runs is stopped" in await person.done()
        await person.sees("‖ paused")
        await person.press("P")
        await person.done(2)
        assert [body.signal for _, body in server.made("signal_batch")] == [
            Signal.PAUSE,
            Signal.RESUME,
        ]


@pytest.mark.parametrize(
    ("key", "question", "endpoint", "said"),
    [
        (
            "t",
            "Run 2,954 failed tasks of batch run7 again?",
            "retry_batch",
            "2,954 tasks to run again",
        ),
        ("x", "Cancel 16,567 open tasks of batch run7?", "cancel_batch", "16,567 tasks cancelled"),
        ("X", "Kill 320 active tasks of batch run7?", "signal_batch", "320 tasks killed"),
    ],
)
async def test_acts_that_ask_first(
    server: FakeServer, key: str, question: str, endpoint: str, said: str
) -> None:
    """The question says how many it touches; no and Escape do nothing, yes does it."""
    async with looking(server) as person:
        await on(person, "run7")
        for way_out in ("n", "escape", "enter"):
            await person.press(key)
            await person.sees(question)
            await person.press(way_out)
            await person.unsees(question)
        assert not server.made(endpoint)
        await person.press(key)
        await person.sees(question)
        await person.press("y")
        assert said in await person.done()
        assert server.made(endpoint)[0][0] == {"name": "run7"}


@pytest.mark.parametrize(
    ("letter", "signal"), [("p", Signal.PAUSE), ("r", Signal.RESUME), ("t", Signal.TERM)]
)
async def test_signals(server: FakeServer, letter: str, signal: Signal) -> None:
    """Key s offers the signals; one that ends tasks asks once more."""
    async with looking(server) as person:
        await on(person, "run7")
        await person.press("s")
        await person.sees("Send which signal to 320 active tasks?")
        await person.press(letter)
        if signal is Signal.TERM:
            await person.sees("End 320 active tasks of batch run7?")
            await person.press("y")
        await person.done()
        assert [body.signal for _, body in server.made("signal_batch")] == [signal]


async def test_delete_wants_the_name(server: FakeServer) -> None:
    """Deleting a batch takes its name typed; where tasks run it is not even asked."""
    async with looking(server) as person:
        await on(person, "run7")
        await person.press("d")
        await person.sees("320 tasks run there")
        assert not isinstance(person.screen, Confirm)

        await on(person, "housekeeping")
        await person.press("d")
        await person.sees("Delete batch housekeeping with 515 tasks?", "cannot be undone")
        await person.types("housek")
        await person.press("enter")
        assert not server.made("delete_batch")
        await person.types("eeping")
        await person.press("enter")
        assert await person.done() == "batch housekeeping: 515 tasks deleted"
        await person.unsees("housekeeping   ")


async def test_several_at_once(server: FakeServer) -> None:
    """Marked batches are acted on together, and the question counts all of them."""
    async with looking(server) as person:
        await on(person, "run7")
        await person.press("space")
        person.screen.table.move_to_key("assembly")  # type: ignore[attr-defined]
        await person.press("space", "t")
        await person.sees("Run 2,960 failed tasks of batches assembly and run7 again?")
        await person.press("y")
        await person.done()
        assert {place["name"] for place, _ in server.made("retry_batch")} == {"run7", "assembly"}
        await person.press("escape")
        assert not person.screen.table.marks  # type: ignore[attr-defined]


async def test_failures_by_reason(server: FakeServer) -> None:
    """Below the table stands why tasks failed, asked once; a click leads to an example."""
    async with looking(server) as person:
        await on(person, "run7")
        await person.sees("exit 3", "kraken2: database", "oom", "as task 388")
        assert len(server.made("list_failures")) == 1
        await person.screen.run_action("show_task(388)")
        assert (await person.hears(ShowTask)).task == 388


async def test_ways_on(server: FakeServer) -> None:
    """Enter shows the batch's tasks, w its workers, r recruits for it."""
    async with looking(server) as person:
        await on(person, "assembly")
        await person.press("enter")
        assert (await person.hears(ShowTasks)).query.batch == "assembly"
        await person.sees("batch:assembly")
        await on(person, "assembly")
        await person.press("w")
        assert (await person.hears(ShowWorkers)).filter == "assembly"
        await person.sees("vm-21")
        await on(person, "qc-2026")
        await person.press("r")
        await person.until(lambda: isinstance(person.screen, RecruitPage))
        await person.sees("into qc-2026")


async def test_a_refusal_is_told_with_its_reason(server: FakeServer) -> None:
    """What the server refuses is said in its own words, and nothing else changes."""
    server.refusals["update_batch"] = RefusalError(409, "conflict", "the moon is in the way")
    async with looking(server) as person:
        await on(person, "run7")
        await person.press("p")
        refused = await person.hears(Refused)
        assert refused.sentence == "the moon is in the way"
        await person.sees("could not pause batch run7")
        await person.press("u")
        await person.sees("nothing to undo")


async def test_filter_and_order(server: FakeServer) -> None:
    """Typing narrows the table as one types; a click on a title orders it."""
    async with looking(server) as person:
        await on(person, "run7")
        await person.press("slash")
        await person.types("paused")
        await person.unsees("► going")
        await person.press("enter", "escape")
        await person.sees("► going")
        table = person.screen.table  # type: ignore[attr-defined]
        await person.press("o")
        assert table.order.column == "succeeded"
        rows = [table.rows.row(i).key for i in range(table.rows.total)]
        assert rows[0] == "run7"
        await person.press("O")
        rows.reverse()
        assert [table.rows.row(i).key for i in range(table.rows.total)] == rows
