"""How often this process found the database away or in its way. While it is, that cannot be written
down: a worker's upkeep does so once it can, a web process when it was answered again."""

import logging
import os
import threading

from django.db import DatabaseError, InterfaceError, router

from ..models import Counter
from ..models.webhook import SLOTS
from . import store
from .store import counters

log = logging.getLogger("webhooks")

_lock = threading.Lock()
_writing = threading.Lock()
seen = 0  # since the process began
written = 0


def note() -> None:
    global seen
    with _lock:
        seen += 1


def told(error: BaseException) -> str:
    """Its kind and the driver's own words, which say what to mend; some take several lines."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def write_down() -> None:
    """Add what is new to the installation's counter. Raises DatabaseError, InterfaceError."""
    global written
    # A second thread leaves it to the first.
    if seen == written or not _writing.acquire(blocking=False):
        return
    try:
        reached = seen
        found = {(counters.DATABASE_ERRORS, ""): reached - written}
        counters.add(store.open(router.db_for_write(Counter)), found, os.getpid() % SLOTS)
        written = reached
    finally:
        _writing.release()


def settle() -> None:
    """`write_down` for a web process, which asks for it where the database has just answered."""
    try:
        write_down()
    except (DatabaseError, InterfaceError) as error:
        log.debug("errors of the database are counted later (%s)", type(error).__name__)
