"""The file of a SQLite database: does its path still lead to the one that this process opened?

A backup that is moved into its place leaves the processes that are running with the old file, which
has no name any more: what they write there is lost. Whoever notices says so and ends, or answers
503. It never opens the new file by itself, because it keeps things of the old one in memory.
"""

import logging
import os
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

REPLACED = "The database's file was replaced; this process must be started anew."  # to clients

log = logging.getLogger("webhooks")

Identity = tuple[int, int]  # device and inode

_opened: dict[str, Identity] = {}  # by path, at the first connection of this process
_told: set[str] = set()


class Replaced(OperationalError):
    """The path of the database leads to another file than this process has open, or to none."""


def check(alias: str) -> None:
    """Raises Replaced. Asked before a write is acknowledged: costs one look at the path."""
    path = path_of(connections[alias])
    opened = _opened.get(path)
    if opened is None or leads_to(path, opened):
        return
    message = (
        f"{path} was replaced or removed while it was in use: this process has another file open, "
        "and must be started anew."
    )
    if path not in _told:
        _told.add(path)
        log.critical(message)
    raise Replaced(message)


def is_replaced(alias: str) -> bool:
    try:
        check(alias)
    except Replaced:
        return True
    return False


def leads_to(path: str | os.PathLike[str], identity: Identity) -> bool:
    """Whether that file stands there, whatever links lead to it."""
    try:
        return identity_of(os.stat(path)) == identity
    except FileNotFoundError:
        return False
    except OSError:  # it cannot be told, for instance without permission to look
        return True


def identity_of(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


@receiver(connection_created)
def _note(connection: BaseDatabaseWrapper, **_: Any) -> None:
    path = path_of(connection)
    if path and path not in _opened:
        try:
            _opened[path] = identity_of(os.stat(path))
        except OSError:
            log.debug("%s cannot be looked at", path)


def path_of(connection: BaseDatabaseWrapper) -> str:
    """`""` for a database without a file."""
    if connection.vendor != "sqlite":
        return ""
    return _absolute(str(connection.settings_dict["NAME"]))


@lru_cache
def _absolute(name: str) -> str:
    """Links stay in it: one that is set to another file is a replacement too."""
    if name in ("", ":memory:") or "mode=memory" in name:
        return ""
    return os.path.abspath(unquote(urlsplit(name).path) if name.startswith("file:") else name)
