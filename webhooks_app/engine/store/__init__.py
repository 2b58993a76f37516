"""The database as the engine uses it. Here alone it is decided which of the two it is."""

from django.db import connections

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
]


def open(alias: str) -> Store:
    """The store on this thread's connection."""
    connection = connections[alias]
    return (Postgres if connection.vendor == "postgresql" else Sqlite)(connection)
