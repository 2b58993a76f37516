"""Told at once when somebody writes to a file, by Linux's inotify, which costs nothing while nobody
does. Elsewhere nobody is told."""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Iterator

APART = 0.004  # seconds between two calls
_MODIFIED = 0x2
_EVENT = struct.Struct("iIII")  # watch, what it was, cookie, length of the name that follows
_READ_AT_ONCE = 4096  # bytes


async def listen(path: str, written: Callable[[], None]) -> None:
    """Call `written` after every write to the file, whether it is there yet or not, for ever; ends
    at once where the system does not tell."""
    folder, name = os.path.split(os.path.realpath(path))
    try:
        descriptor = _watch(folder)
    except (OSError, AttributeError):
        return
    loop, happened = asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        if name in _names(descriptor):
            happened.set()

    loop.add_reader(descriptor, read)
    try:
        while True:
            await happened.wait()
            happened.clear()
            written()
            await asyncio.sleep(APART)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _watch(folder: str) -> int:
    """A file descriptor that tells of writes to files in a folder. Raises AttributeError where the
    system has no such thing, OSError where it has no more of them."""
    system = ctypes.CDLL(None, use_errno=True)
    descriptor: int = system.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    if system.inotify_add_watch(descriptor, os.fsencode(folder), _MODIFIED) < 0:
        os.close(descriptor)
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    return descriptor


def _names(descriptor: int) -> Iterator[str]:
    """Of the files that were written to."""
    try:
        said = os.read(descriptor, _READ_AT_ONCE)
    except BlockingIOError:
        return
    while said:
        *_, length = _EVENT.unpack_from(said)
        end = _EVENT.size + length
        yield os.fsdecode(said[_EVENT.size : end].rstrip(b"\0"))
        said = said[end:]
