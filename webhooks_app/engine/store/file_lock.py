"""Whose webhooks are whose on SQLite: one worker owns all by a lock on a file beside the database;
a second waits as a stand-by."""

import logging
import os
import time
from pathlib import Path
from typing import IO

from django.db import OperationalError

from ...models import database_file
from ..knobs import Knobs
from .values import ALL_SLOTS

log = logging.getLogger("webhooks")


class FileLock:
    """All slots or none, by an operating-system lock that ends with the process.

    The lock is the file that the path leads to: one that was removed, or replaced, locks nobody out
    any more. Its owner looks again and again, and takes the new one or stops.
    """

    def __init__(self, database: str, knobs: Knobs) -> None:
        self._rest = knobs.rest
        in_memory = database == ":memory:" or "mode=memory" in database
        # One file is one database, whatever link leads to it.
        self._path = None if in_memory else Path(f"{Path(database).resolve()}-worker.lock")
        self._file: IO[bytes] | None = None
        self._locked: database_file.Identity | None = None

    def refresh(self, busy: frozenset[int]) -> frozenset[int]:
        if self._path is None:
            return ALL_SLOTS
        if self.is_lost():
            log.error("%s was removed while this worker held it, taking it anew", self._path)
            self.release()
        if self._file is None:
            self._take(self._path)
        return ALL_SLOTS if self._file is not None else frozenset()

    def _take(self, path: Path) -> None:
        is_new = not path.exists()
        try:
            file = path.open("ab")
        except OSError as error:
            raise OperationalError(f"{path}: {error.strerror}") from error
        locked = database_file.identity_of(os.fstat(file.fileno()))
        if not _try_lock(file) or not database_file.leads_to(path, locked):
            file.close()
            return
        self._file, self._locked = file, locked
        if is_new:
            # Another worker may hold one that stood here, and looks for it meanwhile.
            time.sleep(self._rest)

    def is_lost(self) -> bool:
        locked, path = self._locked, self._path
        return locked is not None and path is not None and not database_file.leads_to(path, locked)

    def check(self) -> None:
        """The lock is not the connection's."""

    def retire(self, busy: frozenset[int]) -> None:
        """All or nothing: it goes with the last."""

    def forget(self) -> None:
        """The lock is not the connection's: it stays."""

    def release(self) -> None:
        self._locked = None
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
