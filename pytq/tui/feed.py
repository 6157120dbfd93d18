"""The event stream, kept alive: one connection, which comes back by itself and says how it is."""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final

from pydantic import ValidationError

from pytq.client import Client
from pytq.schema import limits
from pytq.schema.problems import PytqError
from pytq.schema.stream import Changes, Snapshot
from pytq.transport import Stream

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0  # somebody is looking
_SILENCE_SECONDS: Final = 3 * limits.HEARTBEAT_SECONDS
_NEEDS_TOKEN: Final = frozenset({401, 403})
_TOO_OLD: Final = 404


class Feed:
    """Connects; hands every frame to `take`, and why a connection ended to `lost`."""

    def __init__(
        self,
        client: Client,
        take: Callable[[Snapshot | Changes], None],
        lost: Callable[[str], None],
    ) -> None:
        self._client = client
        self._take = take
        self._lost = lost
        self._stream: Stream | None = None
        self._watched: list[int] = []
        self._pause = _FIRST_PAUSE

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._lost(await self._until_lost())
            # Jitter, so that many viewers do not come back in the same instant.
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))  # noqa: S311
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    async def _until_lost(self) -> str:
        """Take frames for as long as they come; tells why they do not any more."""
        try:
            async with self._client.stream() as stream:
                self._stream = stream
                if self._watched:
                    await stream.watch(self._watched)
                return await self._listen(stream)
        except PytqError as error:
            return _why(error)
        except TimeoutError:
            return "the server says nothing any more"
        except ValidationError:
            return "the server says something this version cannot read"
        finally:
            self._stream = None

    async def _listen(self, stream: Stream) -> str:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_SILENCE_SECONDS) as patience:
            async for frame in stream:
                self._take(frame)
                self._pause = _FIRST_PAUSE
                patience.reschedule(loop.time() + _SILENCE_SECONDS)
        return "the server has closed the connection"

    async def watch(self, tasks: Iterable[int]) -> None:
        """Hear of these tasks one by one; also after a connection was lost."""
        wanted = sorted(set(tasks))[: limits.WATCHED]
        if wanted == self._watched:
            return
        self._watched = wanted
        if self._stream is not None:
            await self._stream.watch(wanted)


def _why(error: PytqError) -> str:
    if error.status in _NEEDS_TOKEN:
        return "the server wants a token; quit and set PYTQ_TOKEN"
    if error.status == _TOO_OLD:
        return "no PYTQ server with an event stream answers there"
    return str(error)
