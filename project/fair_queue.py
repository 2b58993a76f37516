"""What waits for one thread: bounded, and fair to those it is from."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items in lanes, one of each lane at a time; any thread puts in, one takes out.

    A lane may hold as much as is free: alone half of all there is, and with `n` others the
    `n + 2`nd part, so that whoever comes newly finds room however much somebody sends.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0  # of all that waits, in the unit of `put`
        self._lanes: OrderedDict[Hashable, deque[tuple[T, int]]] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._count = 0
        self._taken = 0  # of them the last time
        self._expected = 1  # the next time
        self._awaited = 1  # how many there must be for whoever takes to be woken
        self._changed = threading.Condition()
        self._closed = False

    def put(self, lane: Hashable, item: T, size: int) -> bool:
        """False when there is no room, which what has no size does not need, or it is closed."""
        with self._changed:
            own = self._sizes.get(lane, 0)
            if self._closed or (size and own + size > self._most - self._size):
                return False
            self._lanes.setdefault(lane, deque()).append((item, size))
            self._sizes[lane] = own + size
            self._size += size
            self._count += 1
            if self._count >= self._awaited:
                self._changed.notify()
        return True

    def take(self, most: int, size: int, patience: float = 0.0) -> list[T]:
        """Waits for items; returns up to `most` of them, not more than `size` but at least one.
        Those that `expect_again` spoke of are given so many seconds from now to come. Empty when
        the queue is closed."""
        with self._changed:
            expected, self._expected = min(self._expected, most), 1
            until = time.monotonic() + patience
            self._changed.wait_for(lambda: self._count or self._closed)
            self._gather(expected, until - time.monotonic())
            taken: list[T] = []
            while self._lanes and len(taken) < most:
                lane, items = next(iter(self._lanes.items()))
                if taken and items[0][1] > size:
                    break
                item, own = items.popleft()
                taken.append(item)
                size -= own
                self._size -= own
                self._count -= 1
                self._leave(lane, items, own)
            self._taken = len(taken)
            return taken

    def expect_again(self) -> None:
        """What was taken last is answered now, and who sent it may send again."""
        with self._changed:
            self._expected = self._taken + self._count

    def _gather(self, expected: int, seconds: float) -> None:
        if self._count < expected and seconds > 0:
            self._awaited = expected
            self._changed.wait_for(lambda: self._count >= expected or self._closed, seconds)
            self._awaited = 1

    def _leave(self, lane: Hashable, items: deque[tuple[T, int]], size: int) -> None:
        if items:
            self._sizes[lane] -= size
            self._lanes.move_to_end(lane)
        else:
            del self._lanes[lane], self._sizes[lane]

    def close(self) -> None:
        """What waits is still taken; nothing more is put in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
