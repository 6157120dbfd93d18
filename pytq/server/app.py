"""Wiring: settings, database, dispatcher, API and link become one aiohttp application."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from pytq.schema import limits
from pytq.schema.problems import InvalidError
from pytq.server.api import HTTP, add_routes, middlewares
from pytq.server.dispatcher import Dispatcher
from pytq.server.link import PATH, Links
from pytq.server.liveness import Liveness
from pytq.server.queue import Queue
from pytq.server.settings import ServerSettings
from pytq.server.store.database import Database
from pytq.server.store.engine import default_uri

log = logging.getLogger(__name__)

_SHUTDOWN_SECONDS: Final = 5.0


@contextlib.asynccontextmanager
async def application(settings: ServerSettings) -> AsyncIterator[web.Application]:
    """The whole server, ready to be listened for."""
    db = await Database.open(settings.database_uri or default_uri(settings.data_dir))
    dispatcher = Dispatcher(db, settings.lease_seconds)
    links = Links(dispatcher)
    app = web.Application(
        middlewares=middlewares([settings.host, *settings.host_names]),
        client_max_size=limits.BODY_BYTES,
    )
    add_routes(app, Queue(dispatcher))
    app.router.add_get(PATH, links.serve)
    app.on_shutdown.append(lambda _: links.close())
    liveness = asyncio.create_task(Liveness(dispatcher).run(), name="liveness")
    try:
        yield app
    finally:
        liveness.cancel()
        await asyncio.gather(liveness, return_exceptions=True)
        await db.close()


async def serve(settings: ServerSettings, stop: asyncio.Event) -> None:
    """Listen until `stop` is set. Prints nothing; says where it listens in the log."""
    if not settings.is_loopback and not settings.insecure:
        raise InvalidError(
            f"listening on {settings.host} would let anybody who can connect run commands",
            field="host",
            cure="stay on 127.0.0.1 (and reach it through ssh), or accept that with --insecure",
        )
    # Bulk submits make millions of short-lived objects; the default thresholds thrash on them.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    async with application(settings) as app:
        runner = web.AppRunner(app, **HTTP, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await _listen(runner, settings)
            await stop.wait()
        finally:
            await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: ServerSettings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
    except OSError as error:
        raise InvalidError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            field="port",
            cure="another program may use it: choose another with --port, or stop that one",
        ) from error
    host, port = runner.addresses[0][:2]
    log.info("PYTQ server is ready on http://%s:%s", host, port)
