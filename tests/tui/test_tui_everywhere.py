"""What works everywhere: places, palette, help, theme, mouse, recruiting, jobs, events, leaving."""

import pytest
import world as worlds
from cockpits import looking
from fake_server import FakeServer, RefusalError, serving
from textual.widgets import Input

from pytq.schema.recruit import JobStatus
from pytq.tui.messages import ShowBatch, ShowJob, ShowTask, ShowTasks, ShowWorkers
from pytq.tui.screens.jobs import JobsPage
from pytq.tui.screens.recruit import RecruitPage
from pytq.tui.screens.tasks import TasksPage
from pytq.tui.widgets.filterbar import FilterBar
from pytq.tui.widgets.logpane import LogPane
from pytq.tui.widgets.table import Table

PLACES = ("overview", "batches", "workers", "tasks", "jobs", "events")


async def test_places_by_number(server: FakeServer) -> None:
    """Each place is one key away, also from inside another's pages."""
    async with looking(server) as person:
        for number, place in enumerate(PLACES, 1):
            await person.press(str(number))
            assert person.app.current_mode == place
        person.app.post_message(ShowTask(388))
        await person.sees("unable to mmap")
        await person.press("4")
        assert isinstance(person.screen, TasksPage)


async def test_help_comes_from_the_bindings(server: FakeServer) -> None:
    """Every key of a page that has a purpose is in its help."""
    async with looking(server, size=(120, 100)) as person:
        for number in "123456":
            await person.press(number)
            page = person.screen
            expected = {
                active.binding.tooltip
                for active in page.active_bindings.values()
                if active.binding.tooltip and not active.binding.system
            }
            await person.press("question_mark")
            await person.sees("Everywhere", "What the signs mean")
            for sentence in expected:
                assert sentence in person.text
            await person.press("escape")


async def test_every_binding_has_a_purpose(server: FakeServer) -> None:
    """No key of ours goes without an explanation."""
    async with looking(server) as person:
        for number in "123456":
            await person.press(number)
            for active in person.screen.active_bindings.values():
                ours = type(active.node).__module__.startswith("pytq.tui")
                inherited = active.binding.action.startswith(
                    ("scroll_", "page_", "app.", "screen.")
                )
                assert not ours or inherited or active.binding.tooltip, active.binding


async def test_palette_finds_places_keys_and_things(server: FakeServer) -> None:
    """Key : finds a worker by its name, a task by its number, and what a key does by its words."""
    async with looking(server) as person:
        await person.press("colon")
        await person.types("388")
        await person.sees("task 388")
        await person.press("down", "enter")
        assert (await person.hears(ShowTask)).task == 388
        await person.press("1", "colon")
        await person.types("worker vm-11")
        await person.sees("worker vm-11")
        await person.press("down", "enter")
        await person.sees("64%")
        await person.press("2", "colon")
        await person.types("all failed tasks again")
        await person.press("down", "enter")
        await person.sees("failed tasks of batch run7 again?")


async def test_themes(server: FakeServer) -> None:
    """Key T goes from dark to light and back, and everything is painted anew."""
    async with looking(server) as person:
        before = person.app.screen.styles.background
        await person.press("T")
        assert person.app.theme == "pytq-light"
        assert person.app.screen.styles.background != before
        await person.press("T")
        assert person.app.theme == "pytq-dark"


async def test_mouse(server: FakeServer) -> None:
    """A click goes to a place, a row, an order; a double click opens; the last line's keys work."""
    async with looking(server) as person:
        x = person.text.splitlines()[0].index("Workers")
        await person.pilot.click("#top", offset=(x, 0))
        assert person.app.current_mode == "workers"
        table = person.screen.query_one(Table)
        await person.pilot.click(Table, offset=(10, 5))
        assert table.key == "vm-05"
        await person.pilot.click(Table, offset=(75, 0))
        assert table.order is not None
        assert table.order.column != "name"
        table.action_first()
        await person.pilot.click(Table, offset=(10, 1), times=2)
        await person.sees("Under way")
        await person.press("3")
        x = person.text.splitlines()[-1].index("? all keys")
        await person.pilot.click("KeyBar", offset=(x, 0))
        await person.sees("Everywhere")


