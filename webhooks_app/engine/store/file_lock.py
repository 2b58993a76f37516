"""Whose webhooks are whose on SQLite: one worker owns all by a lock on a file beside the database;
a second waits as a stand-by.

There are two locks. One says who sends, and ends with the worker, or when it is told to end. The
other one says that outcomes are written, and ends with the worker and with the child of it that
writes (`share`): what flies for a worker that ends, and what the child of a killed one still
writes, is there before another one looks what is to be sent.
"""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from django.db import OperationalError

from ...models import database_file
from ..knobs import Knobs
from .values import ALL_SLOTS

log = logging.getLogger("webhooks")


class FileLock:
    """All slots or none, by operating-system locks that end with the process.

    The lock is the file that the path leads to: one that was removed, or replaced, locks nobody out
    any more. Its owner looks again and again, and takes the new one or stops.
    """

    def __init__(self, database: str, knobs: Knobs) -> None:
        self._rest = knobs.rest
        self._path = _path(database, "worker")
        self._written = _path(database, "writer")
        self._sends: IO[bytes] | None = None
        self._writes: IO[bytes] | None = None
        self._locked: database_file.Identity | None = None

    def refresh(self, busy: frozenset[int]) -> frozenset[int]:
        if self._path is None or self._written is None:
            return ALL_SLOTS
        if self.is_lost():
            log.error("%s was removed while this worker held it, taking it anew", self._path)
            self.release()
        if self._sends is None:
            self._take(self._path)
        if self._sends is not None and self._writes is None:
            self._writes = _locked(_open(self._written))
        return ALL_SLOTS if self._writes is not None else frozenset()

    def _take(self, path: Path) -> None:
        is_new = not path.exists()
        file = _locked(_open(path))
        if file is None:
            return
        locked = database_file.identity_of(os.fstat(file.fileno()))
        if not database_file.leads_to(path, locked):
            _let_go(file)
            return
        self._sends, self._locked = file, locked
        if is_new:
            # Another worker may hold one that stood here, and looks for it meanwhile.
            time.sleep(self._rest)

    def is_anothers(self) -> bool:
        return self._path is not None and self._sends is None

    def inherits(self) -> bool:
        return self._sends is not None and self._writes is None

    def is_lost(self) -> bool:
        locked, path = self._locked, self._path
        return locked is not None and path is not None and not database_file.leads_to(path, locked)

    def check(self) -> None:
        """The lock is not the connection's."""

    def retire(self, busy: frozenset[int]) -> None:
        """Another one may be the next; it waits until this one has written and leaves."""
        self._locked = None
        if self._sends is not None:
            _let_go(self._sends)
            self._sends = None

    def forget(self) -> None:
        """Nothing: the lock is not the connection's, it stays."""

    def release(self) -> None:
        if self._writes is not None:
            _let_go(self._writes)
            self._writes = None
        self.retire(frozenset())


# Files of this process that a child has open, too: what it locks of them is locked for the child.
_shared: dict[Path, IO[bytes]] = {}


def share(database: str) -> None:
    """Before a fork: outcomes are written, once this process sends, until its child has ended."""
    path = _path(database, "writer")
    if path is not None:
        with suppress(OperationalError):  # whoever takes the lock will say it
            _shared[path] = _open(path)


def _path(database: str, whose: str) -> Path | None:
    if database == ":memory:" or "mode=memory" in database:
        return None
    # One file is one database, whatever link leads to it.
    return Path(f"{Path(database).resolve()}-{whose}.lock")


def _open(path: Path) -> IO[bytes]:
    shared = _shared.get(path)
    if shared and database_file.leads_to(
        path, database_file.identity_of(os.fstat(shared.fileno()))
    ):
        return shared
    try:
        return path.open("ab")
    except OSError as error:
        raise OperationalError(f"{path}: {error.strerror}") from error


def _locked(file: IO[bytes]) -> IO[bytes] | None:
    """The file, locked; None, and closed, when somebody else has it."""
    if _try_lock(file):
        return file
    _close(file)
    return None


def _close(file: IO[bytes]) -> None:
    if file not in _shared.values():
        file.close()


def _let_go(file: IO[bytes]) -> None:
    """Of the lock as well: a child may have the file open."""
    try:
        import fcntl
    except ImportError:  # Windows, where nothing is forked
        pass
    else:
        fcntl.flock(file, fcntl.LOCK_UN)
    _close(file)


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
