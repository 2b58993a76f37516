"""Whose webhooks are whose: 64 slots, each owned by one worker at a time. No clock takes part.

PostgreSQL: a slot is a session advisory lock, taken on the very connection that claims and
finishes, so a killed worker's locks end with its session. SQLite: one worker owns all by a lock on
a file beside the database; a second waits as a stand-by.
"""

import random
from math import ceil
from pathlib import Path
from typing import IO, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from ..models.webhook import SLOTS

ALL = frozenset(range(SLOTS))
_SLOT_CLASS = 0x77686B01  # first keys of our advisory locks ("whk", slots and presence)
_PRESENCE_CLASS = 0x77686B02


class Ownership(Protocol):
    """Asked every third of a second, in the thread that owns the connection."""

    def refresh(self, busy: frozenset[int]) -> frozenset[int]:
        """The slots to claim from now. `busy` slots (something in flight) are never given away."""
        ...

    def forget(self) -> None:
        """The connection is gone, and every lock with it."""
        ...

    def release(self) -> None:
        """Give everything away."""
        ...


def of(connection: BaseDatabaseWrapper) -> Ownership:
    if connection.vendor == "postgresql":
        return AdvisoryLocks(connection)
    return FileLock(str(connection.settings_dict["NAME"]))


class AdvisoryLocks:
    """An even share of the slots, by session advisory locks."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._held: set[int] = set()
        self._draining: set[int] = set()
        self._present = False

    def refresh(self, busy: frozenset[int]) -> frozenset[int]:
        with self._connection.cursor() as cursor:
            if not self._present:
                # A lock of its own for each worker, so that all can count who is there.
                cursor.execute("SELECT pg_advisory_lock(%s, pg_backend_pid())", [_PRESENCE_CLASS])
                self._present = True
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND classid = %s AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())",
                [_PRESENCE_CLASS],
            )
            share = ceil(SLOTS / max(1, cursor.fetchone()[0]))
            kept = self._held - self._draining
            if len(kept) > share:
                # The idle ones first: they can go at once.
                surplus = sorted(kept, key=lambda slot: slot in busy)[: len(kept) - share]
                self._draining.update(surplus)
            elif len(kept) < share:
                back = sorted(self._draining)[: share - len(kept)]
                self._draining.difference_update(back)
                self._take(cursor, share - len(kept) - len(back))
            self._give(cursor, self._draining - busy)
        return frozenset(self._held - self._draining)

    def _take(self, cursor: object, count: int) -> None:
        free = list(ALL - self._held)
        if count <= 0 or not free:
            return
        random.shuffle(free)  # workers that start together try different slots
        cursor.execute(  # type: ignore[attr-defined]
            "SELECT slot FROM unnest(%s::int[]) AS slot "
            "WHERE pg_try_advisory_lock(%s, slot) LIMIT %s",
            [free, _SLOT_CLASS, count],
        )
        self._held.update(row[0] for row in cursor.fetchall())  # type: ignore[attr-defined]

    def _give(self, cursor: object, slots: set[int]) -> None:
        if slots:
            cursor.execute(  # type: ignore[attr-defined]
                "SELECT pg_advisory_unlock(%s, slot) FROM unnest(%s::int[]) AS slot",
                [_SLOT_CLASS, list(slots)],
            )
            self._held -= slots
            self._draining -= slots

    def forget(self) -> None:
        self._held.clear()
        self._draining.clear()
        self._present = False

    def release(self) -> None:
        if self._held or self._present:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock_all()")
        self.forget()


class FileLock:
    """All slots or none, by an operating-system lock that ends with the process."""

    def __init__(self, database: str) -> None:
        in_memory = database == ":memory:" or "mode=memory" in database
        self._path = None if in_memory else Path(database + "-worker.lock")
        self._file: IO[bytes] | None = None

    def refresh(self, busy: frozenset[int]) -> frozenset[int]:
        if self._path is None or self._file is not None:
            return ALL
        file = self._path.open("ab")
        if not _try_lock(file):
            file.close()
            return frozenset()
        self._file = file
        return ALL

    def forget(self) -> None:
        """The lock is not the connection's: it stays."""

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _try_lock(file: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
