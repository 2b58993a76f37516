"""Hears what producers announce: LISTEN on PostgreSQL. SQLite has nothing to hear."""

import asyncio
import logging
from collections.abc import Callable

from django.db import connections

from . import ownership, transitions

log = logging.getLogger("webhooks")


async def listen(alias: str, announced: Callable[[], None]) -> None:
    """Call `announced` at every notification, for ever. A lost connection is made again; what was
    missed meanwhile, the worker finds by looking."""
    if connections[alias].vendor != "postgresql":
        return
    import psycopg

    parameters = connections[alias].get_connection_params()
    for name in ("pool", "cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    parameters = ownership.NOTICES_A_CUT | parameters
    backoff = 0.1
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                **parameters, autocommit=True
            ) as connection:
                found = await (await connection.execute(transitions.CHANNEL)).fetchone()
                assert found is not None
                await connection.execute(f"LISTEN {found[0]}")
                announced()
                backoff = 0.1
                async for _ in connection.notifies():
                    announced()
        except (psycopg.Error, OSError) as error:
            log.debug("no notifications for now: %s", type(error).__name__)
        await asyncio.sleep(backoff)
        backoff = min(2 * backoff, 5.0)
