"""A lane, the queue of one webhook in the memory of its worker; and the groups in which lanes take
turns. No I/O.

There are two groups: the lanes of webhooks that fail, until they have caught up, and all others.
Each has a buffer of its own, and asks the database for no more than that holds.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from operator import attrgetter

from ..rules.failures import Failure
from .breaker import Breaker
from .handover import Loaded
from .http.message import Head
from .knobs import Knobs
from .line import Line
from .rests import Rest, Rests
from .store import Claimed, Place, Want

CAP_AT_FIRST = 10  # of a webhook, until its own is known


def some_in_turn(index: "dict[str, Lane]", most: int) -> "list[Lane]":
    """The first of these, which are the last ones then."""
    some = list(islice(index, most))
    for ident in some:
        index[ident] = index.pop(ident)
    return [index[ident] for ident in some]


class Crowd:
    """Of the calls that go on without a place because they are slow: how many there are."""

    def __init__(self, most: int, knobs: Knobs) -> None:
        self._full_at = knobs.crowded_at * most
        self._calls = 0
        self.is_full = self._full_at <= 0  # nearly as many are slow as may be

    def count(self, calls: int) -> None:
        self._calls += calls
        self.is_full = self._calls >= self._full_at


@dataclass(slots=True, eq=False)
class Lane:
    """What the owner knows of one webhook."""

    webhook_id: str
    slot: int
    group: "Group"  # in which it takes turns; changed by `Lanes.set_behind` alone
    is_ours: bool = True  # its slot is owned
    top: int = CAP_AT_FIRST  # the webhook's own cap
    cap: int = CAP_AT_FIRST  # now: 1 after it became callable again, doubling at each success
    in_flight: int = 0
    slow: int = 0  # of these, how many have given their place away
    answers: bool = False  # its last call was answered
    held: bool = False
    place: Place | None = None  # read up to
    rereads: bool = False  # from an earlier place: what is known already comes again
    buffer: deque[Claimed] = field(default_factory=deque)
    known: set[str] = field(default_factory=set)  # buffered, in flight or not yet recorded
    ready: bool = False  # stands in the order of a group
    version: int = 0  # of the webhook as loaded; 0: not loaded
    loaded_at: float = 0.0  # monotonic seconds
    head: Head | None = None
    failure: Failure | None = None  # why there is no head
    timeout: float = 10.0
    url: str = ""
    filled_at: float = 0.0  # monotonic seconds
    large: asyncio.Semaphore | None = None  # of calls with a large body; made with the first
    breaker: Breaker = field(default_factory=Breaker)
    rest: Rest | None = None  # of one with a rate of its own, or whose receiver asked for it
    # Where something goes in order: the buffer holds the heads alone, one of each key.
    line: Line | None = None

    @property
    def behind(self) -> bool:
        """A delivery failed, and the lane has not caught up since."""
        return self.group.is_behind

    @property
    def waiting(self) -> int:
        """How many rows wait in memory."""
        return len(self.buffer) + (self.line.ahead if self.line is not None else 0)

    def rests(self, now: float) -> bool:
        """Nothing may go now, so nothing need wait in memory."""
        if self.rest is not None and self.rest.until > now:
            return True
        return self.breaker.until > now or (self.slow > 0 and self.group.crowd.is_full)

    def version_at(self, now: float) -> int:
        """The version as a claim is told it: 0 where it is time to load the webhook once more."""
        return self.version if now - self.loaded_at < self.group.knobs.loaded_most else 0

    def learn(self, loaded: Loaded, now: float) -> None:
        """What was loaded of the webhook. A cap that is on its way back goes on from where it
        is."""
        if self.version == 0:
            self.cap = 1 if loaded.is_back else loaded.top
        elif self.cap == self.top:
            self.cap = loaded.top
        self.top, self.cap = loaded.top, min(self.cap, loaded.top)
        self.version, self.loaded_at = loaded.version, now
        self.timeout, self.url = loaded.timeout, loaded.url
        self.head, self.failure = loaded.head, loaded.failure
        self.breaker.after = loaded.breaker_after

    def go_back(self, due: object | None) -> None:
        """Read again from that due time on, where the lane has read further; None: from the
        beginning."""
        if due is None:
            self.place, self.rereads = None, True
        elif self.place is not None and self.place[0] > due:
            self.place, self.rereads = (due, ""), True


class Asking:
    """Lanes of which the database may hold more."""

    def __init__(self) -> None:
        self._asking: dict[str, Lane] = {}

    @property
    def asks(self) -> bool:
        """Whether there is one."""
        return bool(self._asking)

    def ask_for(self, lane: Lane) -> None:
        """The database may hold more of its webhook; who was told so before comes first."""
        self._asking.setdefault(lane.webhook_id, lane)

    def has_more(self, lane: Lane) -> bool:
        return lane.webhook_id in self._asking

    def has_all(self, lane: Lane) -> None:
        self._asking.pop(lane.webhook_id, None)


class Group(Asking):
    """Lanes that take turns and share a buffer. Of those that ask none has a line."""

    def __init__(self, is_behind: bool, rests: Rests[Lane], crowd: Crowd, knobs: Knobs) -> None:
        super().__init__()
        self.is_behind = is_behind
        self.crowd = crowd
        self.knobs = knobs
        self.buffered = 0  # rows of its lanes that wait in memory to be sent
        self._rests = rests
        self._order: deque[Lane] = deque()

    # --- whose turn it is -----------------------------------------------------------------------

    def stand(self, lane: Lane) -> None:
        """At the end of the order, where the lane has something to send."""
        if not lane.ready and lane.buffer and lane.in_flight < lane.cap:
            lane.ready = True
            self._order.append(lane)

    def take(self, now: float) -> tuple[Lane, Claimed] | None:
        """The next delivery of these to send; None when nothing may go now."""
        order, is_crowded = self._order, self.crowd.is_full
        while order:
            lane = order.popleft()
            lane.ready = False
            if not lane.buffer or lane.in_flight >= lane.cap or lane.breaker.until > now:
                continue
            if is_crowded and (lane.slow or (lane.in_flight and not lane.answers)):
                continue  # one call shows whether somebody answers
            if lane.rest is not None:
                if lane.rest.next_at() > now:
                    self._stand_aside(lane, lane.rest, now)
                    continue
                lane.rest.went(now)
            row = lane.buffer.popleft()
            lane.in_flight += 1
            group = lane.group  # another one, where it has changed since it stood here
            group.buffered -= 1
            group.stand(lane)
            return lane, row
        return None

    def _stand_aside(self, lane: Lane, rest: Rest, now: float) -> None:
        """Until its pace lets the next call go."""
        lane.ready = True
        has_more = lane.group.has_more(lane) if lane.line is None else lane.line.has_news
        self._rests.wait(lane, rest, inf if has_more else lane.waiting - 1, now)

    # --- what waits in memory -------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """No more is asked for."""
        return self.buffered >= self.knobs.buffer_low

    def put(self, lane: Lane, new: Sequence[Claimed], now: float) -> None:
        lane.filled_at = now
        lane.known.update([row.id for row in new])
        lane.buffer.extend(new)
        self.buffered += len(new)
        self.stand(lane)

    def follow(self, lane: Lane, row: Claimed) -> None:
        """A row that is known goes after another one."""
        lane.buffer.append(row)
        self.buffered += 1
        self.stand(lane)

    def empty(self, lane: Lane) -> None:
        """Forget what waits; the rows are still in the database."""
        lane.known.difference_update(row.id for row in lane.buffer)
        if lane.line is not None:
            lane.known.difference_update(lane.line.empty(lane.buffer))
        self.buffered -= len(lane.buffer)
        lane.buffer.clear()
        lane.go_back(None)

    def forget(self, lane: Lane, ids: Collection[str]) -> None:
        """These rows are not to be sent any more, unless they are under way already."""
        gone = {row.id for row in lane.buffer if row.id in ids}
        if lane.line is not None:
            lane.known.difference_update(lane.line.forget(ids, lane.buffer))
        lane.buffer = deque(row for row in lane.buffer if row.id not in gone)
        lane.known -= gone
        self.buffered -= len(gone)

    def join(self, lane: Lane) -> None:
        """From now on it takes turns with these."""
        before, lane.group = lane.group, self
        before.buffered -= len(lane.buffer)
        self.buffered += len(lane.buffer)
        if before.has_more(lane):
            before.has_all(lane)
            self.ask_for(lane)

    # --- what is asked of the database ----------------------------------------------------------

    def room(self, lane: Lane) -> int:
        """How many rows may be buffered beyond the present ones."""
        most = min(2 * lane.cap - lane.in_flight, self.knobs.buffer_each)
        return max(0, most - len(lane.buffer))

    def worth_asking(self, lane: Lane) -> int:
        """So much room is worth a claim: half-empty buffers are, nearly full ones are not."""
        return max(1, min(lane.cap, self.knobs.buffer_each) // 2)

    def _may_ask(self, lane: Lane, now: float) -> bool:
        return lane.is_ours and not lane.rests(now) and self.room(lane) >= self.worth_asking(lane)

    def hungry(self, now: float) -> bool:
        """Whether `wants` would find something."""
        lanes = self._asking.values()
        return not self.is_full and any(self._may_ask(lane, now) for lane in lanes)

    def wants(self, now: float, most: int) -> list[Want]:
        """What to claim: lanes that may send and have room, `most` rows in all."""
        wants: list[Want] = []
        if self.is_full:
            return wants
        lanes = list(self._asking.values())
        # Where very many wait, a little for each: all of it for few would have the others wait.
        share = max(1, most // min(max(len(lanes), 1), self.knobs.claimed_for))
        for lane in lanes:
            if not self._may_ask(lane, now):
                continue
            room = min(self.room(lane), max(share, self.worth_asking(lane)), most)
            more = room + len(lane.known) if lane.rereads else room
            wants.append(Want(lane.webhook_id, more, lane.place, lane.version_at(now)))
            self.has_all(lane)
            self.ask_for(lane)  # the others come first next time
            most -= min(room, share)
            if most <= 0:
                break
        return wants

    # --- what is found --------------------------------------------------------------------------

    def fill(self, lane: Lane, want: Want, claimed: Sequence[Claimed], now: float) -> None:
        """What a claim found."""
        if lane.place != want.after or lane.rests(now):
            # Emptied while the claim was under way: it must be read from there again. Or it rests,
            # and nothing may wait for that here, where it would look like work.
            self.ask_for(lane)
            return
        room = self.room(lane)
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
            self.has_all(lane)
        self.put(lane, new, now)

    def arrive(self, lane: Lane, rows: Sequence[Claimed], now: float) -> bool:
        """What a look found, all that no look saw before: with it all of it is known, unless there
        was more before. False where it must be claimed instead."""
        new = [row for row in rows if row.id not in lane.known]
        if self.is_full or len(new) > self.room(lane) or lane.rests(now) or self.has_more(lane):
            return False
        new.sort(key=attrgetter("place"))
        if new and (lane.place is None or lane.place < new[-1].place):
            lane.place = new[-1].place
        self.put(lane, new, now)
        return True
