"""Which delivery goes next: a lane for each webhook with work. In memory, no I/O.

A lane has a cap of deliveries in flight, a small buffer of claimed rows and a breaker; lanes take
turns, so one webhook's backlog or slowness costs the others nothing. All of it is exact without
coordination, because a webhook has one owner.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..models.webhook import slot_of
from ..rules.failures import Failure
from .message import Head
from .queue import Claimed, Want

BREAKER_AFTER = 10  # failures in a row that say the receiver is not there
BREAKER_FIRST = 30.0  # seconds until the first probe; doubles with each that fails
BREAKER_LONGEST = 600.0


@dataclass(slots=True)
class Lane:
    """What the owner knows of one webhook."""

    webhook_id: str
    slot: int
    top: int = 10  # the webhook's own cap
    cap: int = 10  # now: 1 after it became callable again, doubling at each success
    in_flight: int = 0
    more: bool = True  # the database may hold more that is due
    held: bool = False
    place: tuple[object, str] | None = None  # read up to
    buffer: deque[Claimed] = field(default_factory=deque)
    known: set[str] = field(default_factory=set)  # buffered, in flight or not yet recorded
    ready: bool = False  # stands in the order
    head: Head | None = None
    failure: Failure | None = None  # why there is no head
    version: int = 0
    timeout: float = 10.0
    url: str = ""
    failures: int = 0
    trips: int = 0
    open_until: float = 0.0  # monotonic seconds

    @property
    def room(self) -> int:
        """How many rows may be buffered beyond the present ones."""
        return max(0, 2 * self.cap - self.in_flight - len(self.buffer))


class Lanes:
    """All lanes of a worker, and whose turn it is."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._order: deque[Lane] = deque()
        self.owned: frozenset[int] = frozenset()
        self.buffered = 0

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def get(self, webhook_id: str) -> Lane | None:
        return self._lanes.get(webhook_id)

    def own(self, slots: frozenset[int]) -> None:
        """From now on these slots are ours; what was buffered of others is forgotten."""
        if slots == self.owned:
            return
        self.owned = slots
        for lane in list(self._lanes.values()):
            if lane.slot not in slots:
                self.empty(lane)
                if not lane.known:
                    del self._lanes[lane.webhook_id]

    def empty(self, lane: Lane) -> None:
        """Forget the buffer; the rows are still in the database."""
        for row in lane.buffer:
            lane.known.discard(row.id)
        self.buffered -= len(lane.buffer)
        lane.buffer.clear()
        lane.place = None
        lane.more = True

    def mark(self, webhook_ids: Iterable[str], back_to: object | None) -> None:
        """These webhooks have something due. `back_to` is the due time from which to read again
        (None: from the beginning)."""
        for webhook_id in webhook_ids:
            lane = self._lanes.get(webhook_id)
            if lane is None:
                slot = slot_of(webhook_id)
                if slot not in self.owned:
                    continue
                lane = self._lanes[webhook_id] = Lane(webhook_id, slot)
            lane.more = True
            if back_to is None or lane.place is None:
                lane.place = None
            elif lane.place[0] > back_to:  # type: ignore[operator]
                lane.place = (back_to, "")

    def wants(self, now: float, most: int) -> list[Want]:
        """What to claim: lanes that may send and have room, `most` rows in all."""
        wants = []
        for lane in self._lanes.values():
            if not lane.more or lane.slot not in self.owned or lane.open_until > now:
                continue
            room = min(lane.room, most)
            # Half-empty buffers are worth a question, nearly full ones are not.
            if room * 2 >= lane.cap:
                wants.append(Want(lane.webhook_id, room + len(lane.known), lane.place))
                most -= room
                if most <= 0:
                    break
        return wants

    def fill(self, want: Want, claimed: list[Claimed]) -> None:
        """Put what a claim found into its lane."""
        lane = self._lanes.get(want.webhook_id)
        if lane is None or lane.slot not in self.owned:
            return
        lane.more = len(claimed) >= want.room
        room = lane.room
        for row in claimed:
            if row.id in lane.known:
                lane.place = row.place
                continue
            if room == 0:
                lane.more = True
                break
            room -= 1
            lane.place = row.place
            lane.known.add(row.id)
            lane.buffer.append(row)
            self.buffered += 1
        if claimed and lane.held:
            lane.held = False
            lane.cap = 1
        self._stand(lane)

    def hold(self, webhook_id: str) -> None:
        """The webhook may not be called; its lane begins gently when it may."""
        if lane := self._lanes.get(webhook_id):
            self.empty(lane)
            lane.held, lane.more = True, False

    def ask_held_again(self) -> None:
        for lane in self._lanes.values():
            if lane.held:
                lane.more = True

    def _stand(self, lane: Lane) -> None:
        if not lane.ready and lane.buffer and lane.in_flight < lane.cap:
            lane.ready = True
            self._order.append(lane)

    def take(self, now: float) -> tuple[Lane, Claimed] | None:
        """The next delivery to send; None when nothing may go now."""
        while self._order:
            lane = self._order.popleft()
            lane.ready = False
            if not lane.buffer or lane.in_flight >= lane.cap or lane.open_until > now:
                continue
            row = lane.buffer.popleft()
            self.buffered -= 1
            lane.in_flight += 1
            self._stand(lane)
            return lane, row
        return None

    def landed(self, lane: Lane, *, ok: bool, counts: bool, now: float) -> bool:
        """An exchange ended. `counts`: a failure that says the receiver is not there.

        True when this tripped the breaker.
        """
        lane.in_flight -= 1
        tripped = False
        if ok:
            lane.failures = lane.trips = 0
            lane.open_until = 0.0
            lane.cap = min(lane.top, lane.cap * 2)
        elif counts:
            lane.failures += 1
            if lane.failures >= BREAKER_AFTER and lane.open_until <= now:
                tripped = True
                pause = min(BREAKER_FIRST * 2**lane.trips, BREAKER_LONGEST)
                lane.trips += 1
                lane.open_until = now + pause
                lane.cap = 1  # the probe
                self.empty(lane)
        self._stand(lane)
        return tripped

    def recorded(self, webhook_id: str, delivery_id: str) -> None:
        """The database knows what became of it; it may be claimed again."""
        if lane := self._lanes.get(webhook_id):
            lane.known.discard(delivery_id)
            if not lane.known and lane.slot not in self.owned:
                del self._lanes[webhook_id]

    def prune(self) -> None:
        """Forget lanes with nothing to say: memory follows the work, not the webhooks."""
        for lane in list(self._lanes.values()):
            idle = not (lane.known or lane.more or lane.held or lane.failures)
            if idle and lane.cap == lane.top:
                del self._lanes[lane.webhook_id]

    def busy(self) -> frozenset[int]:
        """Slots of which something is in flight or not recorded yet."""
        return frozenset(
            lane.slot for lane in self._lanes.values() if len(lane.known) > len(lane.buffer)
        )

    def next_probe(self, now: float) -> float | None:
        """Seconds until the next open breaker lets a probe pass."""
        times = [lane.open_until - now for lane in self._lanes.values() if lane.open_until > now]
        return min(times, default=None)
