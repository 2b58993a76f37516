"""Whether anybody writes to a database file, or to a log of it, as Linux tells (inotify)."""

import asyncio
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

_MODIFIED = 0x2  # IN_MODIFY
_AT_ONCE = 65_536  # bytes of events


class FileWatch:
    """Belongs to the event loop."""

    def __init__(self, file: int, name: str) -> None:
        self._file = file
        self._name = os.fsencode(name)

    @classmethod
    @contextmanager
    def of(cls, path: str) -> "Iterator[Self | None]":
        """None where nobody tells, or there is no file."""
        place = Path(path).resolve()
        file = _watching(place.parent) if place.is_file() else -1
        try:
            yield cls(file, place.name) if file >= 0 else None
        finally:
            if file >= 0:
                os.close(file)

    async def is_written(self, within: float) -> bool:
        """Whether it is within so many seconds, or has been since this was asked last."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[None] = loop.create_future()

        def read() -> None:
            # Others may be written in the same folder. A log's name begins as that of its file.
            if self._name in os.read(self._file, _AT_ONCE) and not found.done():
                found.set_result(None)

        loop.add_reader(self._file, read)
        try:
            async with asyncio.timeout(within):
                await found
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._file)
        return True


def _watching(folder: Path) -> int:
    """A file that tells of what is written in the folder; -1 where there is no such thing, or where
    there are too many."""
    if sys.platform != "linux":
        return -1
    libc = ctypes.CDLL(None)
    file = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if file >= 0 and libc.inotify_add_watch(file, os.fsencode(folder), _MODIFIED) < 0:
        os.close(file)
        return -1
    return file
