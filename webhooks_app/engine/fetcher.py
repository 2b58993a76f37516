"""Own → discover → claim → load: what the event loop asks the database in one cycle, and where the
answers go. Each question is a hand-over of plain data to the one thread that reads.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, connections

from ..fields import WrongKey
from ..models import sequences
from . import calls
from .completer import Completer
from .handover import Changes, Claims, Due, Heartbeat, Loads, Memory
from .http.exchange import Asked, Outcome, Request
from .knobs import Knobs
from .lanes import Lanes
from .reader import Reader
from .store import Claimed, microseconds
from .threads import OneThread, patiently

log = logging.getLogger("webhooks")


P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Cycle:
    """What one cycle found, for the worker."""

    owned: frozenset[int]
    looked: bool = False
    found: bool = False  # something that is due
    verifications: list[calls.Verification] = field(default_factory=list)


class CannotStart(Exception):
    """The database is not one that a worker can work with; the text is for the operator."""


def _open(alias: str, knobs: Knobs, once: bool) -> Reader:
    reader = Reader(alias, knobs, once=once)
    try:
        if not reader.is_migrated():
            raise CannotStart(
                f"The database {connections[alias].settings_dict['NAME']} has no tables of this "
                "version. Is it the right one? Then run `manage.py migrate` first."
            )
        sequences.catch_up(alias)
    except Exception:
        reader.reset()
        raise
    return reader


class Fetcher:
    """Belongs to the event loop. Its reader belongs to the thread, and is only named here."""

    def __init__(
        self, alias: str, lanes: Lanes, completer: Completer, knobs: Knobs, *, once: bool
    ) -> None:
        self._alias = alias
        self._lanes = lanes
        self._completer = completer  # what it writes, the lanes learn when a read begins
        self._knobs = knobs
        self._once = once
        self._thread = OneThread("webhooks-reader")
        self._reader: Reader | None = None
        self._clock_ahead: int | None = None  # as the last answer said
        self._ownership_due = self._heartbeat_due = 0.0  # monotonic seconds
        self._verifications_due = 0.0  # looked for next, monotonic seconds
        self.holds = False  # the site is held, and nothing waits in the lanes
        # When the last question began that was answered: after it the process may have been frozen.
        self.heard_at = time.monotonic()

    # --- the cycle ----------------------------------------------------------------------------

    async def cycle(
        self, *, look: bool, verifying: Mapping[str, int], beat: Callable[[], Heartbeat]
    ) -> Cycle:
        """Own, discover, claim, load: each question is asked once the answer to the one before is
        in the lanes. `look`: something was announced. `verifying`: what is under way. Raises
        DatabaseError, CannotStart, SharedSession."""
        lanes = self._lanes
        reader = await self._begin()
        if is_due := time.monotonic() >= self._ownership_due:
            self._ownership_due = time.monotonic() + self._knobs.ownership_every
            owned = await self._ask(reader.own, lanes.busy())
            if owned - lanes.owned:
                self._verifications_due = 0.0
            lanes.own(owned)
            lanes.lines.remind()
        await self._beat(reader, beat)

        due = await self._ask(reader.discover, look=look, room=lanes.has_room)
        cycle = Cycle(lanes.owned, looked=due.looked, found=bool(due.waiting or due.arrived))
        if due.site_held != self.holds:
            self.holds, self._heartbeat_due = due.site_held, 0.0  # whoever holds it waits
        if self.holds:
            lanes.halt()
        if self.holds or not lanes.owned:
            return cycle
        await self._discovered(reader, due)

        now = time.monotonic()
        wants, questions = lanes.wants(now, self._knobs.claim_most), lanes.lines.questions(now)
        if wants or questions:
            claims = await self._ask(reader.claim, wants, questions)
            await self._claimed(reader, claims)
            cycle.found = cycle.found or claims.found_anything

        if is_due:
            # What was claimed a while ago, and who may not be called, may have changed.
            await self._changed(reader, await self._ask(reader.changes, self._memory()))

        if time.monotonic() >= self._verifications_due:
            self._verifications_due = time.monotonic() + self._knobs.verifications_every
            cycle.verifications = await self._ask(reader.verifications, dict(verifying))
        return cycle

    async def leave_slots(self, beat: Callable[[], Heartbeat]) -> None:
        """Give away what is not busy, and take nothing more."""
        reader = await self._begin()
        await self._ask(reader.retire, self._lanes.busy())
        await self._beat(reader, beat)

    async def _begin(self) -> Reader:
        """What was written may be forgotten now: whatever is read from here on shows it."""
        lanes = self._lanes
        for item in self._completer.begin_read():
            lanes.recorded(item.attempt.webhook_id, item.attempt.request_id)
            if item.due_at is not None and item.due_at <= self.now():
                # Due again since before it was written: no look finds it any more.
                lanes.mark([item.attempt.webhook_id], None)
        if self._reader is None:
            self._reader = await self._thread.run(_open, self._alias, self._knobs, self._once)
        return self._reader

    async def _ask(self, question: Callable[P, T], *words: P.args, **named: P.kwargs) -> T:
        assert self._reader is not None
        began = time.monotonic()
        asked = self._thread.run(partial(question, *words, **named))
        answer: T = await patiently(asked, self._reader.hang_up, self._knobs)
        self.heard_at = began
        return answer

    async def _beat(self, reader: Reader, beat: Callable[[], Heartbeat]) -> None:
        if time.monotonic() >= self._heartbeat_due:
            knobs = self._knobs
            every = knobs.heartbeat_held if self.holds else knobs.heartbeat_every
            self._heartbeat_due = time.monotonic() + every
            self._clock_ahead = await self._ask(reader.beat, beat())

    async def _load(self, reader: Reader, webhook_ids: list[str]) -> Loads:
        """What the lanes of these must know goes there."""
        if not webhook_ids:
            return Loads()
        loads = await self._ask(reader.load, webhook_ids)
        now = time.monotonic()
        for webhook_id, loaded in loads.loaded.items():
            self._lanes.load(webhook_id, loaded, now)
        return loads

    async def _discovered(self, reader: Reader, due: Due) -> None:
        lanes = self._lanes
        arrived, stale, later = lanes.expect(due.arrived, due.marked, time.monotonic())
        lanes.meet(arrived)
        loads, now = await self._load(reader, stale), time.monotonic()
        lanes.mark(later, due.back_to)
        for webhook_id, rows in arrived.items():
            if self._is_unknown(webhook_id, loads):
                lanes.hold(webhook_id)
            else:
                lanes.arrive(webhook_id, rows, due.back_to, now)
        lanes.mark(due.waiting, None)
        if due.scanned:
            lanes.prune(now)

    async def _claimed(self, reader: Reader, claims: Claims) -> None:
        lanes = self._lanes
        loads, now = await self._load(reader, claims.stale), time.monotonic()
        for want, rows in claims.rows:
            if rows and self._is_unknown(want.webhook_id, loads):
                lanes.hold(want.webhook_id)
            else:
                lanes.fill(want, rows, now)
        for found in claims.lines:
            if found.heads and self._is_unknown(found.question.webhook_id, loads):
                lanes.hold(found.question.webhook_id)
            else:
                lanes.answer(found, now)
        for webhook_id in claims.held:
            lanes.hold(webhook_id)

    def _is_unknown(self, webhook_id: str, loads: Loads) -> bool:
        """Whether no request can be made for the webhook: it is gone, or no key opens its
        secrets."""
        lane = self._lanes.get(webhook_id)
        return lane is not None and (lane.version == 0 or webhook_id in loads.unreadable)

    def _memory(self) -> Memory:
        """What people may have changed. Of what is noted and not yet written the database knows
        less than we do."""
        lanes, completer, now = self._lanes, self._completer, time.monotonic()
        return Memory(
            waiting=lanes.some_waiting(now - self._knobs.ownership_every),
            held=[i for i in lanes.some_held() if not completer.is_kept(i)],
            open_breakers=[i for i in lanes.some_open() if not completer.is_untold(i)],
            resting=[i for i in lanes.rests.some_asked(now) if not completer.is_untold(i)],
        )

    async def _changed(self, reader: Reader, changes: Changes) -> None:
        lanes, completer = self._lanes, self._completer
        loads = await self._load(reader, changes.changed)
        gone = [ident for ident in changes.changed if ident not in loads.loaded]
        for webhook_id in (*changes.held, *gone):
            lanes.hold(webhook_id)
        for webhook_id in changes.freed:
            if not completer.is_kept(webhook_id):
                lanes.free(webhook_id)
        for webhook_id, ids in changes.ended.items():
            lanes.forget(webhook_id, ids)
        now = time.monotonic()
        for webhook_id, (left, trips) in changes.opened.items():
            if not completer.knows_better(webhook_id):
                lanes.open_breaker(webhook_id, now + left, trips, now)
        for webhook_id in changes.closed:
            if not completer.knows_better(webhook_id):
                lanes.close_breaker(webhook_id)
        for webhook_id in changes.rested:
            if not completer.knows_better(webhook_id):
                lanes.rests.end(webhook_id)

    # --- what else is asked of the database ---------------------------------------------------

    async def payload(self, row: Claimed) -> bytes:
        """The body of a large delivery. Raises DoesNotExist when it was removed meanwhile."""
        assert self._reader is not None
        body: bytes = await self._thread.run(self._reader.payload, row)
        return body

    async def prepare(self, call: calls.Verification) -> Request | Outcome:
        """Raises WrongKey, which is noted."""
        assert self._reader is not None
        try:
            prepared: Request | Outcome = await self._thread.run(self._reader.prepare, call)
        except WrongKey as error:
            await self._thread.run(self._reader.cannot_read, call.webhook, error)
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
        return self._reader is not None

    @property
    def others_send(self) -> bool:
        """Another worker of this database sends all that is due. Of one that was killed, and whose
        child still writes, nobody says that."""
        return self._reader is not None and self._reader.is_anothers()

    @property
    def inherits(self) -> bool:
        """What a worker had that ends, or that was killed, is still to come to this one."""
        return self._reader is not None and self._reader.inherits()

    def now(self) -> int:
        """This moment by the database's clock, in microseconds."""
        if self._clock_ahead is None:
            return microseconds.now()
        return self._clock_ahead + time.monotonic_ns() // 1000

    def look_at_the_lock(self) -> None:
        """SQLite: whoever removed the lock file let another worker in."""
        if self._reader is not None and self._reader.owns_nothing_more():
            self._ownership_due = 0.0
            self._lanes.own(frozenset())

    # --- when something goes wrong ------------------------------------------------------------

    async def begin_anew(self) -> None:
        """What the last cycle found did not arrive: find all that is due."""
        if self._reader is not None:
            await self._thread.run(self._reader.begin_anew)
        self._heartbeat_due = self._verifications_due = 0.0

    async def let_go(self) -> None:
        """Let go of the session with the database, and of the slots that go with it."""
        await self.reset()
        self._lanes.own(frozenset())
        self._ownership_due = self._heartbeat_due = self._verifications_due = 0.0

    async def reset(self) -> None:
        """Let go of the session alone."""
        if self._reader is not None:
            await self._thread.run(self._reader.reset)

    async def leave(self) -> None:
        """Give the slots away and say goodbye."""
        if self._reader is not None:
            await self._thread.run(self._reader.leave)

    async def end(self) -> None:
        """End the thread that reads."""
        await self._thread.run(connections.close_all)
        self._thread.close()
