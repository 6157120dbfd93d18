"""What keeps a key from waiting: pages that are there already, and news that come second."""

import sys

from cockpits import looking
from fake_server import FakeServer
from rich.segment import Segment
from textual.strip import Strip

from pytq.tui import collecting
from pytq.tui.collecting import Collector


async def test_pages_are_there_before_somebody_goes_to_them(server: FakeServer) -> None:
    """Soon after the first screen every page is mounted, and the first one is still shown."""
    async with looking(server) as person:
        app = person.app
        await person.until(lambda: set(app._screen_stacks) >= set(app.MODES), "not all are there")
        assert app.current_mode == "overview"
        tasks = app._screen_stacks["tasks"][0]
        await person.press("4")
        assert person.screen is tasks
        await person.sees("merge 400")


async def test_a_page_that_was_left_shows_what_has_come(server: FakeServer) -> None:
    """What has come while another page was on top is there when one comes back."""
    async with looking(server) as person:
        await person.press("3")
        await person.sees("vm-05")
        await person.press("2")
        await person.unsees("vm-05")
        gone = server.world.workers.pop("vm-05")
        await server.send(gone_workers=[gone.name])
        await person.until(lambda: gone.name not in person.app.store.workers)
        await person.press("3")
        await person.sees("vm-06")
        await person.unsees("vm-05")


def test_a_line_that_stays_whole_does_not_keep_itself_alive() -> None:
    """A line divided nowhere is not kept in its own cache; else it is as Textual divides it."""
    line = Strip([Segment("abcd")])
    before = sys.getrefcount(line)
    assert collecting._divide(line, [4]) == [line]
    assert sys.getrefcount(line) == before
    assert [part.text for part in collecting._divide(line, [1, 4])] == ["a", "bcd"]


def test_a_key_is_on_its_way_for_a_moment() -> None:
    """News wait right after a key, a page is mounted ahead only when nobody types."""
    collector = Collector(0.0)
    collector.pressed(10.0)
    assert collector.lately(10.01)
    assert not collector.calm(10.1)
    assert not collector.lately(10.1)
    assert collector.calm(10.5)
