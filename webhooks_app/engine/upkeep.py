"""What a worker does beside sending: steps of jobs, and notices. In a thread and on a connection
of its own, so that no delivery waits for it."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from django.db import DatabaseError, InterfaceError, connections

from . import jobs
from .desk import own_connection

log = logging.getLogger("webhooks")

EVERY = 1.0  # seconds


async def run(alias: str) -> None:
    """Until cancelled. What fails is tried again at the next turn."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "webhooks-upkeep", own_connection, (alias,))
    try:
        while True:
            await asyncio.sleep(EVERY)
            await loop.run_in_executor(thread, turn)
    finally:
        await loop.run_in_executor(thread, connections.close_all)
        thread.shutdown()


def turn() -> None:
    """One round of everything."""
    try:
        jobs.turn()
    except (DatabaseError, InterfaceError) as error:
        log.warning("upkeep is put off: %s", type(error).__name__)
        connections.close_all()
    except Exception:
        log.exception("upkeep is put off")