async def test_a_count_is_a_way_to_its_tasks(server: FakeServer) -> None:
    """A click on a number of the second line shows those tasks."""
    async with looking(server) as person:
        x = person.text.splitlines()[1].index("✗")
        await person.pilot.click("#counts", offset=(x + 2, 0))
        assert [s.value for s in (await person.hears(ShowTasks)).query.statuses] == ["failed"]
        await person.sees("status:failed")


async def test_overview_leads_on(server: FakeServer) -> None:
    """Enter on a batch shows its tasks; on an alert, what it is about."""
    async with looking(server) as person:
        await person.sees("Alerts: 9")
        await person.press("enter")
        assert (await person.hears(ShowTasks)).query.batch == "run7"
        await person.press("1")
        alerts = person.screen.query_one("#alerts", Table)
        alerts.focus()
        for place, kind in ((0, ShowBatch), (1, ShowWorkers), (8, ShowJob)):
            await person.press("1")
            alerts.focus()
            alerts.move_to(place)
            await person.press("enter")
            await person.hears(kind)


# --- recruiting


async def test_recruit_form_fills_itself(server: FakeServer) -> None:
    """The neediest batch, the first provider and a machine are there; ctrl+r is enough."""
    async with looking(server) as person:
        await person.press("r")
        await person.sees("ovh", "GRA11", "b3-32", "1 worker into qc-2026", "0.221 EUR an hour")
        await person.press("ctrl+r")
        [(_, wish)] = await server.until("recruit")
        assert wish.model_dump() == {
            "provider": "ovh",
            "region": "GRA11",
            "flavor": "b3-32",
            "count": 1,
            "batch": "qc-2026",
            "concurrency": None,
            "prefetch": 0,
        }
        await person.hears(ShowJob)
        await person.until(lambda: isinstance(person.screen, JobsPage))
        await person.sees("log of job 7", "recruit 1 of ovh/b3-32 into qc-2026")


async def test_recruit_as_wanted(server: FakeServer) -> None:
    """Provider, machine and numbers can be chosen; what they come to is said meanwhile."""
    async with looking(server) as person:
        await person.press("r")
        await person.sees("b3-32")
        page = person.screen
        page.query_one("#provider").value = "local"  # type: ignore[attr-defined]
        await person.sees("process")
        for field, value in (
            ("count", "3"),
            ("concurrency", "2"),
            ("prefetch", "1"),
            ("batch", "mine"),
        ):
            page.query_one(f"#{field}").value = value  # type: ignore[attr-defined]
        await person.sees("3 workers into mine", "48 CPUs", "6 tasks at once")
        page.query_one("#go").press()  # type: ignore[attr-defined]
        [(_, wish)] = await server.until("recruit")
        assert (wish.provider, wish.flavor, wish.count) == ("local", "process", 3)
        assert (wish.concurrency, wish.prefetch, wish.batch) == (2, 1, "mine")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("count", "0", "count: Input should be greater"),
        ("count", "99999", "count: Input should be less"),
        ("concurrency", "-", "concurrency: '-' is no whole number"),
        ("batch", "no way", "batch: String should match"),
    ],
)
async def test_a_wish_that_cannot_be(server: FakeServer, field: str, value: str, said: str) -> None:
    """The form names the field that is wrong, and sends nothing."""
    async with looking(server) as person:
        await person.press("r")
        await person.sees("b3-32")
        person.screen.query_one(f"#{field}").value = value  # type: ignore[attr-defined]
        await person.sees(said)
        await person.press("ctrl+r")
        assert not server.made("recruit")


async def test_recruiting_refused(server: FakeServer) -> None:
    """A provider's trouble and a refusal are told in the form, which stays."""
    server.refusals["recruit"] = RefusalError(409, "conflict", "the quota is used up")
    trouble = server.world.providers[0].model_copy(update={"trouble": "its password has expired"})
    server.world.providers[0] = trouble
    async with looking(server) as person:
        await person.press("r")
        await person.sees("process")
        person.screen.query_one("#provider").value = "ovh"  # type: ignore[attr-defined]
        await person.sees("its password has expired")
        await person.press("ctrl+r")
        await person.sees("the quota is used up")
        assert isinstance(person.screen, RecruitPage)


async def test_a_server_without_providers(server: FakeServer) -> None:
    """That nobody has machines is said."""
    server.world.providers.clear()
    async with looking(server) as person:
        await person.press("r")
        await person.sees("this server has no provider of machines")


# --- jobs


