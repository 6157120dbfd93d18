"""Keeps the database from growing for ever: old events and old Idempotency-Keys go."""

import asyncio
import logging
from typing import Final

from pytq.schema.problems import PytqError
from pytq.server.dispatcher import clock
from pytq.server.store import tidying
from pytq.server.store.database import Database

log = logging.getLogger(__name__)

_PAUSE_SECONDS: Final = 600.0


async def keep_house(db: Database) -> None:
    """Tidy up now and then, for as long as the server lives."""
    while True:
        await asyncio.sleep(_PAUSE_SECONDS)
        try:
            await tidy(db)
        except PytqError as error:
            log.warning("could not tidy up the database: %s", error)


async def tidy(db: Database) -> int:
    """Drop all that is too old, a piece to a transaction; returns how many rows there were."""
    gone = 0
    for verb in (tidying.forget_events, lambda conn: tidying.forget_keys(conn, clock())):
        piece = tidying.PIECE
        while piece == tidying.PIECE:
            piece = await db.write(verb)
            gone += piece
    return gone
