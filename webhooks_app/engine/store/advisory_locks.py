"""Whose webhooks are whose on PostgreSQL.

A slot is a session advisory lock, taken on the very connection that claims, so a killed worker's
locks end with its session: once its child has written what it was given (`outlasting`). A worker
that lives but is cut off, or hangs, is silent: it stops sending after `Knobs.silence_most`, and the
server ends its session after twice that, whatever stands between the two. Advisory locks are the
whole database's, so their keys are those of the installation: the oids of its tables.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Delivery, Worker
from ...models.webhook import SLOTS
from ...rules.ids import new_id
from ..knobs import Knobs
from . import outlasting
from .base import SharedSession
from .values import ALL_SLOTS

_NAME = "webhooks.worker"  # a variable of the session: whose it is

# A cut network is noticed within 10 s; psycopg's parameters.
NOTICES_A_CUT: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 9000,
    "connect_timeout": 5,
}


class AdvisoryLocks:
    """An even share of the slots, by session advisory locks."""

    def __init__(self, connection: BaseDatabaseWrapper, knobs: Knobs) -> None:
        self._connection = connection
        self._knobs = knobs
        self._session: Any = None  # the driver's connection that holds the locks
        self._name = new_id()  # in the session, to be known again
        self._tables = (0, 0)  # oids of the deliveries' and the workers' table
        self._held: set[int] = set()
        self._draining: dict[int, float] = {}  # since when, monotonic seconds
        self._slow: set[int] = set()  # stayed busy when they were to go
        self._resting: set[int] = set()
        self._rest_until = 0.0  # monotonic seconds
        self._workers = 0  # counted at the last look
        self._has_lost = False
        self._retires = False

    def refresh(self, busy: frozenset[int]) -> frozenset[int]:
        self.check()
        # What is marked now is still sent from until the worker has read the answer; it goes at
        # the next look at the earliest.
        told = set(self._draining)
        now = time.monotonic()
        begins = self._session is None
        with self._look() as cursor:
            if begins:
                self._begin(cursor)
            share = ceil(SLOTS / self._count(cursor))
            kept = self._held - self._draining.keys()
            if len(kept) > share:
                # Not the idle ones first: whoever joins would get those without any work.
                surplus = sorted(kept, key=lambda slot: (slot in self._slow, random.random()))  # noqa: S311
                self._draining.update(dict.fromkeys(surplus[: len(kept) - share], now))
            elif len(kept) < share:
                back = list(self._draining)[: share - len(kept)]
                for slot in back:
                    del self._draining[slot]
                self._take(cursor, share - len(kept) - len(back))
            self._swap_slow(busy, now)
            self._give(cursor, (self._draining.keys() & told) - busy)
        if begins:
            self._refuse_pooler()
        if now >= self._rest_until:
            self._resting.clear()
        return frozenset(self._held - self._draining.keys() - self._resting)

    def _swap_slow(self, busy: frozenset[int], now: float) -> None:
        """A draining slot is silent: one whose receiver takes its time stays, another goes."""
        self._slow &= busy
        late = [
            slot for slot, since in self._draining.items() if now - since > self._knobs.drain_most
        ]
        others = list(self._held - self._draining.keys() - self._slow)
        random.shuffle(others)
        for slot, other in zip((slot for slot in late if slot in busy), others, strict=False):
            del self._draining[slot]
            self._slow.add(slot)
            self._draining[other] = now

    @contextmanager
    def _look(self) -> Iterator[Any]:
        """A cursor in one transaction of the session that holds the locks.

        Raises SharedSession when it is another's session, or another session than the last time:
        a pooler in transaction mode keeps a session for no longer than that.
        """
        connection = self._connection
        with (
            connection.cursor() as cursor,
            connection.wrap_database_errors,
            cursor.connection.transaction(),
        ):
            tables = [
                connection.ops.quote_name(model._meta.db_table) for model in (Delivery, Worker)
            ]
            cursor.execute(
                "SELECT current_setting(%s, true), to_regclass(%s)::oid, to_regclass(%s)::oid",
                [_NAME, *tables],
            )
            name, *found = cursor.fetchone()
            if (name or "") != ("" if self._session is None else self._name):
                raise SharedSession
            if self._session is None:
                self._tables = found[0], found[1]
            elif (found[0], found[1]) != self._tables:
                # Restored from a dump, say: other workers lock by the new ones.
                raise OperationalError("the tables were made anew")
            yield cursor

    @property
    def _slots(self) -> int:
        """The first key of the slots' locks; the second is the slot."""
        return _int4(self._tables[0])

    @property
    def _presence(self) -> int:
        """The first key of a lock that each worker has; the second is the session's process."""
        return _int4(self._tables[1])

    def _refuse_pooler(self) -> None:
        """Raises SharedSession where the next one to speak gets the session that we just left.

        A pooler invents the process number that a client is told, so others are not asked.
        """
        ours = self._session.info.backend_pid
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            if cursor.fetchone()[0] == ours:
                return
        other = type(self._connection)(self._connection.settings_dict, self._connection.alias)
        try:
            with other.cursor() as cursor:
                cursor.execute("SELECT current_setting(%s, true)", [_NAME])
                if cursor.fetchone()[0]:
                    raise SharedSession
        finally:
            other.close()

    def _begin(self, cursor: Any) -> None:
        cursor.execute("SELECT set_config(%s, %s, false)", [_NAME, self._name])
        # Also where a proxy answers the keepalives of a worker that is gone, and for one that
        # hangs. Half of it is left to the worker for stopping by itself.
        _limit(cursor, "idle_session_timeout", self._knobs)
        # A lock of its own for each worker, so that all can count who is there.
        cursor.execute("SELECT pg_advisory_lock(%s, pg_backend_pid())", [self._presence])
        self._session = self._connection.connection
        outlasting.keep(self._session.fileno())
        if self._has_lost:
            self._rest_until = time.monotonic() + self._knobs.rest

    def _count(self, cursor: Any) -> int:
        """How many workers there are."""
        cursor.execute(
            "SELECT count(*), count(*) FILTER (WHERE pid = pg_backend_pid()) FROM pg_locks "
            "WHERE locktype = 'advisory' AND granted AND classid = %s AND objsubid = 2 "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [self._tables[1]],
        )
        workers, here = cursor.fetchone()
        if not here:
            raise OperationalError("somebody took the locks from the session")
        if workers < self._workers:
            # Its session ended, but its process may live: it notices at its next word, and writes
            # what has been answered. Claiming at once would send that again.
            self._rest_until = time.monotonic() + self._knobs.rest
        self._workers = workers
        return int(workers)

    def _take(self, cursor: Any, count: int) -> None:
        free = list(ALL_SLOTS - self._held)
        if count <= 0 or not free:
            return
        random.shuffle(free)  # workers that start together try different slots
        cursor.execute(
            "SELECT slot FROM unnest(%s::int[]) AS slot "
            "WHERE pg_try_advisory_lock(%s, slot) LIMIT %s",
            [free, self._slots, count],
        )
        taken = {row[0] for row in cursor.fetchall()}
        self._held |= taken
        self._resting |= taken

    def _give(self, cursor: Any, slots: set[int]) -> None:
        if slots:
            cursor.execute(
                "SELECT pg_advisory_unlock(%s, slot) FROM unnest(%s::int[]) AS slot",
                [self._slots, list(slots)],
            )
            self._held -= slots
            for slot in slots:
                self._draining.pop(slot, None)

    def check(self) -> None:
        if self._session is not None and self._connection.connection is not self._session:
            # Django opens a new connection silently after one was closed under it.
            raise OperationalError("the session that held the slots has ended")

    def is_lost(self) -> bool:
        """Silence tells: the session ends by itself, and whoever has it hears that."""
        return False

    def is_anothers(self) -> bool:
        return False

    def inherits(self) -> bool:
        """From one that ends, and has given up its presence, or that has ended a moment ago."""
        return self._workers == 1 and (len(self._held) < SLOTS or bool(self._resting))

    def retire(self, busy: frozenset[int]) -> None:
        self.check()
        if self._session is None:
            return
        with self._look() as cursor:
            if not self._retires:
                self._retires = True  # the others' shares grow now
                cursor.execute("SELECT pg_advisory_unlock(%s, pg_backend_pid())", [self._presence])
            self._give(cursor, self._held - busy)

    def forget(self) -> None:
        outlasting.drop()
        self._has_lost = self._has_lost or self._session is not None
        self._session = None
        self._held.clear()
        self._draining.clear()
        self._resting.clear()
        self._workers = 0

    def release(self) -> None:
        if self._session is not None and self._connection.connection is self._session:
            with self._look() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_unlock_all(), set_config(%s, '', false)", [_NAME]
                )
        self.forget()


def _int4(oid: int) -> int:
    """An oid, 32 bits without a sign, as the key of an advisory lock, 32 bits with one."""
    return oid - 2**32 if oid >= 2**31 else oid


def limit_silence(cursor: Any, knobs: Knobs) -> None:
    """Have the server end a transaction in which no word comes for so long: cut off in the
    middle, it would hold its rows against whoever takes over. For each new session."""
    _limit(cursor, "idle_in_transaction_session_timeout", knobs)


def _limit(cursor: Any, name: str, knobs: Knobs) -> None:
    cursor.execute("SELECT set_config(%s, %s, false)", [name, str(int(knobs.idle_most * 1000))])
