"""Wiring: settings, database, dispatcher, API and link become one aiohttp application."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from pytq.schema import limits
from pytq.server import link, stream
from pytq.server.api import add_routes, middlewares
from pytq.server.api.doors import KEYRING
from pytq.server.dispatcher import Dispatcher
from pytq.server.housekeeping import keep_house
from pytq.server.keyring import Keyring
from pytq.server.link import Links
from pytq.server.liveness import Liveness
from pytq.server.opening import open_to_callers
from pytq.server.queue import Queue
from pytq.server.recruit.local import Local
from pytq.server.settings import ServerSettings
from pytq.server.store.database import Database
from pytq.server.store.engine import default_uri
from pytq.server.stream import Streams
from pytq.server.ui.visits import Visits
from pytq.server.whereabouts import WHEREABOUTS, Whereabouts

DATABASE: Final = web.AppKey("database", Database)


@contextlib.asynccontextmanager
async def application(settings: ServerSettings) -> AsyncIterator[web.Application]:
    """The whole server, ready to be listened for."""
    db = await Database.open(settings.database_uri or default_uri(settings.data_dir))
    dispatcher = Dispatcher(db, settings.lease_seconds)
    links = Links(dispatcher)
    keyring = Keyring(settings.requests_per_second)
    whereabouts = Whereabouts()
    queue = Queue(dispatcher, keyring, [Local(settings.data_dir / "local", whereabouts)])
    streams = Streams(dispatcher, queue.recruiter.jobs, queue.describe)
    app = web.Application(
        middlewares=middlewares(
            [settings.host, *settings.host_names], keyring=None if settings.insecure else keyring
        ),
        client_max_size=limits.BODY_BYTES,
    )
    app[KEYRING], app[WHEREABOUTS], app[DATABASE] = keyring, whereabouts, db
    add_routes(app, queue)
    Visits(whereabouts).add_to(app)
    app.router.add_get(link.PATH, links.serve)
    app.router.add_get(stream.PATH, streams.serve)
    app.on_shutdown.append(lambda _: links.close())
    app.on_shutdown.append(lambda _: streams.close())
    loops = [
        asyncio.create_task(Liveness(dispatcher).run(), name="liveness"),
        asyncio.create_task(keyring.run(), name="keyring"),
        asyncio.create_task(keep_house(db), name="housekeeping"),
    ]
    try:
        await queue.load_tokens()
        await queue.recruiter.open()
        yield app
    finally:
        await queue.recruiter.close()
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        dispatcher.close()
        await db.close()


async def serve(settings: ServerSettings, stop: asyncio.Event) -> None:
    """Listen until `stop` is set. Prints nothing; says where it listens in the log.

    Raises a `PytqError` when the database is another server's by now, or cannot be trusted.
    """
    # Bulk submits make millions of short-lived objects; the default thresholds thrash on them.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    async with application(settings) as app, open_to_callers(app, settings, app[KEYRING]):
        db = app[DATABASE]
        ends = [asyncio.create_task(event.wait()) for event in (stop, db.lost)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
    if db.why_lost is not None:
        raise db.why_lost
