"""Own → discover → claim → load: what the event loop asks the database in one cycle, and where the
answers go. Each question is a hand-over to the one thread that reads, of plain data.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from django.db import DatabaseError, connections

from ..fields import WrongKey
from ..models import sequences
from . import calls
from .completer import Completer
from .desk import Desk
from .exchange import Asked, Outcome, Request
from .knobs import Knobs
from .lanes import Lane, Lanes
from .store import Claimed, microseconds
from .threads import OneThread, patiently
from .turn import Answer, Heartbeat, Loads, Turn

log = logging.getLogger("webhooks")


class CannotStart(Exception):
    """The database is not one that a worker can work with; the text is for the operator."""


def _open(alias: str, knobs: Knobs, once: bool) -> Desk:
    desk = Desk(alias, knobs, once=once)
    try:
        if not desk.is_migrated():
            raise CannotStart(
                f"The database {connections[alias].settings_dict['NAME']} has no tables of this "
                "version. Is it the right one? Then run `manage.py migrate` first."
            )
        sequences.catch_up(alias)
    except Exception:
        desk.reset()
        raise
    return desk


class Fetcher:
    """Belongs to the event loop. Its desk belongs to the thread, and is only named here."""

    def __init__(
        self, alias: str, lanes: Lanes, completer: Completer, knobs: Knobs, *, once: bool
    ) -> None:
        self._alias = alias
        self._lanes = lanes
        self._completer = completer  # what it writes, the lanes learn when a read begins
        self._knobs = knobs
        self._once = once
        self._thread = OneThread("webhooks-desk")
        self._desk: Desk | None = None
        self._clock_ahead: int | None = None  # as the last answer said
        self._ownership_due = self._heartbeat_due = 0.0  # monotonic seconds
        self.holds = False  # the site is held, and nothing waits in the lanes
        # When the last question began that was answered: after it the process may have been frozen.
        self.heard_at = time.monotonic()

    # --- the cycle ----------------------------------------------------------------------------

    async def cycle(
        self, *, look: bool, verifying: Mapping[str, int], beat: Callable[[], Heartbeat]
    ) -> Answer:
        """Ask, and fill the lanes. Raises DatabaseError, CannotStart, SharedSession."""
        turn = self._turn(look)
        turn.verifying = dict(verifying)
        if turn.busy is not None:
            # What was claimed a while ago, and who may not be called, may have changed.
            turn.held = [i for i in self._lanes.some_held() if not self._completer.is_kept(i)]
            turn.waiting = self._lanes.some_waiting(time.monotonic() - self._knobs.ownership_every)
            is_untold = self._completer.is_untold
            turn.open_breakers = [i for i in self._lanes.some_open() if not is_untold(i)]
            resting = self._lanes.rests.some_asked(time.monotonic())
            turn.resting = [ident for ident in resting if not is_untold(ident)]
        asked = time.monotonic()
        answer = await self._ask(turn, beat)
        self._lanes.own(answer.owned)
        if answer.site_held != self.holds:
            self.holds, self._heartbeat_due = answer.site_held, 0.0  # whoever holds it waits
        if self.holds:
            self.heard_at = asked
            self._lanes.halt()
            return answer
        now = time.monotonic()
        arrived, stale, later = self._lanes.expect(answer.arrived, answer.marked, now)
        stale += [*answer.stale, *answer.changed]
        self._lanes.meet(arrived)
        loads = await self._load(stale) if stale else Loads()
        self.heard_at = asked
        self._apply(answer, loads)
        # After the fills: a row that was found behind a place must be read by the next claim.
        self._lanes.mark(later, answer.back_to)
        self._arrive(arrived, loads, answer.back_to)
        self._lanes.mark(answer.waiting, None)
        if answer.scanned:
            self._lanes.prune(time.monotonic())
        return answer

    async def leave_slots(self, beat: Callable[[], Heartbeat]) -> None:
        """Give away what is not busy, and take nothing more."""
        turn = self._turn(False)
        turn.wants, turn.lines, turn.room = (), (), False
        turn.leaving, turn.busy = True, self._lanes.busy()
        await self._ask(turn, beat)

    def _turn(self, look: bool) -> Turn:
        now, lanes = time.monotonic(), self._lanes
        for item in self._completer.begin_read():
            lanes.recorded(item.attempt.webhook_id, item.attempt.request_id)
            if item.due_at is not None and item.due_at <= self.now():
                # Due again since before it was written: no look finds it any more.
                lanes.mark([item.attempt.webhook_id], None)
        turn = Turn(look=look, room=lanes.has_room)
        turn.wants = lanes.wants(now, self._knobs.claim_most)
        if now >= self._ownership_due:
            self._ownership_due = now + self._knobs.ownership_every
            turn.busy = lanes.busy()
            lanes.lines.remind()
        turn.lines = lanes.lines.questions(now)
        return turn

    async def _ask(self, turn: Turn, beat: Callable[[], Heartbeat]) -> Answer:
        if self._desk is None:
            self._desk = await self._thread.run(_open, self._alias, self._knobs, self._once)
        if time.monotonic() >= self._heartbeat_due:
            knobs = self._knobs
            every = knobs.heartbeat_held if self.holds else knobs.heartbeat_every
            self._heartbeat_due = time.monotonic() + every
            turn.heartbeat = beat()
        asked = self._thread.run(self._desk.turn, turn)
        answer: Answer = await patiently(asked, self._desk.hang_up, self._knobs)
        self._clock_ahead = answer.clock_ahead
        return answer

    async def _load(self, webhook_ids: list[str]) -> Loads:
        assert self._desk is not None
        asked = self._thread.run(self._desk.load, webhook_ids)
        loads: Loads = await patiently(asked, self._desk.hang_up, self._knobs)
        return loads

    def _apply(self, answer: Answer, loads: Loads) -> None:
        lanes, completer, now = self._lanes, self._completer, time.monotonic()
        for webhook_id, loaded in loads.loaded.items():
            lanes.load(webhook_id, loaded, now)
        for want, claimed in answer.claimed:
            if claimed and self._is_unknown(lanes.get(want.webhook_id), loads):
                lanes.hold(want.webhook_id)
            else:
                lanes.fill(want, claimed, now)
        for found in answer.lines:
            if found.heads and self._is_unknown(lanes.get(found.question.webhook_id), loads):
                lanes.hold(found.question.webhook_id)
            else:
                lanes.answer(found, now)
        for webhook_id in (*answer.held, *(i for i in answer.changed if i not in loads.loaded)):
            lanes.hold(webhook_id)
        for webhook_id in answer.freed:
            if not completer.is_kept(webhook_id):
                lanes.free(webhook_id)
        for webhook_id, ids in answer.ended.items():
            lanes.forget(webhook_id, ids)
        for webhook_id, (left, trips) in answer.opened.items():
            if not completer.knows_better(webhook_id):
                lanes.open_breaker(webhook_id, now + left, trips, now)
        for webhook_id in answer.closed:
            if not completer.knows_better(webhook_id):
                lanes.close_breaker(webhook_id)
        for webhook_id in answer.rested:
            if not completer.knows_better(webhook_id):
                lanes.rests.end(webhook_id)

    def _arrive(self, arrived: Mapping[str, list[Claimed]], loads: Loads, back_to: Any) -> None:
        now = time.monotonic()
        for webhook_id, rows in arrived.items():
            if self._is_unknown(self._lanes.get(webhook_id), loads):
                self._lanes.hold(webhook_id)
            else:
                self._lanes.arrive(webhook_id, rows, back_to, now)

    def _is_unknown(self, lane: Lane | None, loads: Loads) -> bool:
        """No request can be made of what stands there: it is gone, or no key opens its secrets."""
        return lane is not None and (lane.version == 0 or lane.webhook_id in loads.unreadable)

    # --- what else is asked of the database ---------------------------------------------------

    async def payload(self, row: Claimed) -> bytes:
        """Raises DoesNotExist when it was removed meanwhile."""
        assert self._desk is not None
        body: bytes = await self._thread.run(self._desk.payload, row)
        return body

    async def prepare(self, call: calls.Verification) -> Request | Outcome:
        """Raises WrongKey, which is noted."""
        assert self._desk is not None
        try:
            prepared: Request | Outcome = await self._thread.run(self._desk.prepare, call)
        except WrongKey as error:
            await self._thread.run(self._desk.cannot_read, call.webhook, error)
            raise
        return prepared

    async def finish(self, call: calls.Verification, outcome: Outcome) -> None:
        """Raises OurFault, DatabaseError."""
        await self._thread.run(calls.finish, call, outcome)

    async def note_asked(self, asked: Asked) -> None:
        """Note a call for an access token: a line of the history, for which nothing waits."""
        try:
            await self._thread.run(calls.note_asked, asked)
        except DatabaseError as error:
            log.warning("a call for an access token is not recorded (%s)", type(error).__name__)

    # --- what is known of it ------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """The database was reached once."""
        return self._desk is not None

    @property
    def is_all_or_nothing(self) -> bool:
        return self._desk is not None and self._desk.is_all_or_nothing

    def now(self) -> int:
        """This moment by the database's clock, in microseconds."""
        if self._clock_ahead is None:
            return microseconds.now()
        return self._clock_ahead + time.monotonic_ns() // 1000

    def look_at_the_lock(self) -> None:
        """SQLite: whoever removed the file that is locked let another worker in."""
        if self._desk is not None and self._desk.owns_nothing_more():
            self._ownership_due = 0.0
            self._lanes.own(frozenset())

    # --- when something goes wrong ------------------------------------------------------------

    async def begin_anew(self) -> None:
        """What the last cycle found did not arrive: find all that is due."""
        if self._desk is not None:
            await self._thread.run(self._desk.begin_anew)
        self._heartbeat_due = 0.0

    async def let_go(self) -> None:
        """Of the session with the database, and of the slots that go with it."""
        await self.reset()
        self._lanes.own(frozenset())
        self._ownership_due = self._heartbeat_due = 0.0

    async def reset(self) -> None:
        """The session alone."""
        if self._desk is not None:
            await self._thread.run(self._desk.reset)

    async def leave(self) -> None:
        """Give the slots away and say goodbye."""
        if self._desk is not None:
            await self._thread.run(self._desk.leave)

    async def end(self) -> None:
        """Of its thread."""
        await self._thread.run(connections.close_all)
        self._thread.close()
