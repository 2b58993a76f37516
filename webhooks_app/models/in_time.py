"""Reading with an end: what takes longer than that is given up, and whoever asked says so."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import OperationalError, connections, transaction

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
    set_to = "SELECT set_config('statement_timeout', %s, true)"
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout')")
            before = cursor.fetchone()
            cursor.execute(set_to, [str(int(seconds * 1000))])
            found = read()
            cursor.execute(set_to, before)  # for the rest of a transaction around this one
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
