"""A server of streams in a thread of its own, on a free port of loopback, gone without a trace."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Call `serve` for each connection; gives the port."""
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    ports: list[int] = []
    thread = threading.Thread(
        target=loop.run_until_complete, args=(_run(serve, ports, started, stop, tls),), daemon=True
    )
    thread.start()
    assert started.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


async def _run(
    serve: Serve,
    ports: list[int],
    started: threading.Event,
    stop: asyncio.Event,
    tls: ssl.SSLContext | None,
) -> None:
    at_work: set[asyncio.Task[None]] = set()  # asyncio itself would lose them when a client goes

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(one(reader, writer))
        at_work.add(task)
        task.add_done_callback(at_work.discard)

    listening = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    ports.append(listening.sockets[0].getsockname()[1])
    started.set()
    await stop.wait()
    listening.close()
    await asyncio.sleep(0.05)  # whoever was just let in appears
    for task in at_work:
        task.cancel()
    await asyncio.gather(*at_work, return_exceptions=True)
    for _ in range(3):  # turns of the loop, in which transports end
        await asyncio.sleep(0)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
