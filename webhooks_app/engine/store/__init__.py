"""The database as the engine uses it. Here alone it is decided which of the two it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections
from django.db.transaction import atomic

from .base import Ownership, SharedSession, Store
from .postgres import Postgres
from .sqlite import Sqlite
from .values import (
    ALL_SLOTS,
    ALL_WEBHOOKS,
    CARRIED_MOST,
    Asked,
    AttemptRow,
    Claimed,
    EventLines,
    Finished,
    Head,
    Key,
    Place,
    Want,
    Watermark,
)

__all__ = [
    "ALL_SLOTS",
    "ALL_WEBHOOKS",
    "CARRIED_MOST",
    "Asked",
    "AttemptRow",
    "Claimed",
    "EventLines",
    "Finished",
    "Head",
    "Key",
    "Ownership",
    "Place",
    "SharedSession",
    "Store",
    "Want",
    "Watermark",
    "open",
    "transaction",
]


def open(alias: str) -> Store:
    """The store on this thread's connection."""
    connection = connections[alias]
    return (Postgres if connection.vendor == "postgresql" else Sqlite)(connection)


@contextmanager
def transaction(alias: str, locked_most: float = 0.0) -> Iterator[Store]:
    """`atomic`, which waits `locked_most` seconds for rows of somebody else, 0 for as long as it
    takes."""
    with atomic(using=alias):
        here = open(alias)
        if locked_most:
            here.limit_locks(locked_most)
        yield here
