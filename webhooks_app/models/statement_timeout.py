"""Reading and writing with an end: what takes longer than that is given up, and whoever asked says
so."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import Error, OperationalError, connections, transaction

log = logging.getLogger("webhooks")

T = TypeVar("T")
_STEPS = 10_000  # of SQLite's machine, well below a millisecond


class TooSlow(Exception):
    """The answer did not come in time."""


def in_time(read: Callable[[], T], seconds: float, using: str = "default") -> T:
    """What `read` returns, its statements given `seconds` (PostgreSQL: each of them).

    `read` must finish its reading: a queryset that is looped over later is not in time. Raises
    TooSlow.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        return _on_postgresql(connection, read, seconds)
    if connection.vendor == "sqlite":
        return _on_sqlite(connection, read, seconds)
    return read()


def _on_postgresql(connection: Any, read: Callable[[], T], seconds: float) -> T:
    set_to = "set_config('statement_timeout', %s, true)"
    inner = connection.in_atomic_block  # of a transaction that goes on afterwards
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            both = f"SELECT current_setting('statement_timeout'), {set_to}"
            cursor.execute(both, [str(int(seconds * 1000))])
            before = cursor.fetchone()[:1]
            found = read()
            if inner:
                cursor.execute(f"SELECT {set_to}", before)
            return found
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") == "57014":  # query_canceled
            raise TooSlow from None
        raise


def _on_sqlite(connection: Any, read: Callable[[], T], seconds: float) -> T:
    connection.ensure_connection()
    session, end = connection.connection, time.monotonic() + seconds
    session.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        return read()
    except OperationalError as error:
        if "interrupted" in str(error):
            raise TooSlow from None
        raise
    finally:
        session.set_progress_handler(None, 0)


def in_passing(write: Callable[[], object], using: str = "default", patience: float = 0.0) -> bool:
    """Write what may be lost beside something that must neither wait nor fail for it.

    Where another holds a lock for longer than `patience` seconds (a backup all of SQLite, somebody
    a row of PostgreSQL), or the database takes no writes at all, `write` has not happened and this
    is False.
    """
    connection = connections[using]
    waiting = {"postgresql": _waiting_on_postgresql, "sqlite": _waiting_on_sqlite}
    try:
        with waiting.get(connection.vendor, _waiting_as_ever)(connection, patience):
            write()
    except Error as error:
        log.debug("not noted in passing: %s", error)
        return False
    return True


@contextmanager
def _waiting_on_postgresql(connection: Any, seconds: float) -> Iterator[None]:
    names = ("lock_timeout", "synchronous_commit")  # a stand-by that is away is not waited for
    set_to = (
        "SELECT set_config('lock_timeout', %s, true), set_config('synchronous_commit', %s, true)"
    )
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s), current_setting(%s)", names)
        before = cursor.fetchone()
        cursor.execute(set_to, [str(max(1, int(seconds * 1000))), "off"])
        yield
        if len(connection.savepoint_ids):  # for the rest of a transaction around this one
            cursor.execute(set_to, before)


@contextmanager
def _waiting_on_sqlite(connection: Any, seconds: float) -> Iterator[None]:
    connection.ensure_connection()
    session = connection.connection
    [before] = session.execute("PRAGMA busy_timeout").fetchone()
    session.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
    try:
        yield
    finally:
        session.execute(f"PRAGMA busy_timeout = {before}")


@contextmanager
def _waiting_as_ever(connection: Any, seconds: float) -> Iterator[None]:
    yield
