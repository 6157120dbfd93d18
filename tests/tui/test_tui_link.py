"""The connection: it says how it is, keeps what it showed, and comes back by itself."""

import socket

import world as worlds
from cockpits import looking
from fake_server import FakeServer, serving

from pytq.schema.views import Counts
from pytq.tui.messages import LinkChanged, Refused


async def test_shows_what_the_server_tells(server: FakeServer) -> None:
    """The first frame fills the overview: counts, batches, workers, alerts."""
    async with looking(server) as person:
        await person.sees("● live", "16,045 pending", "run7", "23 online", "vm-07 offline")


async def test_changes_show_at_once(server: FakeServer) -> None:
    """A change in the stream is on the screen without any request."""
    async with looking(server) as person:
        await person.sees("run7")
        asked = len(server.calls)
        batch = worlds.batch("fresh", pending=7, workers=1)
        server.world.batches["fresh"] = batch
        await server.send(batches=[batch])
        await person.sees("fresh", "16,052 pending")
        assert len(server.calls) == asked


async def test_a_lost_server_is_said_and_comes_back() -> None:
    """While the server is away the banner says so, what was shown stays; then it goes on."""
    world = worlds.make()
    async with serving(world) as first:
        port = first.http.port  # type: ignore[union-attr]
        async with looking(first) as person:
            await person.sees("run7")
            await first.close()
            await person.sees("server away for", "showing what was", "run7", "✗ away")

            world.batches["run7"] = world.batches["run7"].model_copy(
                update={"counts": Counts(pending=1)}
            )
            async with serving(world, port=port):
                await person.sees("● live")
                await person.unsees("server away")
                await person.unsees("14,137")
            assert len(person.heard(LinkChanged)) >= 3


async def test_an_act_while_the_server_is_away() -> None:
    """A key that cannot reach the server says in a few words that nothing was changed."""
    async with serving(worlds.make()) as server, looking(server) as person:
        await person.press("3")
        await person.sees("vm-01")
        await server.close()
        await person.sees("server away for")
        await person.press("plus")
        refused = await person.hears(Refused)
        assert refused.sentence == "the server is away; nothing was changed"


async def test_no_server_at_all() -> None:
    """A server that has never been there is named, with why, and every key still answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with looking(f"127.0.0.1:{port}", live=False) as person:
        await person.sees(f"no server at 127.0.0.1:{port} yet", "connection refused")
        for key in "123456":
            await person.press(key)
        await person.press("question_mark")
        await person.sees("Everywhere")


async def test_a_stream_that_makes_no_sense_is_left(server: FakeServer) -> None:
    """Something that is no frame ends the connection with a reason, and a new one is made."""
    async with looking(server) as person:
        for socket_ in list(server.sockets):
            await socket_.send_str('{"type": "banana"}')
        await person.until(lambda: len(person.heard(LinkChanged)) >= 3)
        await person.sees("● live", "run7")
