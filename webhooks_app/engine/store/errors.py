"""What a database's error says, of either of the two: by its own code, whichever it comes with."""

from django.db import InterfaceError, OperationalError

_TAKEN = frozenset(f"SQLITE_CONSTRAINT_{what}" for what in ("PRIMARYKEY", "ROWID", "UNIQUE"))


def is_taken(error: Exception) -> bool:
    """Whether an IntegrityError says that a key, or what must be unique, is there already."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) == "23505":
        return True
    return getattr(cause, "sqlite_errorname", "") in _TAKEN


def is_locked(error: Exception) -> bool:
    """Whether PostgreSQL's `lock_timeout` has passed: somebody else holds a row for long."""
    return getattr(error.__cause__, "sqlstate", None) == "55P03"


# What a driver raises when the connection is gone, or when a lock was not to be had.
GONE = (OperationalError, InterfaceError)


def is_away(error: Exception) -> bool:
    """Whether it is the database, or the way to it, and nothing about what was to be written: it is
    gone, or only reads, as after a failover until somebody promotes the standby."""
    if isinstance(error, GONE):
        return not is_locked(error)
    return str(getattr(error.__cause__, "sqlstate", "")) == "25006"
