"""Keys and clicks that only look: through a log, to what a line is about, into a file."""

from pathlib import Path

import pytest
from cockpits import Looking, looking
from fake_server import FakeServer

from pytq.tui.messages import ShowJob, ShowTask, ShowWorker, ShowWorkers
from pytq.tui.screens.task import TaskPage
from pytq.tui.screens.worker import WorkerPage


async def test_moving_through_a_log(server: FakeServer) -> None:
    """Lines, pages and both ends are a key away; looking back stops following, the end goes on."""
    lines = b"".join(b"line %d\n" % number for number in range(1_000))
    server.world.outputs[388, 3, "stderr"] = lines
    async with looking(server) as person:
        person.app.post_message(ShowTask(388))
        await person.sees("line 999")
        assert isinstance(person.screen, TaskPage)
        pane = person.screen.shown_pane
        await person.press("up", "k")
        assert not pane.following
        await person.unsees("line 999")
        await person.press("down", "j")
        await person.sees("line 999")
        await person.press("pageup", "pageup")
        await person.unsees("line 980")
        await person.press("pagedown", "space")
        await person.sees("line 999")
        await person.press("g")
        await person.sees("line 0 ")
        await person.press("G")
        await person.sees("line 999")
        assert pane.following


async def test_a_job_leads_to_the_workers_of_its_batch(server: FakeServer) -> None:
    """Key w on a job shows the workers that it is about."""
    async with looking(server) as person:
        person.app.post_message(ShowJob(2))
        await person.sees("recruit 3 of ovh/c3-32 into assembly")
        await person.press("w")
        assert (await person.hears(ShowWorkers)).filter == "assembly"
        await person.sees("vm-21")


@pytest.mark.parametrize(("place", "holds"), [("2", "run7"), ("3", "vm-07"), ("6", "offline")])
async def test_tables_are_saved(
    server: FakeServer, place: str, holds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key E saves the table of the page as CSV where the cockpit was started."""
    monkeypatch.chdir(tmp_path)
    async with looking(server) as person:
        await person.press(place, "E")
        await person.until(lambda: any(holds in one.read_text() for one in tmp_path.glob("*.csv")))
        await person.sees("saved")


async def test_lines_of_the_overview_lead_on(server: FakeServer) -> None:
    """A click on a worker or a job of the overview opens it."""
    async with looking(server, size=(200, 50)) as person:
        await person.sees("recruit 4 of ovh")
        await click(person, "vm-13")
        assert (await person.hears(ShowWorker)).name == "vm-13"
        await person.until(lambda: isinstance(person.screen, WorkerPage))
        await person.press("1")
        await person.sees("recruit 4 of ovh")
        await click(person, "recruit 4 of ovh")
        assert (await person.hears(ShowJob)).job == 5


async def click(person: Looking, text: str) -> None:
    """Click on the first place where the screen shows a text."""
    lines = person.text.splitlines()
    y = next(number for number, one in enumerate(lines) if text in one)
    await person.pilot.click(offset=(lines[y].index(text) + 1, y))


async def test_arrows_choose_a_button(server: FakeServer) -> None:
    """Left and right go between no and yes; Enter takes the one that stands out."""
    async with looking(server) as person:
        await person.press("2", "t")
        await person.sees("failed tasks of batch run7 again?")
        await person.press("right", "enter")
        await person.done()
        assert server.made("retry_batch")
