"""Whose webhooks are whose on SQLite: one worker owns all by a lock on a file beside the database;
a second waits as a stand-by."""

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
    """All slots or none, by an operating-system lock that ends with the process, and with the child
    of it that writes outcomes (`share`): what the child still writes of a worker that was killed is
    there before another one looks what is to be sent.

    The lock is the file that the path leads to: one that was removed, or replaced, locks nobody out
    any more. Its owner looks again and again, and takes the new one or stops.
    """

    def __init__(self, database: str, knobs: Knobs) -> None:
        self._rest = knobs.rest
        self._path = _path(database)
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
        try:
            file, is_new = _opened(path)
        except OSError as error:
            raise OperationalError(f"{path}: {error.strerror}") from error
        locked = database_file.identity_of(os.fstat(file.fileno()))
        if not _try_lock(file):
            _shared[path] = file, is_new  # for the next time
            return
        if not database_file.leads_to(path, locked):
            _let_go(file)
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
        """Nothing: all slots go at once, when the worker leaves."""

    def forget(self) -> None:
        """Nothing: the lock is not the connection's, it stays."""

    def release(self) -> None:
        self._locked = None
        if self._file is not None:
            _let_go(self._file)
            self._file = None


# Lock files that are open and not locked, and whether they are new: what a child inherits of them
# holds the lock that its parent takes later.
_shared: dict[Path, tuple[IO[bytes], bool]] = {}


def share(database: str) -> None:
    """Before a fork: the lock that this process will take ends with its child, too."""
    path = _path(database)
    if path is not None and path not in _shared:
        with suppress(OSError):  # whoever takes the lock will say it
            _shared[path] = _open(path)


def _path(database: str) -> Path | None:
    if database == ":memory:" or "mode=memory" in database:
        return None
    # One file is one database, whatever link leads to it.
    return Path(f"{Path(database).resolve()}-worker.lock")


def _open(path: Path) -> tuple[IO[bytes], bool]:
    is_new = not path.exists()
    return path.open("ab"), is_new


def _opened(path: Path) -> tuple[IO[bytes], bool]:
    shared = _shared.pop(path, None)
    if shared is None:
        return _open(path)
    if database_file.leads_to(path, database_file.identity_of(os.fstat(shared[0].fileno()))):
        return shared
    shared[0].close()
    return _open(path)


def _let_go(file: IO[bytes]) -> None:
    """Of the lock as well: a child may have the file open."""
    try:
        import fcntl
    except ImportError:  # Windows, where nothing is forked
        pass
    else:
        fcntl.flock(file, fcntl.LOCK_UN)
    file.close()


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
