"""The connection of a thread of the fast door."""

import time

from django.db import connections

LOCKED_MOST = 0.5  # seconds that a group waits for rows of somebody else
RESTED = 1.0  # seconds; a connection that was unused for longer may be lost


class Session:
    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._used = 0.0  # monotonic

    def wake(self) -> None:
        """Before it is used: one that has rested is looked at."""
        if time.monotonic() - self._used > RESTED:
            connections[self.alias].close_if_unusable_or_obsolete()

    def note_use(self) -> None:
        self._used = time.monotonic()
