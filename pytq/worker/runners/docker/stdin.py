"""A file as a container's standard input: the one thing that must go through the agent.

dockerd takes input only over a connection that it is upgraded to. Should that break, the
container would see an early end and might call half of its input all of it: whoever feeds must
note when everything has arrived, and not believe the container without that.
"""

import asyncio
from pathlib import Path
from typing import Final

BLOCK: Final = 256 * 1024
SPEAK_SECONDS: Final = 60.0
UPGRADED: Final = (b" 101 ", b" 200 ")


async def feed(socket: str, name: str, path: str) -> None:
    """Send all of a file to a container; OSError when that breaks off."""
    file = await asyncio.to_thread(Path(path).open, "rb")
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            await _attach(reader, writer, name)
            while block := await asyncio.to_thread(file.read, BLOCK):
                writer.write(block)
                await writer.drain()  # as slowly as the container reads
            writer.write_eof()
            await reader.read()  # dockerd hangs up when it has handed everything on
        finally:
            writer.close()
    finally:
        file.close()


async def _attach(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
    """Have the connection upgraded to the container's input."""
    writer.write(
        f"POST /containers/{name}/attach?stream=1&stdin=1 HTTP/1.1\r\n"
        "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode()
    )
    try:
        async with asyncio.timeout(SPEAK_SECONDS):
            answer = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
        raise ConnectionError("dockerd did not take its input") from error
    first = answer.partition(b"\r\n")[0] + b" "
    if not any(status in first for status in UPGRADED):
        raise ConnectionError(f"dockerd did not take its input: {first.decode(errors='replace')}")
