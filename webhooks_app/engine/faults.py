"""How often this process found the database away or in its way. While it is, that cannot be written
down: a worker's upkeep does so once it can."""

import os
import threading

from django.db import router

from ..models import Counter
from ..models.webhook import SLOTS
from . import store
from .store import counters

_lock = threading.Lock()
seen = 0  # since the process began
_written = 0


def note() -> None:
    global seen
    with _lock:
        seen += 1


def write_down() -> None:
    """Add what is new to the installation's counter. One thread of a process does. Raises
    DatabaseError."""
    global _written
    reached = seen
    if reached == _written:
        return
    found = {(counters.DATABASE_ERRORS, ""): reached - _written}
    counters.add(store.open(router.db_for_write(Counter)), found, os.getpid() % SLOTS)
    _written = reached
