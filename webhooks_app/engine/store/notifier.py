"""Who makes something due on PostgreSQL wakes the workers: NOTIFY, and LISTEN."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Delivery
from .advisory_locks import NOTICES_A_CUT
from .base import ANNOUNCE_APART

log = logging.getLogger("webhooks")

# What NOTIFY is sent to after a commit that made something due. Channels are the whole database's;
# with the oid of its table each installation has its own.
CHANNEL = f"SELECT 'webhooks_due_' || '\"{Delivery._meta.db_table}\"'::regclass::oid"

_announced = 0.0


def announce(connection: BaseDatabaseWrapper) -> None:
    """Once the present transaction has committed. A NOTIFY in every transaction would cost
    producers a quarter of their rate, so a process sends one in ANNOUNCE_APART seconds at most;
    workers look once more when a little more than that has passed.

    What has committed is no failure because nobody could be woken: workers find it by looking."""
    transaction.on_commit(lambda: _notify(connection), using=connection.alias, robust=True)


def _notify(connection: BaseDatabaseWrapper) -> None:
    global _announced
    now = time.monotonic()
    if now - _announced < ANNOUNCE_APART:
        return
    _announced = now
    with connection.cursor() as cursor:
        # It is a transaction of its own, whose loss would lose nothing: it waits for no disk.
        cursor.execute(
            f"SELECT set_config('synchronous_commit', 'off', true), pg_notify(({CHANNEL}), '')"
        )


async def listen(connection: Any, announced: Callable[[], None]) -> None:
    """Call `announced` at every notification, for ever. A lost connection is made again."""
    import psycopg

    parameters = connection.get_connection_params()
    for name in ("pool", "cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    parameters = NOTICES_A_CUT | parameters
    backoff = 0.1
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                **parameters, autocommit=True
            ) as session:
                found = await (await session.execute(CHANNEL)).fetchone()
                assert found is not None
                await session.execute(f"LISTEN {found[0]}")
                announced()
                backoff = 0.1
                await _hear(session, announced)
        except (psycopg.Error, OSError) as error:
            log.debug("no notifications for now: %s", type(error).__name__)
        await asyncio.sleep(backoff)
        backoff = min(2 * backoff, 5.0)


async def _hear(session: Any, announced: Callable[[], None]) -> None:
    """Until the session breaks, which it raises. The driver's own way costs ten
    times as much for each notification."""
    import psycopg

    loop, line = asyncio.get_running_loop(), session.pgconn
    file = line.socket  # which a broken session has no more
    broken: asyncio.Future[None] = loop.create_future()

    def read() -> None:
        found = False
        try:
            line.consume_input()
            while line.notifies() is not None:
                found = True
        except psycopg.Error as error:
            loop.remove_reader(file)
            broken.set_exception(error)
        if found:
            announced()

    loop.add_reader(file, read)
    try:
        await broken
    finally:
        loop.remove_reader(file)
