"""What is due: looks for what just became so, and scans for what looks cannot see.

A look reads from a little before the last one on. Rows whose transaction committed late lie before
that, and so does what a clock that went backwards made due: a scan of every webhook, in steps,
finds them.
"""

import time
from datetime import datetime

from .handover import Due
from .knobs import Knobs
from .store import ALL_WEBHOOKS, Store, Watermark


class Discovery:
    """Belongs to the thread that reads."""

    def __init__(self, store: Store, knobs: Knobs) -> None:
        self._store = store
        self._knobs = knobs
        self._seen: Watermark | None = None  # None: nothing yet, all that is due must be found
        self._look_at = 0.0  # the next look, monotonic seconds
        self._changed_at: datetime | None = None  # SQLite: when the last commit was seen
        self._scanned: str | None = None  # up to this webhook, while a scan is under way
        self._scan_most = 0  # webhooks in its next step
        self._scan_cost = 0.0  # seconds so far
        self._scan_at = 0.0  # the next one, monotonic seconds
        self._scan_again_at = 0.0  # if need be
        self._is_late = False  # a transaction has ended that was older than looks reach back
        self._writers: dict[int, datetime] = {}  # PostgreSQL: transactions, when they began
        self._writers_at = 0.0  # asked for next, monotonic seconds

    def begin_anew(self) -> None:
        """The next `find` finds all that is due."""
        self._seen = self._scanned = None
        self._look_at = self._scan_at = self._writers_at = 0.0

    def forget(self) -> None:
        """The connection is gone, and with it which transactions and commits it had seen."""
        self._changed_at = None
        self._writers = {}
        self.begin_anew()

    def find(self, owned: frozenset[int], now: datetime, *, look: bool, room: bool) -> Due:
        """What is due of every webhook; the caller leaves out webhooks that are not its own.
        `look`: something was announced. `room`: deliveries that are just found may be claimed, too.
        """
        due = Due()
        changed = self._store.has_changed()
        whole = self._seen is None
        if self._seen is None:
            self._seen = Watermark(now)
            self._scanned = None
            due.looked = True
        elif look or changed or time.monotonic() >= self._look_at:
            self._look(due, self._seen, owned, now, changed=changed, room=room)
            due.looked = True
        if changed:
            self._changed_at = now
        if due.looked:
            self._look_at = time.monotonic() + self._knobs.look_every
        scan_at = self._scan_again_at if self._is_late else self._scan_at
        if whole or self._scanned is not None or time.monotonic() >= scan_at:
            self._scan(due, now, ALL_WEBHOOKS if whole else self._knobs.scan_first)
        return due

    def _look(
        self,
        due: Due,
        before: Watermark,
        owned: frozenset[int],
        now: datetime,
        *,
        changed: bool,
        room: bool,
    ) -> None:
        overlap = self._knobs.overlap
        back_to = before.until - overlap
        if changed and self._changed_at is not None:
            # SQLite lets one write at a time: whoever has committed now began after that.
            back_to = min(back_to, max(self._changed_at - overlap, now - self._knobs.reach_most))
        due.back_to = self._store.moment(back_to)
        seen = None
        if room:
            arrived, not_callable, seen = self._store.arrivals(
                back_to, now, before, owned, self._knobs.claim_most
            )
        if seen is not None:
            due.arrived, due.marked, self._seen = arrived, list(not_callable), seen
        else:  # without room, or very much, or a look is all there is
            due.marked, self._seen = self._store.look(back_to, now, before)
        self._watch_writers(self._seen, back_to)

    def _watch_writers(self, seen: Watermark, back_to: datetime) -> None:
        """PostgreSQL: what a long transaction made due may lie before what looks reach back to. A
        scan finds it, as soon as that transaction has ended. While none runs nobody is asked."""
        for ident in [ident for ident in self._writers if seen.has_ended(ident)]:
            self._is_late |= self._writers.pop(ident) < back_to
        if seen.running and (now := time.monotonic()) >= self._writers_at:
            self._writers_at = now + self._knobs.look_every
            self._writers |= self._store.writers()

    def _scan(self, due: Due, at: datetime, first: int) -> None:
        """A step of the scan, in steps so that what is due meanwhile does not wait for all of it,
        and growing ones so that it ends soon, however many webhooks there are."""
        started = time.monotonic()
        if self._scanned is None:
            self._scan_most, self._scan_cost = first, 0.0
            self._is_late = False
        due.waiting, self._scanned = self._store.scan(at, self._scanned or "", self._scan_most)
        self._scan_most += self._scan_most // 4
        self._scan_cost += time.monotonic() - started
        if self._scanned is None:
            due.scanned = True
            now, rest = time.monotonic(), self._knobs.scan_pause(self._scan_cost)
            self._scan_again_at = now + rest
            self._scan_at = now + max(self._knobs.scan_every, rest)
