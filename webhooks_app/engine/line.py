"""What of one webhook is sent in order: of each key one delivery at a time, always the first that
waits. In memory, no I/O.

What is sent next is read from the database from the head of its key on, never from a place onwards:
what was stored first may be seen last. Looks, scans and ends say only which keys have news. Of a
head's answer a few rows may be kept to go after it: they were read together, so nothing that had
been stored before one of them is missing.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain, count, islice
from typing import Any

from ..models.webhook import Order
from .knobs import Knobs
from .store import Asked, Claimed, Head, Key


@dataclass(frozen=True, slots=True)
class Question:
    """What a line asks of the reader. `since`: a due time; the keys of what became due after it are
    wanted. `scan`: all keys behind `after` are. `adopts`: what has no position gets one first."""

    webhook_id: str
    version: int  # of the webhook, as its lane knows it
    asked: tuple[Asked, ...]
    since: Any = None
    scan: bool = False
    after: str | None = None
    adopts: bool = False
    round: int = 0  # known again, unless the line is emptied meanwhile


@dataclass(slots=True)
class Found:
    """The answer. `news`: ids and keys, None when there are very many. `keys`: of the scan; `upto`
    the last of them, None when there are no more; `adopting` when that is not through yet."""

    question: Question
    heads: list[Head] = field(default_factory=list)
    news: list[tuple[str, Key]] | None = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    upto: str | None = None
    adopting: bool = False
    seconds: float = 0.0  # that the scan took


@dataclass(slots=True)
class Kept:
    """What the lines of a worker hold, all together."""

    rows: int = 0
    keys: int = 0


@dataclass(slots=True)
class _Queue:
    """A key of which something is out: its head waits in the lane's buffer or is under way, or it
    is to be tried again and that is not written yet."""

    out: str
    rows: deque[Claimed]  # to go after it
    news: bool  # there may be more


_rounds = count()


class Line:
    def __init__(self, order: str, kept: Kept, knobs: Knobs, unwritten: Iterable[str] = ()) -> None:
        self.order = order
        self.stops = False  # at what gave up
        self._kept = kept
        self._knobs = knobs
        # Of the webhook, from before it had this order: they come first.
        self._before = set(unwritten)
        self._queues: dict[Key, _Queue] = {}
        self._marked: dict[Key, None] = {}  # with news; of none of them anything is out
        self._waiting: dict[Key, None] = {}  # as they were read: the head waits for its next try
        self._unwritten: dict[str, Key] = {}  # ended, as far as the database does not know yet
        self._of_key: Counter[Key] = Counter()  # of these
        self._asked: tuple[Key, ...] = ()
        self._since: Any = None
        self._scans = True  # keys are to be found; up to this one they are
        self._after: str | None = None
        self._scans_again = False
        # Of a scan since all was forgotten: whether it has begun to answer, and has ended.
        self._has_begun = self._has_scanned = False
        self._adopts_at = self._scan_at = 0.0  # not before, monotonic seconds
        self._round = next(_rounds)
        self.ahead = 0  # rows that are to go after others

    # --- news -----------------------------------------------------------------------------------

    def news(self, since: Any) -> None:
        """Something of the webhook became due after that moment; None: at any time."""
        if since is None:
            self._scans_again = self._scans
            self._scans = True
        elif self._since is None or since < self._since:
            self._since = since

    def _mark(self, key: Key) -> None:
        if (queue := self._queues.get(key)) is not None:
            queue.news = True
        elif key not in self._marked:
            if self._is_full:
                is_gate = None in self._waiting
                self._forget_keys()
                if is_gate:
                    self._wait(None)
                self.news(None)
            self._kept.keys += 1
            self._marked[key] = None

    @property
    def _is_full(self) -> bool:
        own = len(self._marked) + len(self._waiting)
        return self._kept.keys >= self._knobs.keys_most and own >= self._knobs.keys_at_once

    def _unmark(self, key: Key) -> None:
        if key in self._marked:
            del self._marked[key]
            self._kept.keys -= 1

    def _wait(self, key: Key) -> None:
        """The head of this key waits for its next try, and is read again now and then: a person may
        take it away. Where there are too many such keys, a scan finds that."""
        if key not in self._waiting and (key is None or not self._is_full):
            self._waiting[key] = None
            self._kept.keys += 1

    def _wait_no_more(self, key: Key) -> None:
        if key in self._waiting:
            del self._waiting[key]
            self._kept.keys -= 1

    def _forget_keys(self) -> None:
        for keys in (self._marked, self._waiting):
            self._kept.keys -= len(keys)
            keys.clear()

    def remind(self, most: int) -> int:
        """Some of the keys that wait are asked again, in turn; returns how many."""
        keys = list(islice(self._waiting, most))
        for key in keys:
            self._waiting[key] = self._waiting.pop(key)
            self._mark(key)
        return len(keys)

    # --- what is asked --------------------------------------------------------------------------

    def asks(self, webhook_id: str, version: int, room: int, now: float) -> Question | None:
        """For so many keys at the most."""
        if self._before:
            return None
        for key in self._asked:  # by a question that failed
            self._mark(key)
        keys = list(islice(self._next(), room))
        scans = self._is_to_scan(now)
        if not (keys or scans or self._since is not None):
            return None
        self._asked = tuple(keys)
        for key in keys:
            self._unmark(key)
        each = self._each(len(keys))
        question = Question(
            webhook_id,
            version,
            tuple(Asked(webhook_id, key, self._room(key, each)) for key in keys),
            self._since,
            scans,
            self._after,
            scans and self._after is None and now >= self._adopts_at,
            self._round,
        )
        if question.adopts:
            self._adopts_at = now + self._knobs.adopt_every
        self._since = None
        return question

    def has_question(self, room: int, now: float) -> bool:
        if self._before:
            return False
        news = self._since is not None or self._is_to_scan(now)
        return news or (room > 0 and any(True for _ in self._next()))

    def _is_to_scan(self, now: float) -> bool:
        # Before a scan has begun nothing else is asked, however many keys have news by then.
        has_room = not self._has_begun or len(self._marked) < self._knobs.keys_at_once
        return self._scans and now >= self._scan_at and has_room

    def _next(self) -> Iterable[Any]:
        """The keys to be read. What was stored when another order held goes before all of this
        one's: there is one line beside the keys, or there are keys beside the line."""
        if not self._has_begun:
            return ()
        if self.order == Order.KEY:
            if None in self._marked:
                return (None,)
            return () if None in self._queues or None in self._waiting else self._marked
        keyed = [key for key in self._marked if key is not None]
        out = chain(self._queues, self._waiting)
        if keyed or not self._has_scanned or any(key is not None for key in out):
            return keyed
        return self._marked

    def _each(self, keys: int) -> int:
        """Rows of each of so many keys."""
        room = min(self._knobs.ahead_each - self.ahead, self._knobs.ahead_most - self._kept.rows)
        return max(1, min(self._knobs.key_ahead, room // max(keys, 1)))

    def _room(self, key: Key, each: int) -> int:
        return (1 if key in self._waiting else each) + self._of_key[key]

    # --- what was found -------------------------------------------------------------------------

    def put(self, found: Found, known: Collection[str], now: float) -> list[Claimed]:
        """What may go now, by the answer to a question. `known`: ids that the lane has already, or
        knows the end of."""
        if found.question.round != self._round:
            return []  # emptied meanwhile; all of it is asked again
        asked, self._asked = self._asked, ()
        heads = {head.key: head for head in found.heads}
        if found.news is None:
            self.news(None)
        else:
            for ident, key in found.news:
                if ident not in known:
                    self._mark(key)
        may_go = [row for key in asked if (row := self._read(key, heads.get(key), known))]
        if found.question.scan:
            self._scanned(found, now)
        return may_go

    def _read(self, key: Key, head: Head | None, known: Collection[str]) -> Claimed | None:
        rows = [row for row in head.rows if row.id not in known] if head is not None else []
        if head is not None and head.waits and not rows:
            self._wait(key)
            return None
        self._wait_no_more(key)
        if not rows:
            if head is not None and head.more:  # and all of it is known
                self._mark(key)
            return None
        assert head is not None
        # What waits behind these is found to be waiting when it is the head.
        news = head.more or head.waits or key in self._marked
        self._unmark(key)
        self._queues[key] = _Queue(rows[0].id, deque(rows[1:]), news)
        self._count(len(rows) - 1)
        return rows[0]

    def _scanned(self, found: Found, now: float) -> None:
        for key in found.keys:
            self._mark(key)
        if found.adopting:
            self._adopts_at = 0.0
            return
        self._has_begun = True
        self._after = found.upto
        if self._after is None:
            self._has_scanned = True
            self._scans, self._scans_again = self._scans_again, False
            self._scan_at = now + self._knobs.scan_pause(found.seconds)

    def _count(self, rows: int) -> None:
        self.ahead += rows
        self._kept.rows += rows

    # --- what becomes of it ---------------------------------------------------------------------

    def follow(self, row: Claimed, *, again: bool) -> tuple[Claimed | None, list[str]]:
        """A delivery that was under way has ended, or is tried `again` later. Returns the delivery
        that goes after it, and ids that the lane is to forget."""
        queue = self._queues.get(row.key)
        if queue is None or queue.out != row.id:
            return None, []  # from before this order
        self._unwritten[row.id] = row.key
        self._of_key[row.key] += 1
        if again:
            return None, self._drop_rows(queue)
        if queue.rows:
            following = queue.rows.popleft()
            queue.out = following.id
            self._count(-1)
            return following, []
        del self._queues[row.key]
        if queue.news:
            self._mark(row.key)
        return None, []

    def recorded(self, ident: str) -> None:
        """The database knows what became of this delivery."""
        self._before.discard(ident)
        if ident not in self._unwritten:
            return
        key = self._unwritten.pop(ident)
        self._of_key[key] -= 1
        if not self._of_key[key]:
            del self._of_key[key]
        queue = self._queues.get(key)
        if queue is not None and queue.out == ident:  # to be tried again
            del self._queues[key]
            self._mark(key)

    def forget(self, gone: Collection[str], buffered: Iterable[Claimed]) -> list[str]:
        """These deliveries are not to be sent any more; `buffered` are the heads that wait. Returns
        all ids that the lane is to forget."""
        forgotten = []
        heads = {row.key for row in buffered if row.id in gone}
        for key in heads:
            queue = self._queues.pop(key)
            forgotten += [queue.out, *self._drop_rows(queue)]
            self._mark(key)
        for queue in self._queues.values():
            if any(row.id in gone for row in queue.rows):
                forgotten += self._drop_rows(queue)
        return forgotten

    def lost(self, ident: str) -> list[str]:
        """This delivery was under way, and is due as before. Returns ids that the lane is to
        forget."""
        self._before.discard(ident)
        for key, queue in self._queues.items():
            if queue.out == ident:
                del self._queues[key]
                return self._drop_rows(queue)
        return []

    def empty(self, buffered: Iterable[Claimed]) -> list[str]:
        """Forget every row that is not under way; `buffered` are the heads that wait. Returns the
        ids of the rows behind them."""
        forgotten = []
        for row in buffered:
            forgotten += self._drop_rows(self._queues.pop(row.key))
        for queue in self._queues.values():
            forgotten += self._drop_rows(queue)
        self._forget_keys()
        self._asked, self._since = (), None
        self._scans, self._after, self._scans_again = True, None, False
        self._has_begun = self._has_scanned = False
        self._scan_at = 0.0
        self._round = next(_rounds)
        return forgotten

    def close(self) -> None:
        """The line goes; its rows and keys count no longer."""
        self._forget_keys()
        self._count(-self.ahead)

    def _drop_rows(self, queue: _Queue) -> list[str]:
        ids = [row.id for row in queue.rows]
        queue.rows.clear()
        queue.news = True
        self._count(-len(ids))
        return ids

    @property
    def has_news(self) -> bool:
        """Whether there is something to ask, now or when there is room."""
        return bool(self._marked or self._scans or self._asked or self._since is not None)

    @property
    def waits(self) -> bool:
        """Whether there are keys whose heads wait."""
        return bool(self._waiting)

    def ids_ahead(self) -> list[str]:
        return (
            [row.id for queue in self._queues.values() for row in queue.rows] if self.ahead else []
        )
