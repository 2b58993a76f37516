"""Moments as the engine counts and hands them over: whole microseconds since 1970, UTC.

A datetime costs several times as much to make, to add to, to hand to another process and to spell,
and each delivery has a handful of moments.
"""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND = 1_000_000
HOUR = 3600 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now() -> int:
    """By this machine's clock."""
    return time.time_ns() // 1000


def of(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def at(moment: int) -> datetime:
    return _EPOCH + moment * _MICROSECOND


def hour_of(moment: int) -> int:
    """The beginning of its hour."""
    return moment - moment % HOUR


# A delivery is written with the same moment in several rows.
@lru_cache(maxsize=4096)
def text(moment: int) -> str:
    """As Django's SQLite backend writes a moment; with `+00` behind it, PostgreSQL takes it too."""
    second, rest = divmod(moment, SECOND)
    return f"{_second(second)}.{rest:06}" if rest else _second(second)


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    return at(second * SECOND).isoformat(sep=" ")[:-6]
