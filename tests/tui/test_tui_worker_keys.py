"""Every key on workers: knobs from pressed to obeyed, and the acts beside them."""

import pytest
import world as worlds
from cockpits import Looking, looking
from fake_server import FakeServer

from pytq.tui.messages import Done, ShowTask, ShowTasks
from pytq.tui.screens.asking import Confirm


async def on(person: Looking, name: str) -> None:
    """Put the cursor on a worker."""
    await person.press("3")
    await person.sees("IOWT")
    person.screen.table.move_to_key(name)  # type: ignore[attr-defined]
    await person.sees(f"worker {name}")


def asked(server: FakeServer) -> list[tuple[str, dict[str, object]]]:
    return [
        (place["name"], body.model_dump(exclude_unset=True))
        for place, body in server.made("update_worker")
    ]


async def test_concurrency_from_key_to_effect(server: FakeServer) -> None:
    """Pluses gather into one request; wanted, acknowledged, effective are each to be seen."""
    server.applies = False
    async with looking(server) as person:
        await on(person, "vm-01")
        server.delay = 0.5
        await person.press("plus", "plus", "equals_sign", "minus")
        await person.sees("18…", "►·· wanted")
        await person.sees("18→", "✓►· acknowledged")
        assert asked(server) == [("vm-01", {"concurrency": 18})]
        assert await person.done() == "vm-01: concurrency 18"
        worker = server.world.workers["vm-01"]
        worker = worker.model_copy(update={"applied": worker.settings.version})
        await server.send(workers=[worker])
        await person.sees("✓✓✓ effective")


async def test_prefetch_and_undo(server: FakeServer) -> None:
    """Keys > and < turn the prefetch; u puts back what it was."""
    async with looking(server) as person:
        await on(person, "vm-02")
        await person.press("greater_than_sign", "greater_than_sign", "less_than_sign")
        await person.done()
        await person.press("u")
        await person.done(2)
        assert asked(server) == [("vm-02", {"prefetch": 2}), ("vm-02", {"prefetch": 1})]


@pytest.mark.parametrize(("key", "knob"), [("p", "paused"), ("D", "draining")])
async def test_switches(server: FakeServer, key: str, knob: str) -> None:
    """Key p pauses and D drains; the same key takes it back."""
    async with looking(server) as person:
        await on(person, "vm-04")
        await person.press(key)
        await person.done()
        await person.press(key)
        await person.done(2)
        assert asked(server) == [("vm-04", {knob: True}), ("vm-04", {knob: False})]


async def test_several_workers_at_once(server: FakeServer) -> None:
    """Space marks; a knob then turns on all that are marked, each from where it stands."""
    async with looking(server) as person:
        await on(person, "vm-17")
        await person.press("space", "space", "plus")
        await person.done(2)
        assert sorted(asked(server)) == [
            ("vm-17", {"concurrency": 17}),
            ("vm-18", {"concurrency": 21}),
        ]
        await person.press("escape", "a", "p")
        await person.hears(Done, 26)
        assert len(asked(server)) == 26


async def test_move_to_another_batch(server: FakeServer) -> None:
    """Key b asks where to; a name that cannot be is not taken."""
    async with looking(server) as person:
        await on(person, "vm-24")
        await person.press("b")
        await person.sees("Move worker vm-24 to which batch?", "assembly, default")
        await person.press("end", *["backspace"] * 10)
        await person.types("no way")
        await person.press("enter")
        await person.sees("letters, digits")
        await person.press(*["backspace"] * 6)
        await person.types("qc-2026")
        await person.press("enter")
        await person.done()
        assert asked(server) == [("vm-24", {"batch": "qc-2026"})]


@pytest.mark.parametrize(
    ("letter", "what"),
    [
        ("r", ["resources"]),
        ("i", ["images"]),
        ("f", ["failed"]),
        ("a", ["resources", "images", "failed"]),
    ],
)
async def test_clean(server: FakeServer, letter: str, what: list[str]) -> None:
    """Key c offers what to throw away."""
    async with looking(server) as person:
        await on(person, "vm-01")
        await person.press("c")
        await person.sees("What shall worker vm-01 throw away?")
        await person.press(letter)
        await person.done()
        assert server.made("clean_worker")[0][1].what == what


async def test_forget_only_what_is_offline(server: FakeServer) -> None:
    """Key f forgets a worker that is offline, and says what becomes of what it held."""
    async with looking(server) as person:
        await on(person, "vm-01")
        await person.press("f")
        await person.sees("only an offline worker can be forgotten")
        person.screen.table.move_to_key("vm-07")  # type: ignore[attr-defined]
        await person.press("f")
        await person.sees("Forget worker vm-07?", "17 tasks it still holds will be handed on")
        await person.press("y")
        await person.done()
        [(place, query)] = server.made("delete_worker")
        assert (place["name"], query.force) == ("vm-07", True)
        await person.until(lambda: "vm-07" not in person.app.store.workers)


async def test_release(server: FakeServer) -> None:
    """Key d drains workers and gives their machines back, as jobs."""
    async with looking(server) as person:
        await on(person, "vm-01")
        await person.press("d")
        await person.sees("End worker vm-01", "16 running tasks will end first")
        await person.press("y")
        await person.done()
        assert server.made("release_worker")[0][0] == {"name": "vm-01"}


async def test_one_worker(server: FakeServer) -> None:
    """Enter shows everything of a worker; its knobs work there, its tasks are one key away."""
    async with looking(server) as person:
        await on(person, "vm-03")
        await person.press("enter")
        await person.sees("Under way: 3", "Kept: 3, 67 GiB", "pinned", "3.1G/400G")
        await person.press("plus")
        await person.done()
        assert asked(server) == [("vm-03", {"concurrency": 17})]
        await person.press("P")
        await person.done(2)
        assert server.made("pin_resource")[0][1].pinned is False
        await person.press("enter")
        assert (await person.hears(ShowTask)).task == 314
        await person.sees("task 314")
        await person.press("escape", "l")
        assert (await person.hears(ShowTasks)).query.worker == "vm-03"


async def test_no_worker_tells_how_to_get_one(server: FakeServer) -> None:
    """An empty table names the batch and the key that recruits."""
    async with looking(server) as person:
        await on(person, "vm-01")
        await person.press("slash")
        await person.types("qc-2026")
        await person.press("enter")
        await person.sees("no worker in batch qc-2026", "r recruits one")


async def test_a_worker_that_goes_away_leaves_the_page_standing(server: FakeServer) -> None:
    """A worker that is forgotten while it is looked at is said to be gone."""
    async with looking(server) as person:
        await on(person, "vm-05")
        await person.press("enter")
        await person.sees("worker vm-05")
        await server.send(gone_workers=["vm-05"])
        await person.sees("worker vm-05 is gone")
        await person.press("plus", "escape")
        assert not isinstance(person.screen, Confirm)
        assert asked(server) == []


async def test_names_and_hosts_cannot_play_tricks(server: FakeServer) -> None:
    """Markup in what workers say of themselves is shown as it is."""
    sly = worlds.worker(99, "sly", hostname="[bold red]x[/] [@click=app.quit]q[/]")
    server.world.workers["sly"] = sly
    async with looking(server) as person:
        await on(person, "sly")
        await person.sees("[bold red]x[/] [@click=app")
