"""The threads of the fast door."""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .fair_queue import FairQueue

T = TypeVar("T")


class Threads(Generic[T]):
    """Some threads that `serve` what is put into a queue, until that is closed. They begin with the
    first of it.

    `size`: how much waits at most, in the unit of `put`.
    """

    def __init__(
        self, name: str, number: int, size: int, serve: Callable[[FairQueue[T]], None]
    ) -> None:
        self._name, self._number, self._size, self._serve = name, number, size, serve
        self._running: list[threading.Thread] = []
        self._waiting: FairQueue[T] = FairQueue(size)
        self._lock = threading.Lock()

    def put(self, lane: Hashable, item: T, size: int) -> bool:
        """False when there is no room, which what has no size does not need."""
        with self._lock:  # or it would come into a queue that was closed, or that nobody serves
            if not self._running:
                self._running = [self._started() for _ in range(self._number)]
            return self._waiting.put(lane, item, size)

    def _started(self) -> threading.Thread:
        thread = threading.Thread(
            target=self._serve, args=(self._waiting,), name=self._name, daemon=True
        )
        thread.start()
        return thread

    def close(self) -> None:
        """Once what waits has been served. What is put next opens it again."""
        with self._lock:
            running, self._running = self._running, []
            waiting, self._waiting = self._waiting, FairQueue(self._size)
        waiting.close()
        for thread in running:
            thread.join()
