"""Lines that were left open after an exchange, for the next one of the same account to the same
origin."""

import asyncio
from time import perf_counter

from .connection import Line, Origin

SHED = 16  # of these are closed when no file can be opened any more


class Pool:
    """The line used last is taken first; the one idle longest goes when there is no room.

    `idle`: seconds that a line is kept; `age`: seconds after which it is not any more, because the
    name is looked up anew then, else a busy line would never follow a move. `each`: idle lines to
    one origin, as many as a busy worker has in flight there; `most`: in all.
    """

    def __init__(
        self, *, idle: float = 15.0, age: float = 300.0, each: int = 128, most: int = 1024
    ) -> None:
        self._kept = idle
        self._age = age
        self._each = each
        self._most = most
        self._idle: dict[Line, None] = {}  # in the order they became idle
        self._origins: dict[Origin, list[Line]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, origin: Origin) -> Line | None:
        """A line to `origin` that is still good, None when there is none."""
        lines = self._origins.get(origin)
        while lines:
            line = lines.pop()
            del self._idle[line]
            if line.usable and perf_counter() - line.idle_since < self._kept:
                return line
            line.drop()
        return None

    def put(self, line: Line) -> None:
        now = perf_counter()
        if now - line.opened_at > self._age:
            line.drop()
            return
        line.idle_since = now
        lines = self._origins.setdefault(line.origin, [])
        if len(lines) >= self._each:
            self._drop(lines[0])
        elif len(self._idle) >= self._most:
            self._drop(next(iter(self._idle)))
        lines.append(line)
        self._idle[line] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._kept, self._sweep)

    def forget(self, line: Line) -> None:
        """Take `line` out, when it is in."""
        if line in self._idle:
            del self._idle[line]
            self._origins[line.origin].remove(line)

    def shed(self) -> bool:
        """Close the lines idle longest: files are short. False when there are none."""
        oldest = list(self._idle)[:SHED]
        for line in oldest:
            self._drop(line)
        return bool(oldest)

    def clear(self) -> None:
        for line in list(self._idle):
            self._drop(line)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self, line: Line) -> None:
        self.forget(line)
        line.drop()

    def _sweep(self) -> None:
        self._timer = None
        for origin in [origin for origin, lines in self._origins.items() if not lines]:
            del self._origins[origin]
        now = perf_counter()
        for line in list(self._idle):
            rest = self._kept - (now - line.idle_since)
            if rest > 0.01:
                self._timer = asyncio.get_running_loop().call_later(rest, self._sweep)
                return
            self._drop(line)
