"""Callers who hang up while they are answered: nobody's error."""

import logging

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pytq.server.api.errors import show_problems


async def hang_up_first(request: web.Request) -> web.StreamResponse:
    """The caller has gone by the time that the socket is to be opened."""
    assert request.transport is not None
    request.transport.abort()
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    return socket


async def test_who_hangs_up_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that ends while it is answered leaves no traceback in the server's log."""
    app = web.Application(middlewares=[show_problems])
    app.router.add_get("/", hang_up_first)
    with caplog.at_level(logging.INFO):
        async with TestClient(TestServer(app)) as client:
            with pytest.raises(aiohttp.ClientError):
                await client.ws_connect("/")

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
