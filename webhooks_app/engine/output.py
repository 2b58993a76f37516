"""Standard output and error of a process that must not stand still when nobody reads them.

A pipe that is full, a terminal that is stopped or a log daemon that hangs makes every write wait,
and with it whoever logs. After `never_block` all that this process writes goes into a pipe of its
own that is always read: what fits is passed on by a thread that may wait, what does not is dropped,
and counted in a line once there is somebody to read it.
"""

import atexit
import os
import select
import stat
import sys
import threading
import time
from collections import deque
from contextlib import suppress

KEPT_MOST = 1024 * 1024  # bytes that wait for a reader
READ_AT_ONCE = 16_384
AT_THE_END = 1.0  # seconds that a reader has for the last words

_outlets: dict[int, "_Outlet"] = {}  # by file descriptor


def never_block() -> None:
    """From now on, and for all that is written to file descriptors 1 and 2. Not before a fork: the
    threads stay behind. Files are left alone: they have no reader."""
    if _outlets or not hasattr(select, "poll"):
        return
    by_target: dict[tuple[int, int], list[int]] = {}
    for descriptor in (1, 2):
        with suppress(OSError):  # closed from the start
            found = os.fstat(descriptor)
            if _may_block(descriptor, found.st_mode):
                # Both to one place go through one outlet, so that their order stays.
                by_target.setdefault((found.st_dev, found.st_ino), []).append(descriptor)
    for descriptors in by_target.values():
        outlet = _Outlet(descriptors)
        _outlets.update(dict.fromkeys(descriptors, outlet))
    atexit.register(flush)


def flush(seconds: float = AT_THE_END) -> None:
    """Wait until all of it is passed on, so long at the most."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    until = time.monotonic() + seconds
    for outlet in set(_outlets.values()):
        outlet.wait(until)


def real(descriptor: int) -> int:
    """What stood there before: for a child, which must not depend on this process."""
    outlet = _outlets.get(descriptor)
    return outlet.real if outlet else descriptor


def _may_block(descriptor: int, mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


class _Outlet:
    def __init__(self, descriptors: list[int]) -> None:
        self.real = os.dup(descriptors[0])
        self._pipe, written = os.pipe()
        for descriptor in descriptors:
            os.dup2(written, descriptor)
        os.close(written)
        self._poll, self._look = select.poll(), select.poll()  # of one thread each
        for poll in (self._poll, self._look):
            poll.register(self._pipe, select.POLLIN)
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lost = 0  # lines
        self._is_giving = False
        for work in (self._take, self._give):
            threading.Thread(target=work, name="webhooks-output", daemon=True).start()

    def _take(self) -> None:
        """Never waits for anybody but the writers."""
        while True:
            try:
                self._poll.poll()
                with self._changed:
                    said = os.read(self._pipe, READ_AT_ONCE)
                    if self._size + len(said) > KEPT_MOST:
                        self._lost += said.count(b"\n")
                    else:
                        self._waiting.append(said)
                        self._size += len(said)
                    self._changed.notify_all()
            except MemoryError:
                time.sleep(0.1)  # go on: if this stops, whoever logs does

    def _give(self) -> None:
        while True:
            try:
                self._pass_on()
            except MemoryError:
                time.sleep(0.1)

    def _pass_on(self) -> None:
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            self._is_giving = True
            said = self._waiting.popleft()
            self._size -= len(said)
            if self._lost and not self._waiting:
                said += b"\n%d lines of this log were lost: nobody read them.\n" % self._lost
                self._lost = 0
        try:
            while said:
                said = said[os.write(self.real, said) :]
        except OSError:
            pass  # whoever read it is gone
        finally:
            with self._changed:
                self._is_giving = False
                self._changed.notify_all()

    def wait(self, until: float) -> None:
        """Until nothing waits in here, or that moment."""
        with self._changed:
            while self._waiting or self._is_giving or self._look.poll(0):
                # Waiting lets the threads at it.
                left = until - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(min(left, 0.05))
