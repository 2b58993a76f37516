"""Which delivery goes next: a queue for each webhook with work, its lane. In memory, no I/O.

A lane has a cap of deliveries in flight, a small buffer of claimed rows and a breaker; lanes take
turns, so one webhook's backlog or slowness costs the others nothing. Lanes of webhooks that fail
take turns among themselves, with a buffer of their own, until they have caught up: however many of
them retry at once, the others wait for none of them. All of it is exact without coordination,
because a webhook has one owner.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from ..models.webhook import slot_of
from .handover import Loaded
from .knobs import DEFAULT, Knobs
from .lane import Asking, Crowd, Group, Lane, some_in_turn
from .line import Found
from .lines import Lines
from .rests import Rests
from .store import Claimed, Want


class Lanes:
    """All lanes of a worker, and whose turn it is."""

    def __init__(self, slow_most: int = 1000, knobs: Knobs = DEFAULT) -> None:
        self._knobs = knobs
        self._crowd = Crowd(slow_most, knobs)
        self.rests: Rests[Lane] = Rests(knobs)
        self._groups = tuple(
            Group(behind, self.rests, self._crowd, knobs) for behind in (False, True)
        )
        self.lines = Lines(knobs)
        self._lanes: dict[str, Lane] = {}
        self._turn_of_those_behind = False
        self._behind: set[str] = set()  # webhooks; longer than their lanes are remembered
        self._held: dict[str, Lane] = {}
        self._open: dict[str, Lane] = {}  # with an open breaker
        self._unasked: Iterator[Lane] | None = None  # of those that wait, while some were asked for
        self.owned: frozenset[int] = frozenset()

    @property
    def buffered(self) -> int:
        """Rows that wait in memory."""
        return sum(group.buffered for group in self._groups) + self.lines.ahead

    @property
    def has_room(self) -> bool:
        """Whether more may be claimed of webhooks that are not behind."""
        return not self._groups[False].is_full

    def get(self, webhook_id: str) -> Lane | None:
        return self._lanes.get(webhook_id)

    def in_flight_of(self) -> dict[str, int]:
        """By webhook."""
        lanes = self._lanes.values()
        return {lane.webhook_id: lane.in_flight for lane in lanes if lane.in_flight > 0}

    # --- what is ours -------------------------------------------------------------------------

    def busy(self) -> frozenset[int]:
        """Slots of which something is in flight or not recorded yet."""
        lanes = self._lanes.values()
        return frozenset(lane.slot for lane in lanes if len(lane.known) > lane.waiting)

    def own(self, slots: frozenset[int]) -> None:
        """From now on these slots are ours; what was buffered of others is forgotten."""
        if slots == self.owned:
            return
        self.owned = slots
        self._behind = {ident for ident in self._behind if slot_of(ident) in slots}
        for lane in list(self._lanes.values()):
            lane.is_ours = lane.slot in slots
            if not lane.is_ours:
                self._empty(lane)
                if not lane.known:
                    self._drop(lane)

    def _met(self, webhook_id: str) -> Lane | None:
        """A webhook's lane, made now if need be. None: the webhook is not ours."""
        lane = self._lanes.get(webhook_id)
        if lane is None and (slot := slot_of(webhook_id)) in self.owned:
            group = self._groups[webhook_id in self._behind]
            lane = self._lanes[webhook_id] = Lane(webhook_id, slot, group)
        return lane

    def _drop(self, lane: Lane) -> None:
        lane.group.has_all(lane)
        self.lines.drop(lane)
        for index in (self._lanes, self._held, self._open):
            index.pop(lane.webhook_id, None)
        self.rests.forget(lane.webhook_id)

    def prune(self, now: float) -> None:
        """Forget lanes with nothing to say: memory follows the work, not the webhooks."""
        for lane in list(self._lanes.values()):
            talks = (
                lane.known or lane.breaker.failures or lane.held or self._asker(lane).has_more(lane)
            )
            talks = talks or (lane.rest is not None and lane.rest.next_at() > now)
            talks = talks or (lane.line is not None and lane.line.waits)
            if not talks and lane.cap == lane.top:
                self._drop(lane)

    # --- what the database may hold more of ---------------------------------------------------

    def _asker(self, lane: Lane) -> Asking:
        """Who asks the database for more of a lane."""
        return lane.group if lane.line is None else self.lines

    def _empty(self, lane: Lane) -> None:
        """Forget the buffer; the rows are still in the database."""
        lane.group.empty(lane)
        self._asker(lane).ask_for(lane)

    def mark(self, webhook_ids: Iterable[str], back_to: object | None) -> None:
        """These webhooks have something due. `back_to` is the due time from which to read again
        (None: from the beginning)."""
        for webhook_id in webhook_ids:
            lane = self._met(webhook_id)
            if lane is None or lane.held:
                continue
            if lane.line is not None:
                lane.line.news(back_to)
            else:
                lane.go_back(back_to)
            self._asker(lane).ask_for(lane)

    def meet(self, webhook_ids: Iterable[str]) -> None:
        """There is something of these webhooks."""
        for webhook_id in webhook_ids:
            self._met(webhook_id)

    def wants(self, now: float, most: int) -> list[Want]:
        """What to claim: lanes that may send and have room, `most` rows of those that are behind
        and as many of the others."""
        return [want for group in self._groups for want in group.wants(now, most)]

    def hungry(self, now: float) -> bool:
        """Whether the database is to be asked for more at once."""
        return any(group.hungry(now) for group in self._groups) or self.lines.hungry(now)

    def starves(self, lane: Lane) -> bool:
        """Whether nothing is left to send of what the database may hold more of."""
        if lane.line is not None:
            return len(lane.buffer) <= lane.cap // 2 and self.lines.has_more(lane)
        return not lane.buffer and lane.group.has_more(lane)

    # --- what is found --------------------------------------------------------------------------

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
            version = lane.version_at(now) if lane else 0
            if version != row.version and ident not in stale:
                # To load very many takes long; of those that are behind nobody is to wait for it.
                if len(stale) == self._knobs.loads_most or ident in self._behind:
                    later.add(ident)
                    continue
                stale.add(ident)
            by_webhook.setdefault(ident, []).append(row)
        return by_webhook, list(stale), list(later)

    def load(self, webhook_id: str, loaded: Loaded, now: float) -> None:
        """What its lane must know of a webhook."""
        lane = self._lanes.get(webhook_id)
        if lane is None:
            return
        is_new = lane.version == 0
        lane.learn(loaded, now)
        if self.rests.load(lane, loaded.rate, now):
            self._stand_again(lane)
        if is_new:
            self.set_behind(lane, lane.behind or loaded.is_failing)
            if loaded.breaker_trips:
                self.trip(lane, now + loaded.breaker_left, loaded.breaker_trips)
            if loaded.rest_left and self.rests.resume(lane, loaded.rest_left, loaded.rests, now):
                lane.cap = 1
        if loaded.order != (lane.line.order if lane.line is not None else ""):
            self._put_in_order(lane, loaded.order)
        if lane.line is not None:
            lane.line.stops = loaded.stops_at_dead

    def _put_in_order(self, lane: Lane, order: str) -> None:
        """What is read is read anew, by whoever asks for it then."""
        lane.group.empty(lane)
        self._asker(lane).has_all(lane)
        self.lines.put_in_order(lane, order)
        self._asker(lane).ask_for(lane)

    def _of_ours(self, webhook_id: str) -> Lane | None:
        """The lane of a webhook to which something may be sent."""
        lane = self._lanes.get(webhook_id)
        return None if lane is None or lane.held or not lane.is_ours else lane

    def fill(self, want: Want, claimed: Sequence[Claimed], now: float) -> None:
        """Put what a claim found into its lane; one that sends in order reads its heads instead."""
        lane = self._of_ours(want.webhook_id)
        if lane is not None and lane.line is None:
            lane.group.fill(lane, want, claimed, now)

    def arrive(self, webhook_id: str, rows: list[Claimed], back_to: Any, now: float) -> None:
        """Rows of a webhook that became due after `back_to`, all that no look saw before among
        them."""
        lane = self._lanes.get(webhook_id)
        if lane is None or lane.held:
            return
        if lane.line is not None or not lane.group.arrive(lane, rows, now):
            self.mark([webhook_id], back_to)

    def answer(self, found: Found, now: float) -> None:
        """What was found for a line."""
        lane = self._of_ours(found.question.webhook_id)
        if lane is not None and lane.line is not None:
            self.lines.answer(lane, found, now)

    # --- what people change -------------------------------------------------------------------

    def some_held(self) -> list[str]:
        """Webhooks that may not be called, some in turn."""
        held = some_in_turn(self._held, self._knobs.webhooks_asked)
        return [lane.webhook_id for lane in held]

    def some_open(self) -> list[str]:
        """Webhooks with an open breaker, some in turn."""
        opened = some_in_turn(self._open, self._knobs.webhooks_asked)
        return [lane.webhook_id for lane in opened]

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
            lane.group.forget(lane, ids)
            if lane.line is not None:
                self.lines.ask_for(lane)

    def hold(self, webhook_id: str) -> None:
        """The webhook may not be called."""
        if lane := self._lanes.get(webhook_id):
            lane.group.empty(lane)
            self._asker(lane).has_all(lane)
            lane.held = True
            self._held[webhook_id] = lane

    def free(self, webhook_id: str) -> None:
        """The webhook may be called again; it begins gently."""
        if lane := self._held.pop(webhook_id, None):
            lane.held, lane.cap = False, 1
            lane.go_back(None)
            self._asker(lane).ask_for(lane)

    def halt(self) -> None:
        """Nobody may be called: nothing waits here, and nothing is asked for."""
        if self.buffered or self.lines.asks or any(group.asks for group in self._groups):
            for lane in self._lanes.values():
                lane.group.empty(lane)
                self._asker(lane).has_all(lane)

    # --- breakers and rests -------------------------------------------------------------------

    def trip(self, lane: Lane, until: float, trips: int) -> None:
        """Open its breaker."""
        lane.breaker.open(until, trips)
        self._opened(lane)

    def _opened(self, lane: Lane) -> None:
        lane.cap = 1  # the probe
        self._open[lane.webhook_id] = lane

    def open_breaker(self, webhook_id: str, until: float, trips: int, now: float) -> None:
        """Somebody else has opened it: interactions failed, or one of them is the probe."""
        lane = self._lanes.get(webhook_id)
        if lane is None or not lane.version:
            return
        if lane.breaker.heard(until, trips, now, self._knobs):
            self._opened(lane)
            if not lane.held:
                self._empty(lane)

    def close_breaker(self, webhook_id: str) -> None:
        """Somebody else has closed it."""
        if lane := self._open.pop(webhook_id, None):
            lane.breaker.answered()

    def rest(self, lane: Lane, seconds: float | None, now: float) -> None:
        """Its receiver asked for a pause, of so many seconds where it said so. Nothing waits here
        meanwhile, and it begins again with one call."""
        if self.rests.ask(lane, seconds, now):
            lane.cap = 1
            self._empty(lane)

    def set_behind(self, lane: Lane, behind: bool) -> None:
        if behind == lane.behind:
            return
        self._groups[behind].join(lane)
        if behind:
            if len(self._behind) >= self._knobs.behind_most:  # deleted ones stay among them
                self._behind.clear()
            self._behind.add(lane.webhook_id)
        else:
            self._behind.discard(lane.webhook_id)

    # --- sending --------------------------------------------------------------------------------

    def take(self, now: float) -> tuple[Lane, Claimed] | None:
        """The next delivery to send; None when nothing may go now. By turns of a lane that is
        behind and of another, as long as there are both."""
        if self.rests.waiting:
            for lane in self.rests.over(now):
                self._stand_again(lane)
        behind = self._turn_of_those_behind
        self._turn_of_those_behind = not behind
        return self._groups[behind].take(now) or self._groups[not behind].take(now)

    def _stand_again(self, lane: Lane) -> None:
        """It stood aside until now."""
        lane.ready = False
        lane.group.stand(lane)

    def slowed(self, lane: Lane) -> None:
        """A call of this lane has given its place away, and is still under way."""
        was_crowded = self._crowd.is_full
        lane.slow += 1
        self._crowd.count(1)
        if self._crowd.is_full:
            for other in [lane] if was_crowded else list(self._lanes.values()):
                if other.slow and other.buffer:
                    self._empty(other)

    def quickened(self, lane: Lane) -> None:
        """A slow call has ended."""
        lane.slow -= 1
        self._crowd.count(-1)

    def landed(self, lane: Lane, *, ok: bool, away: bool, now: float) -> str:
        """An exchange ended. `away`: it failed so that the receiver seems not to be there.

        Returns what the breaker did: `opened`, `closed` or `""`.
        """
        lane.in_flight -= 1
        lane.answers = not away
        if not ok:
            self.set_behind(lane, True)
        elif lane.group.is_behind and not lane.buffer and not self._asker(lane).has_more(lane):
            self.set_behind(lane, False)
        event = ""
        if away:
            if lane.breaker.failed(now, self._knobs):
                event = "opened"
                self._opened(lane)
                self._empty(lane)
        else:
            if lane.breaker.answered():
                event = "closed"
                self._open.pop(lane.webhook_id, None)
            if ok and (lane.rest is None or lane.rest.is_over(now)):
                lane.cap = min(lane.top, lane.cap * 2)
        lane.group.stand(lane)
        return event

    def our_fault(self, lane: Lane, delivery_id: str, now: float) -> None:
        """A fault of this process: the delivery stays due and the lane rests a little."""
        lane.in_flight -= 1
        lane.known.discard(delivery_id)
        if lane.line is not None:
            lane.known.difference_update(lane.line.lost(delivery_id))
        self._empty(lane)
        lane.breaker.pause(now + self._knobs.fault_pause)

    def recorded(self, webhook_id: str, delivery_id: str) -> None:
        """The database knows what became of it; it may be claimed again."""
        if lane := self._lanes.get(webhook_id):
            lane.known.discard(delivery_id)
            if lane.line is not None:
                self.lines.recorded(lane, delivery_id)
            if not lane.known and not lane.is_ours:
                self._drop(lane)
