"""Connections that were left open after an exchange, for the next one of the same account to the
same origin."""

import asyncio
from time import perf_counter

from .connection import Connection, Origin

SHED = 16  # of these are closed when no file can be opened any more


class Pool:
    """The connection used last is taken first; the one idle longest goes when there is no room.

    `idle`: seconds that a connection is kept; `age`: seconds after which it is not any more,
    because the name is looked up anew then, else a busy connection would never follow a move.
    `each`: idle connections to one origin, as many as a busy worker has in flight there; `most`: in
    all.
    """

    def __init__(
        self, *, idle: float = 15.0, age: float = 300.0, each: int = 128, most: int = 1024
    ) -> None:
        self._kept = idle
        self._age = age
        self._each = each
        self._most = most
        self._idle: dict[Connection, None] = {}  # in the order they became idle
        self._origins: dict[Origin, list[Connection]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, origin: Origin) -> Connection | None:
        """A connection to `origin` that is still good, None when there is none."""
        connections = self._origins.get(origin)
        while connections:
            connection = connections.pop()
            del self._idle[connection]
            if connection.usable and perf_counter() - connection.idle_since < self._kept:
                return connection
            connection.drop()
        return None

    def put(self, connection: Connection) -> None:
        now = perf_counter()
        if now - connection.opened_at > self._age:
            connection.drop()
            return
        connection.idle_since = now
        connections = self._origins.setdefault(connection.origin, [])
        if len(connections) >= self._each:
            self._drop(connections[0])
        elif len(self._idle) >= self._most:
            self._drop(next(iter(self._idle)))
        connections.append(connection)
        self._idle[connection] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._kept, self._sweep)

    def forget(self, connection: Connection) -> None:
        """Take `connection` out of the pool, when it is there."""
        if connection in self._idle:
            del self._idle[connection]
            self._origins[connection.origin].remove(connection)

    def shed(self) -> bool:
        """Close the connections idle longest: files are short. False when there are none."""
        oldest = list(self._idle)[:SHED]
        for connection in oldest:
            self._drop(connection)
        return bool(oldest)

    def clear(self) -> None:
        for connection in list(self._idle):
            self._drop(connection)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self, connection: Connection) -> None:
        self.forget(connection)
        connection.drop()

    def _sweep(self) -> None:
        self._timer = None
        for origin in [origin for origin, connections in self._origins.items() if not connections]:
            del self._origins[origin]
        now = perf_counter()
        for connection in list(self._idle):
            rest = self._kept - (now - connection.idle_since)
            if rest > 0.01:
                self._timer = asyncio.get_running_loop().call_later(rest, self._sweep)
                return
            self._drop(connection)
