"""What a worker does beside sending: steps of jobs, notices, the purge. In a thread and on a
connection of its own, so that no delivery waits for it."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from django.db import DatabaseError, InterfaceError, connections

from .. import conf
from . import jobs, mail, queue
from .session import own_connection

log = logging.getLogger("webhooks")

EVERY = 1.0  # seconds
NOTICES_EVERY = 5.0
PURGE_EVERY = 3600.0


async def run(alias: str) -> None:
    """Until cancelled. What fails is tried again at the next turn."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "webhooks-upkeep", own_connection, (alias,))
    notices_at = purge_at = 0.0
    try:
        while True:
            await asyncio.sleep(EVERY)
            notices = time.monotonic() >= notices_at
            if notices:
                notices_at = time.monotonic() + NOTICES_EVERY
            purge = time.monotonic() >= purge_at
            if purge:
                purge_at = time.monotonic() + PURGE_EVERY
            await loop.run_in_executor(thread, turn, notices, purge)
    finally:
        await loop.run_in_executor(thread, connections.close_all)
        thread.shutdown()


def turn(notices: bool = True, purge: bool = False) -> None:
    """One round: a step of every job, the notices, the purge."""
    try:
        jobs.turn()
        if notices:
            mail.turn()
        if purge:
            queue.purge(timedelta(days=conf.retention_days()))
    except (DatabaseError, InterfaceError) as error:
        log.warning("upkeep is put off: %s", type(error).__name__)
        connections.close_all()
    except Exception:
        log.exception("upkeep is put off")
