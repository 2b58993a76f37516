"""Connections of a worker's own: direct, outside any pool, one for each of its threads."""

import contextlib
import copy
import os
import socket

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from . import ownership

CHECKPOINT_PAGES = 8000  # of SQLite's log: 32 MB
CACHE_KIB = 16_384  # of SQLite's pages, a connection


def own_connection(
    alias: str, *, lock_timeout_ms: int = 0, by_index: bool = False
) -> BaseDatabaseWrapper:
    """A direct connection for this thread, outside any pool, that never hangs on a cut network;
    nor, on PostgreSQL, longer than that on a row that somebody has locked (0: as the server says).

    `by_index`: for one that asks for a few rows of many; with young statistics, or for some hundred
    keys, PostgreSQL would read whole tables.
    """
    shared = connections[alias]
    settings = copy.deepcopy(shared.settings_dict)
    if shared.vendor == "postgresql":
        options = settings["OPTIONS"]
        options.pop("pool", None)
        for name, value in ownership.NOTICES_A_CUT.items():
            options.setdefault(name, value)
        options.setdefault("application_name", "webhooks deliver")
        settings["CONN_MAX_AGE"] = None
    connection = type(shared)(settings, alias)
    begin = connection.init_connection_state

    def begin_session() -> None:
        begin()
        if connection.vendor == "postgresql":
            ownership.limit_silence(connection)
            if lock_timeout_ms:
                limit_locks(connection, lock_timeout_ms)
            if by_index:
                with connection.cursor() as cursor:
                    # Compiling pays for no small question, and what is left without an index looks
                    # dear then.
                    cursor.execute("SET enable_seqscan = off; SET jit = off")
        elif connection.vendor == "sqlite":
            _write_back_seldom(connection)

    connection.init_connection_state = begin_session  # type: ignore[method-assign]
    connections[alias] = connection
    return connection


def limit_locks(connection: BaseDatabaseWrapper, ms: int, *, local: bool = False) -> None:
    """PostgreSQL: wait so long for a lock, in this session or in the present transaction."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, %s)", [str(ms), local])


def _write_back_seldom(connection: BaseDatabaseWrapper) -> None:
    """A page that every batch touches goes to the database file once in a while, and not with each
    batch."""
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def hang_up(connection: BaseDatabaseWrapper) -> None:
    """Break a connection under a call that never ends. Called from another thread."""
    session = connection.connection
    if connection.vendor == "postgresql" and session is not None:
        with (
            contextlib.suppress(Exception),  # broken already
            socket.socket(fileno=os.dup(session.fileno())) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)
