"""Which delivery goes next: a lane for each webhook with work. In memory, no I/O.

A lane has a cap of deliveries in flight, a small buffer of claimed rows and a breaker; lanes take
turns, so one webhook's backlog or slowness costs the others nothing. Lanes of webhooks that fail
take turns among themselves, with a buffer of their own, until they have caught up: however many of
them retry at once, the others wait for none of them. All of it is exact without coordination,
because a webhook has one owner.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from operator import attrgetter
from typing import Any

from ..models.webhook import BREAKER_AFTER, slot_of
from ..rules.failures import Failure
from .knobs import DEFAULT, Knobs
from .line import Found, Kept, Line, Question
from .message import Head
from .rests import Rest, Rests
from .store import Claimed, Place, Want
from .turn import Loaded

CAP_AT_FIRST = 10  # of a webhook, until its own is known


@dataclass(slots=True, eq=False)
class Lane:
    """What the owner knows of one webhook."""

    webhook_id: str
    slot: int
    top: int = CAP_AT_FIRST  # the webhook's own cap
    cap: int = CAP_AT_FIRST  # now: 1 after it became callable again, doubling at each success
    in_flight: int = 0
    slow: int = 0  # of these, how many have given their place away
    answers: bool = False  # its last call was answered
    behind: bool = False  # a delivery failed, and it has not caught up since; see `Lanes`
    held: bool = False
    place: Place | None = None  # read up to
    rereads: bool = False  # from an earlier place: what is known already comes again
    buffer: deque[Claimed] = field(default_factory=deque)
    known: set[str] = field(default_factory=set)  # buffered, in flight or not yet recorded
    ready: bool = False  # stands in the order
    version: int = 0  # of the webhook as loaded; 0: not loaded
    loaded_at: float = 0.0  # monotonic seconds
    head: Head | None = None
    failure: Failure | None = None  # why there is no head
    timeout: float = 10.0
    url: str = ""
    filled_at: float = 0.0  # monotonic seconds
    large: asyncio.Semaphore | None = None  # of calls with a large body; made with the first
    breaker_after: int = BREAKER_AFTER  # failures in a row; 0: never
    failures: int = 0
    trips: int = 0
    open_until: float = 0.0  # monotonic seconds
    rest: Rest | None = None  # of one with a rate of its own, or whose receiver asked for it
    # Where something goes in order: the buffer holds the heads alone, one of each key.
    line: Line | None = None


def _waiting(lane: Lane) -> int:
    """How many rows wait in memory."""
    return len(lane.buffer) + (lane.line.ahead if lane.line is not None else 0)


def _some(index: dict[str, Lane], most: int) -> list[str]:
    """The first of these, which are the last ones then."""
    ids = list(islice(index, most))
    for ident in ids:
        index[ident] = index.pop(ident)
    return ids


class Lanes:
    """All lanes of a worker, and whose turn it is."""

    def __init__(self, slow_most: int = 1000, knobs: Knobs = DEFAULT) -> None:
        self._knobs = knobs
        self._crowded_at = knobs.crowded_at * slow_most
        self._slow = 0
        self._lanes: dict[str, Lane] = {}
        # Each of these twice: of lanes that are not behind, and of those that are.
        self._orders: tuple[deque[Lane], deque[Lane]] = (deque(), deque())
        self._more: tuple[dict[str, Lane], dict[str, Lane]] = ({}, {})  # the database may hold more
        self._buffered = [0, 0]
        self._turn_of_those_behind = False
        self._behind: set[str] = set()  # webhooks; longer than their lanes are remembered
        self._held: dict[str, Lane] = {}
        self._open: dict[str, Lane] = {}  # with an open breaker
        self.rests: Rests[Lane] = Rests(knobs)
        self._lines: dict[str, Lane] = {}  # with a line that has something to ask, perhaps
        self._waits: dict[str, Lane] = {}  # with keys that wait for their next try, perhaps
        self._kept = Kept()
        self._unasked: Iterator[Lane] | None = None  # of those that wait, while some were asked for
        self.owned: frozenset[int] = frozenset()

    @property
    def buffered(self) -> int:
        """Rows that wait in memory."""
        return sum(self._buffered) + self._kept.rows

    @property
    def has_room(self) -> bool:
        """Whether more may be claimed of webhooks that are not behind."""
        return self._buffered[False] < self._knobs.buffer_low

    def get(self, webhook_id: str) -> Lane | None:
        return self._lanes.get(webhook_id)

    def some_held(self) -> list[str]:
        """Webhooks that may not be called, some in turn."""
        return _some(self._held, self._knobs.webhooks_asked)

    def some_open(self) -> list[str]:
        """Webhooks with an open breaker, some in turn."""
        return _some(self._open, self._knobs.webhooks_asked)

    def busy(self) -> frozenset[int]:
        """Slots of which something is in flight or not recorded yet."""
        lanes = self._lanes.values()
        return frozenset(lane.slot for lane in lanes if len(lane.known) > _waiting(lane))

    def in_flight_of(self) -> dict[str, int]:
        """By webhook."""
        lanes = self._lanes.values()
        return {lane.webhook_id: lane.in_flight for lane in lanes if lane.in_flight > 0}

    def _room(self, lane: Lane) -> int:
        """How many rows may be buffered beyond the present ones."""
        most = min(2 * lane.cap - lane.in_flight, self._knobs.buffer_each)
        return max(0, most - len(lane.buffer))

    def _worth_asking(self, lane: Lane) -> int:
        """So much room is worth a claim: half-empty buffers are, nearly full ones are not."""
        return max(1, min(lane.cap, self._knobs.buffer_each) // 2)

    def _version_at(self, lane: Lane, now: float) -> int:
        """The version as a claim is told it: 0 where it is time to load the webhook once more."""
        return lane.version if now - lane.loaded_at < self._knobs.loaded_most else 0

    def _rests(self, lane: Lane, now: float) -> bool:
        """Nothing may go now, so nothing need wait in memory."""
        if lane.rest is not None and lane.rest.until > now:
            return True
        return lane.open_until > now or (lane.slow > 0 and self._crowded)

    def _has_room(self, lane: Lane, now: float) -> bool:
        return not self._rests(lane, now) and self._room(lane) >= self._worth_asking(lane)

    # --- what is ours -------------------------------------------------------------------------

    def own(self, slots: frozenset[int]) -> None:
        """From now on these slots are ours; what was buffered of others is forgotten."""
        if slots == self.owned:
            return
        self.owned = slots
        self._behind = {ident for ident in self._behind if slot_of(ident) in slots}
        for lane in list(self._lanes.values()):
            if lane.slot not in slots:
                self._empty(lane)
                if not lane.known:
                    self._drop(lane)

    def _empty(self, lane: Lane) -> None:
        """Forget the buffer; the rows are still in the database."""
        lane.known.difference_update(row.id for row in lane.buffer)
        if lane.line is not None:
            lane.known.difference_update(lane.line.empty(lane.buffer))
        self._buffered[lane.behind] -= len(lane.buffer)
        lane.buffer.clear()
        lane.place, lane.rereads = None, True
        self._ask_for(lane)

    def _drop(self, lane: Lane) -> None:
        for index in (self._lanes, *self._more, self._held, self._open, self._lines, self._waits):
            index.pop(lane.webhook_id, None)
        self.rests.forget(lane.webhook_id)
        if lane.line is not None:
            lane.line.close()

    def _asking(self, lane: Lane) -> dict[str, Lane]:
        """Those of its sort of which the database may hold more."""
        return self._more[lane.behind] if lane.line is None else self._lines

    def _ask_for(self, lane: Lane) -> None:
        """The database may hold more for this one; who was told so before comes first."""
        self._asking(lane).setdefault(lane.webhook_id, lane)

    def _has_more(self, lane: Lane) -> bool:
        return lane.webhook_id in self._asking(lane)

    def _has_all(self, lane: Lane) -> None:
        self._asking(lane).pop(lane.webhook_id, None)

    def set_behind(self, lane: Lane, behind: bool) -> None:
        if behind == lane.behind:
            return
        self._buffered[lane.behind] -= len(lane.buffer)
        self._buffered[behind] += len(lane.buffer)
        asked = self._more[lane.behind].pop(lane.webhook_id, None)
        lane.behind = behind
        if asked is not None:
            self._ask_for(lane)
        if behind:
            if len(self._behind) >= self._knobs.behind_most:  # deleted ones stay among them
                self._behind.clear()
            self._behind.add(lane.webhook_id)
        else:
            self._behind.discard(lane.webhook_id)

    def prune(self, now: float) -> None:
        """Forget lanes with nothing to say: memory follows the work, not the webhooks."""
        for ident, lane in list(self._lanes.items()):
            talks = lane.known or lane.failures or self._has_more(lane) or ident in self._held
            talks = talks or (lane.rest is not None and lane.rest.next_at() > now)
            talks = talks or (lane.line is not None and lane.line.waits)
            if not talks and lane.cap == lane.top:
                self._drop(lane)

    # --- what the desk finds --------------------------------------------------------------------

    def mark(self, webhook_ids: Iterable[str], back_to: object | None) -> None:
        """These webhooks have something due. `back_to` is the due time from which to read again
        (None: from the beginning)."""
        for webhook_id in webhook_ids:
            lane = self._met(webhook_id)
            if lane is None or lane.held:
                continue
            if lane.line is not None:
                lane.line.news(back_to)
            elif back_to is None:
                lane.place, lane.rereads = None, True
            elif lane.place is not None and lane.place[0] > back_to:
                lane.place, lane.rereads = (back_to, ""), True
            self._ask_for(lane)

    def _met(self, webhook_id: str) -> Lane | None:
        """A webhook's lane, made now if need be. None: the webhook is not ours."""
        lane = self._lanes.get(webhook_id)
        if lane is None and (slot := slot_of(webhook_id)) in self.owned:
            lane = self._lanes[webhook_id] = Lane(webhook_id, slot)
            lane.behind = webhook_id in self._behind
        return lane

    def meet(self, webhook_ids: Iterable[str]) -> None:
        """There is something of these webhooks."""
        for webhook_id in webhook_ids:
            self._met(webhook_id)

    def expect(
        self, arrived: Iterable[Claimed], others: Iterable[str], now: float
    ) -> tuple[dict[str, list[Claimed]], list[str], list[str]]:
        """What just arrived, by webhook; which of these webhooks must be loaded first; and which
        ones are left to a claim: the `others`, and those for whose loading nobody is to wait."""
        by_webhook: dict[str, list[Claimed]] = {}
        stale: set[str] = set()
        later = set(others)
        for row in arrived:
            ident, lane = row.webhook_id, self._lanes.get(row.webhook_id)
            if ident in later or (lane is not None and lane.held):
                continue  # held: all of it is read when it is free again
            version = self._version_at(lane, now) if lane else 0
            if version != row.version and ident not in stale:
                # To load very many takes long; of those that are behind nobody is to wait for it.
                if len(stale) == self._knobs.loads_most or ident in self._behind:
                    later.add(ident)
                    continue
                stale.add(ident)
            by_webhook.setdefault(ident, []).append(row)
        return by_webhook, list(stale), list(later)

    def stale(self, claims: Iterable[tuple[Want, Sequence[Claimed]]]) -> list[str]:
        """Webhooks of which a claim read another version than their lane knows."""
        return [
            want.webhook_id for want, rows in claims if rows and rows[-1].version != want.version
        ]

    def stale_lines(self, lines: Iterable[Found]) -> list[str]:
        """The same of what was found for lines."""
        return [
            found.question.webhook_id
            for found in lines
            if any(row.version != found.question.version for h in found.heads for row in h.rows)
        ]

    def load(self, webhook_id: str, loaded: Loaded, now: float) -> None:
        """What its lane must know of a webhook."""
        lane = self._lanes.get(webhook_id)
        if lane is None:
            return
        lane.breaker_after = loaded.breaker_after
        if self.rests.load(lane, loaded.rate, now):
            self._stand_again(lane)
        if lane.version == 0:
            self.set_behind(lane, lane.behind or loaded.is_failing)
            lane.cap = 1 if loaded.is_back else loaded.top
            if loaded.breaker_trips:
                self.trip(lane, now + loaded.breaker_left, loaded.breaker_trips)
            if loaded.rest_left and self.rests.resume(lane, loaded.rest_left, loaded.rests, now):
                lane.cap = 1
        elif lane.cap == lane.top:
            lane.cap = loaded.top
        lane.top = loaded.top
        lane.cap = min(lane.cap, lane.top)
        lane.version, lane.timeout, lane.url = loaded.version, loaded.timeout, loaded.url
        lane.loaded_at = now
        if loaded.order != (lane.line.order if lane.line is not None else ""):
            self._put_in_order(lane, loaded.order)
        if lane.line is not None:
            lane.line.stops = loaded.stops_at_dead
        lane.head, lane.failure = loaded.head, loaded.failure

    def wants(self, now: float, most: int) -> list[Want]:
        """What to claim: lanes that may send and have room, `most` rows of those that are behind
        and as many of the others."""
        return [*self._wants(False, now, most), *self._wants(True, now, most)]

    def _wants(self, behind: bool, now: float, most: int) -> list[Want]:
        wants: list[Want] = []
        if self._buffered[behind] >= self._knobs.buffer_low:
            return wants
        lanes = list(self._more[behind].values())
        # Where very many wait, a little for each: all of it for few would have the others wait.
        share = max(1, most // min(max(len(lanes), 1), self._knobs.claimed_for))
        for lane in lanes:
            if not self._has_room(lane, now) or lane.slot not in self.owned:
                continue
            room = min(self._room(lane), max(share, self._worth_asking(lane)), most)
            more = room + len(lane.known) if lane.rereads else room
            wants.append(Want(lane.webhook_id, more, lane.place, self._version_at(lane, now)))
            del self._more[behind][lane.webhook_id]
            self._ask_for(lane)  # the others come first next time
            most -= min(room, share)
            if most <= 0:
                break
        return wants

    def hungry(self, now: float) -> bool:
        """Whether `wants` would find something."""
        return any(
            self._has_room(lane, now) and lane.slot in self.owned
            for more, buffered in zip(self._more, self._buffered, strict=True)
            if buffered < self._knobs.buffer_low
            for lane in more.values()
        ) or any(self._has_question(lane, now) for lane in self._lines.values())

    def scans_later(self, now: float) -> bool:
        """Whether the keys of some webhook are to be looked through, and were a moment ago."""
        return any(self._has_question(lane, now, scans_at=inf) for lane in self._lines.values())

    def _is_full(self, lane: Lane) -> bool:
        return self._buffered[lane.behind] >= self._knobs.buffer_low

    def starves(self, lane: Lane) -> bool:
        """Whether nothing is left to send of what the database may hold more of."""
        if lane.line is not None:
            return len(lane.buffer) <= lane.cap // 2 and self._has_more(lane)
        return not lane.buffer and self._has_more(lane)

    def fill(self, want: Want, claimed: Sequence[Claimed], now: float) -> None:
        """Put what a claim found into its lane."""
        lane = self._lanes.get(want.webhook_id)
        if lane is None or lane.held or lane.slot not in self.owned:
            return
        if lane.line is not None:
            return  # it reads the heads
        if lane.place != want.after or self._rests(lane, now):
            # Emptied while the claim was under way: it must be read from there again. Or it rests,
            # and nothing may wait for that here, where it would look like work.
            self._ask_for(lane)
            return
        room = self._room(lane)
        all_read = len(claimed) < want.room
        # Past what is known there is nothing known.
        lane.rereads = bool(claimed) and claimed[-1].id in lane.known
        new = [row for row in claimed if row.id not in lane.known]
        if len(new) > room:
            all_read = False
            claimed = claimed[: claimed.index(new[room])]
            del new[room:]
        if claimed:
            lane.place = claimed[-1].place
        if all_read:
            self._has_all(lane)
        self._put(lane, new, now)

    def arrive(self, webhook_id: str, rows: list[Claimed], back_to: Any, now: float) -> None:
        """Rows of a webhook that became due after `back_to`, all that no look saw before among
        them: with them all of it is known, unless there was more before."""
        lane = self._lanes.get(webhook_id)
        if lane is None or lane.held:
            return
        if lane.line is not None:
            self.mark([webhook_id], back_to)
            return
        new = [row for row in rows if row.id not in lane.known]
        unfit = self._is_full(lane) or len(new) > self._room(lane) or self._rests(lane, now)
        if unfit or self._has_more(lane):
            self.mark([webhook_id], back_to)
            return
        new.sort(key=attrgetter("place"))
        if new and (lane.place is None or lane.place < new[-1].place):
            lane.place = new[-1].place
        self._put(lane, new, now)

    def _put(self, lane: Lane, new: Sequence[Claimed], now: float) -> None:
        lane.filled_at = now
        lane.known.update([row.id for row in new])
        lane.buffer.extend(new)
        self._buffered[lane.behind] += len(new)
        self._stand(lane)

    def some_waiting(self, since: float) -> dict[str, tuple[int, list[str]]]:
        """What has waited here since then at least, by webhook: its version as loaded, and ids.

        Some webhooks in turn: to ask for very many at once would keep the database from all else.
        """
        found: dict[str, tuple[int, list[str]]] = {}
        rows = 0
        if self._unasked is None:
            self._unasked = iter(list(self._lanes.values()))
        for lane in self._unasked:
            if lane.buffer and lane.filled_at <= since:
                ids = [row.id for row in lane.buffer]
                if lane.line is not None:
                    ids += lane.line.ids_ahead()
                found[lane.webhook_id] = lane.version, ids
                rows += len(ids)
                if len(found) == self._knobs.webhooks_asked or rows >= self._knobs.rows_asked:
                    return found
        self._unasked = None
        return found

    def forget(self, webhook_id: str, ids: Collection[str]) -> None:
        """These are not to be sent any more, unless they are under way already."""
        if lane := self._lanes.get(webhook_id):
            gone = {row.id for row in lane.buffer if row.id in ids}
            if lane.line is not None:
                lane.known.difference_update(lane.line.forget(ids, lane.buffer))
                self._ask_for(lane)
            lane.buffer = deque(row for row in lane.buffer if row.id not in gone)
            lane.known -= gone
            self._buffered[lane.behind] -= len(gone)

    def hold(self, webhook_id: str) -> None:
        """The webhook may not be called."""
        if lane := self._lanes.get(webhook_id):
            self._empty(lane)
            lane.held = True
            self._has_all(lane)
            self._held[webhook_id] = lane

    def free(self, webhook_id: str) -> None:
        """The webhook may be called again; it begins gently."""
        if lane := self._held.pop(webhook_id, None):
            lane.held, lane.place, lane.rereads, lane.cap = False, None, True, 1
            self._ask_for(lane)

    def halt(self) -> None:
        """Nobody may be called: nothing waits here, and nothing is asked for."""
        if self.buffered or any(self._more) or self._lines:
            for lane in self._lanes.values():
                self._empty(lane)
                self._has_all(lane)

    def close_breaker(self, webhook_id: str) -> None:
        if lane := self._open.pop(webhook_id, None):
            lane.open_until, lane.failures, lane.trips = 0.0, 0, 0

    def open_breaker(self, webhook_id: str, until: float, trips: int, now: float) -> None:
        """Somebody else has opened it: interactions failed, or one of them is the probe."""
        lane = self._lanes.get(webhook_id)
        news = self._knobs.breaker_news
        if lane is not None and lane.version and until > max(now, lane.open_until) + news:
            self.trip(lane, until, trips)
            if not lane.held:
                self._empty(lane)

    def trip(self, lane: Lane, until: float, trips: int) -> None:
        """Open the breaker: one probe then, and the next failure opens it again."""
        lane.open_until, lane.trips, lane.cap = until, trips, 1
        lane.failures = max(lane.failures, lane.breaker_after)
        self._open[lane.webhook_id] = lane

    # --- in order -------------------------------------------------------------------------------

    def _put_in_order(self, lane: Lane, order: str) -> None:
        """What is under way comes first, and what is read is read anew."""
        self._empty(lane)
        self._has_all(lane)
        if lane.line is not None:
            lane.line.close()
        lane.line = Line(order, self._kept, self._knobs, lane.known) if order else None
        self._ask_for(lane)

    def _has_question(self, lane: Lane, now: float, *, scans_at: float | None = None) -> bool:
        return (
            lane.line is not None
            and lane.slot in self.owned
            and not self._rests(lane, now)
            and lane.line.has_question(self._keys_room(lane), scans_at or now)
        )

    def _keys_room(self, lane: Lane) -> int:
        if self._buffered[lane.behind] >= self._knobs.buffer_low:
            return 0
        return self._room(lane) if self._room(lane) >= self._worth_asking(lane) else 0

    def questions(self, now: float) -> list[Question]:
        """What the lines ask, some in turn."""
        found = []
        for webhook_id in _some(self._lines, self._knobs.claimed_for):
            lane = self._lines[webhook_id]
            assert lane.line is not None
            if lane.slot not in self.owned or self._rests(lane, now):
                continue
            version, room = self._version_at(lane, now), self._keys_room(lane)
            question = lane.line.asks(webhook_id, version, room, now)
            if question is not None:
                found.append(question)
            elif not lane.line.has_news:
                self._has_all(lane)
        return found

    def answer(self, found: Found, now: float) -> None:
        """What the desk found for a line."""
        lane = self._lanes.get(found.question.webhook_id)
        if lane is None or lane.line is None or lane.held or lane.slot not in self.owned:
            return
        new = lane.line.put(found, lane.known, now)
        lane.known.update(lane.line.ids_ahead())
        if self._rests(lane, now):
            lane.buffer.extend(new)
            self._buffered[lane.behind] += len(new)
            self._empty(lane)
        else:
            self._put(lane, new, now)
        if lane.line.waits:
            self._waits.setdefault(lane.webhook_id, lane)
        if not lane.line.has_news:
            self._has_all(lane)

    def follow(self, lane: Lane, row: Claimed, *, again: bool) -> None:
        """What goes after one that has ended, or is tried `again` later."""
        assert lane.line is not None
        following, forgotten = lane.line.follow(row, again=again)
        lane.known.difference_update(forgotten)
        if following is not None:
            lane.buffer.append(following)
            self._buffered[lane.behind] += 1
            self._stand(lane)
        if lane.line.has_news and not lane.held:
            self._ask_for(lane)

    def remind(self) -> None:
        """Keys that wait are asked again, some of some lanes in turn: a person may have taken their
        heads away."""
        left = self._knobs.keys_reminded
        for webhook_id in list(self._waits):
            lane = self._waits.pop(webhook_id)
            if lane.line is None or not lane.line.waits:
                continue
            self._waits[webhook_id] = lane  # the last one then
            left -= lane.line.remind(left)
            self._ask_for(lane)
            if left <= 0:
                break

    # --- sending --------------------------------------------------------------------------------

    def _stand(self, lane: Lane) -> None:
        if not lane.ready and lane.buffer and lane.in_flight < lane.cap:
            lane.ready = True
            self._orders[lane.behind].append(lane)

    def _stand_again(self, lane: Lane) -> None:
        """It stood aside until now."""
        lane.ready = False
        self._stand(lane)

    def take(self, now: float) -> tuple[Lane, Claimed] | None:
        """The next delivery to send; None when nothing may go now. By turns of a lane that is
        behind and of another, as long as there are both."""
        if self.rests.waiting:
            for lane in self.rests.over(now):
                self._stand_again(lane)
        behind = self._turn_of_those_behind
        self._turn_of_those_behind = not behind
        return self._take(self._orders[behind], now) or self._take(self._orders[not behind], now)

    def _take(self, order: deque[Lane], now: float) -> tuple[Lane, Claimed] | None:
        while order:
            lane = order.popleft()
            lane.ready = False
            if not lane.buffer or lane.in_flight >= lane.cap or lane.open_until > now:
                continue
            if self._crowded and (lane.slow or (lane.in_flight and not lane.answers)):
                continue  # one call shows whether somebody answers
            if lane.rest is not None:
                if lane.rest.next_at() > now:
                    self._stand_aside(lane, lane.rest, now)
                    continue
                lane.rest.went(now)
            row = lane.buffer.popleft()
            self._buffered[lane.behind] -= 1
            lane.in_flight += 1
            self._stand(lane)
            return lane, row
        return None

    def _stand_aside(self, lane: Lane, rest: Rest, now: float) -> None:
        """Until its pace lets the next call go."""
        lane.ready = True
        behind = inf if self._has_more(lane) else len(lane.buffer) - 1
        self.rests.wait(lane, rest, behind, now)

    def rest(self, lane: Lane, seconds: float | None, now: float) -> None:
        """Its receiver asked for a pause, of so many seconds where it said so. Nothing waits here
        meanwhile, and it begins again with one call."""
        if self.rests.ask(lane, seconds, now):
            lane.cap = 1
            self._empty(lane)

    @property
    def _crowded(self) -> bool:
        """Nearly as many calls are slow as may be."""
        return self._slow >= self._crowded_at

    def slowed(self, lane: Lane) -> None:
        """A call of this lane has given its place away, and is still under way."""
        was_crowded = self._crowded
        lane.slow += 1
        self._slow += 1
        if self._crowded:
            for other in [lane] if was_crowded else list(self._lanes.values()):
                if other.slow and other.buffer:
                    self._empty(other)

    def landed(self, lane: Lane, *, ok: bool, away: bool, now: float) -> str:
        """An exchange ended. `away`: it failed so that the receiver seems not to be there.

        Returns what the breaker did: `opened`, `closed` or `""`.
        """
        lane.in_flight -= 1
        lane.answers = not away
        if not ok:
            self.set_behind(lane, True)
        elif not lane.buffer and not self._has_more(lane):
            self.set_behind(lane, False)
        event = ""
        if not away:
            # An answer, even a refusal, says that somebody is there.
            if lane.trips:
                event = "closed"
            self.close_breaker(lane.webhook_id)
            lane.failures = lane.trips = 0
            if ok and (lane.rest is None or lane.rest.is_over(now)):
                lane.cap = min(lane.top, lane.cap * 2)
        else:
            lane.failures += 1
            if 0 < lane.breaker_after <= lane.failures and lane.open_until <= now:
                event = "opened"
                self.trip(lane, now + self._knobs.breaker_pause(lane.trips), lane.trips + 1)
                self._empty(lane)
        self._stand(lane)
        return event

    def quickened(self, lane: Lane) -> None:
        """A slow call has ended."""
        lane.slow -= 1
        self._slow -= 1

    def our_fault(self, lane: Lane, delivery_id: str, now: float) -> None:
        """A fault of this process: the delivery stays due and the lane rests a little."""
        lane.in_flight -= 1
        lane.known.discard(delivery_id)
        if lane.line is not None:
            lane.known.difference_update(lane.line.lost(delivery_id))
        self._empty(lane)
        lane.open_until = max(lane.open_until, now + self._knobs.fault_pause)

    def recorded(self, webhook_id: str, delivery_id: str) -> None:
        """The database knows what became of it; it may be claimed again."""
        if lane := self._lanes.get(webhook_id):
            lane.known.discard(delivery_id)
            if lane.line is not None:
                lane.line.recorded(delivery_id)
                if lane.line.has_news and not lane.held:
                    self._ask_for(lane)
            if not lane.known and lane.slot not in self.owned:
                self._drop(lane)
