"""Rows that are read where they are written.

A host may route reads to a replica (Django's own example of a router does). What we read decides:
whether a token is good, a webhook may be called, an idempotency key was seen. A replica tells what
was so a moment ago. So every query of ours that names no database goes to that of the writes; a
host that wants a report from its replica asks there, by `using`.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from django.db import connections, models, router
from django.db.models.functions import Now
from django.utils import timezone

M = TypeVar("M", bound=models.Model)
T = TypeVar("T")

CLOCK_KEPT = 5.0  # seconds after which a process asks what time it is once more
CLOCK_LATE, CLOCK_TRIES = 0.05, 3  # seconds for an answer; how often it is asked where that is late


class PrimaryQuerySet(models.QuerySet[M]):
    @property
    def db(self) -> str:
        return self._db or router.db_for_write(self.model, **self._hints)  # type: ignore[attr-defined]

    def lock(self) -> None:
        """Until the transaction ends. All who lock rows of several tables do so in this order:
        deliveries, webhooks, their health, in each by the keys; counters last. (It is not the lock
        of the keys, for which whoever stores what names them would have to wait.)"""
        list(self.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))


class PrimaryModel(models.Model):
    """Whose rows are read where they are written, also through a relation or a refresh."""

    objects = PrimaryQuerySet.as_manager()

    class Meta:
        abstract = True
        base_manager_name = "objects"


@cache
def _has_a_clock(alias: str) -> bool:
    """Asked for every delivery that is stored; to find a connection costs ten times as much."""
    return connections[alias].vendor == "postgresql"


def present(alias: str) -> Any:
    """This moment, as it is written down where it is compared with others: on PostgreSQL by the
    database's clock, which all workers go by, however wrong this host's is. SQLite has one host."""
    return Now() if _has_a_clock(alias) else timezone.now()


def clock(alias: str, *, anew: bool = False) -> datetime:
    """`present` for Python: what decides, and is compared here. PostgreSQL is asked once in
    CLOCK_KEPT seconds; from then on this process counts, and is ahead by what the question took,
    which is little. `anew`: asked now, where a millisecond matters. Raises DatabaseError."""
    if not _has_a_clock(alias):
        return timezone.now()
    now = time.monotonic()
    asked, moment = _clocks.get(alias, (now - CLOCK_KEPT, None))
    if anew or moment is None or now - asked >= CLOCK_KEPT:
        _, moment = _clocks[alias] = _asked(alias)
        return moment
    return moment + timedelta(seconds=now - asked)


def _asked(alias: str) -> tuple[float, datetime]:
    connection = connections[alias]
    connection.ensure_connection()

    def ask() -> Any:
        # Past Django's cursor: no query of whoever happens to be the first to ask.
        return connection.connection.execute("SELECT clock_timestamp()").fetchone()[0]

    with connection.wrap_database_errors:
        return promptly(ask)


def promptly(ask: Callable[[], T]) -> tuple[float, T]:
    """When a clock was asked, monotonic, and what it said. Asked once more where the answer took
    long: the machine stood still meanwhile, or was very busy, and who counts from the question on
    would be ahead by as much."""
    tries = []
    for _ in range(CLOCK_TRIES):
        asked = time.monotonic()
        answer = ask()
        tries.append((time.monotonic() - asked, asked, answer))
        if tries[-1][0] < CLOCK_LATE:
            break
    _, asked, answer = min(tries, key=lambda each: each[0])
    return asked, answer


_clocks: dict[str, tuple[float, datetime]] = {}  # by alias: when it was asked, monotonic, and said