async def test_a_jobs_log_is_followed_to_its_end(server: FakeServer) -> None:
    """The log grows by itself, without repeating anything, until the job is over."""
    async with looking(server) as person:
        await person.press("5")
        person.screen.table.move_to_key(5)  # type: ignore[attr-defined]
        await person.sees("vm-26 answers ssh", "install docker] ok")
        server.world.logs[5] += "14:31:00 two workers are there\n"
        await person.sees("two workers are there")
        job = server.world.jobs[5].model_copy(
            update={"status": JobStatus.SUCCEEDED, "ended_at": worlds.NOW, "progress": 1.0}
        )
        server.world.jobs[5] = job
        await server.send(jobs=[job])
        await person.sees("log of job 5: 10 lines")
        pane = person.screen.query_one(LogPane)
        assert pane.raw.decode() == server.world.logs[5]
        asked = len(server.made("get_job_log"))
        person.app._tick()
        await person.pilot.pause(0.3)
        assert len(server.made("get_job_log")) <= asked + 1


async def test_cancel_a_job(server: FakeServer) -> None:
    """Key x asks and cancels; a job that is over cannot be cancelled."""
    async with looking(server) as person:
        await person.press("5")
        person.screen.table.move_to_key(5)  # type: ignore[attr-defined]
        await person.press("x")
        await person.sees("Cancel job 5: recruit 4 of ovh/b3-64 into run7?")
        await person.press("y")
        assert await person.done() == "job 5: cancelled"
        await person.until(lambda: person.app.store.jobs[5].status is JobStatus.CANCELLED)
        await person.press("x")
        await person.sees("that job is over")


# --- events


async def test_events(server: FakeServer) -> None:
    """The latest come first, a filter narrows them, Enter opens what one is about."""
    async with looking(server) as person:
        await person.press("6")
        await person.sees("offline", "silent for 30 s")
        await person.press("slash")
        await person.types("lost")
        await person.unsees("silent for 30 s")
        await person.press("enter", "enter")
        assert (await person.hears(ShowTask)).task == 381


# --- leaving


async def test_quit(server: FakeServer) -> None:
    """Key q quits at once where nothing was started with us."""
    async with looking(server) as person:
        await person.press("q")
        await person.until(lambda: person.app.return_value is not None)
        assert person.app.return_value == "quit"


@pytest.mark.parametrize(("key", "choice"), [("s", "stop"), ("l", "leave")])
async def test_leaving_asks(server: FakeServer, key: str, choice: str) -> None:
    """Where a server was started with us, q asks whether to leave it running."""
    async with looking(server, ask_leave=True) as person:
        await person.press("q")
        await person.sees("384 tasks active", "leave them running")
        await person.press("escape")
        await person.unsees("leave them running")
        await person.press("q")
        await person.sees("leave them running")
        await person.press(key)
        await person.until(lambda: person.app.return_value is not None)
        assert person.app.return_value == choice


# --- the first day


async def test_empty_screens_tell_what_to_do() -> None:
    """On the first day each screen says what to do next."""
    async with serving(worlds.empty()) as server, looking(server) as person:
        await person.sees("no batch yet", "pytq launch echo hello", "nothing to worry about")
        await person.sees("nothing has ended within the last hour", "no worker yet")
        await person.press("2")
        await person.sees("no batch yet")
        await person.press("3")
        await person.sees("no worker yet", "recruits one", "pytq worker SERVER 4")
        await person.press("4")
        await person.sees("no task yet", "pytq launch echo hello")
        await person.press("5")
        await person.sees("no job yet", "recruits workers")
        await person.press("6")
        await person.sees("nothing has happened yet")


async def test_the_first_key_of_a_page_is_the_tables(server: FakeServer) -> None:
    """A key that follows on the heels of another page is not typed into that page's filter."""
    async with looking(server) as person:
        await person.pilot.press("4", "slash", *"merge")
        await person.until(lambda: person.app.screen.query_one(FilterBar).text == "merge")
        assert isinstance(person.app.focused, Input)


async def test_long_lines_of_output_are_not_cut_unseen(server: FakeServer) -> None:
    """A line that is wider than its pane ends in a mark; `l` breaks it."""
    server.world.outputs[388, 3, "stderr"] = b"x" * 400 + b" the end\n"
    async with looking(server) as person:
        person.app.post_message(ShowTask(388))
        await person.sees("xxx…")
        await person.press("l")
        await person.sees("xxx the end")
