"""What waits for one thread: bounded, and fair to those it is from."""

import threading
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
            self._changed.notify()
        return True

    def take(self, most: int, size: int) -> list[T]:
        """Waits for items; returns up to `most` of them, not more than `size` but at least one.
        Empty when the queue is closed."""
        with self._changed:
            while not self._lanes and not self._closed:
                self._changed.wait()
            taken: list[T] = []
            while self._lanes and len(taken) < most:
                lane, items = next(iter(self._lanes.items()))
                if taken and items[0][1] > size:
                    break
                item, own = items.popleft()
                taken.append(item)
                size -= own
                self._size -= own
                self._leave(lane, items, own)
            return taken

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
