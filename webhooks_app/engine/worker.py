"""The worker: the loop that ties lanes and queue to the sender.

desk.turn (thread)  ──claimed──▶  lanes  ──next──▶  sender  ──outcome──▶  verdict
      ▲                                                                      │
      └─ may be forgotten ◀──  ledger.write (thread)  ◀── finished, in batches
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, router

from .. import conf
from ..fields import WrongKey
from ..models import Attempt, Delivery, database_file, sequences
from ..models.delivery import schedule_delays
from ..rules import failures
from . import (
    calls,
    faults,
    files,
    history,
    message,
    output,
    signals,
    store,
    upkeep,
)
from .desk import CLAIM_MOST, Answer, Desk, Turn
from .lanes import FAULT_PAUSE, Lane, Lanes
from .ledger import LATE, LOCKED, Breaker, Ledger, LedgerProcess, Written
from .loop import new_event_loop
from .sender import Outcome, Sender
from .store import Claimed, Finished, microseconds
from .store.advisory_locks import IDLE_MOST
from .store.errors import GONE, is_away
from .threads import OneThread, Watch, end_now, is_no_memory, on_loop_error

log = logging.getLogger("webhooks")

# So many turns that fail in a row last longer than the pause between heartbeats. Is it that the
# database only reads, then no worker claims any more.
FAILED_MOST = 6
BATCH_MOST = 1000  # outcomes that are written at once,
BATCH_AGE = 0.02  # or after these seconds at the latest
UNWRITTEN_MOST = 5000  # outcomes that wait to be written; then nothing more is sent
# Seconds without the database after which nothing more is sent: well before the server ends the
# session, and with it the locks.
SILENCE_MOST = IDLE_MOST / 2
TURN_MOST = 30.0  # seconds for one turn; then its connection is broken and made again
HUNG_UP_MOST = 90.0  # seconds for that; then this process ends
SLOW_AFTER = 0.1  # seconds after which a call gives its place to others,
SLOW_TIMES = 10  # as long as no more than so many times the concurrency are slow
LARGE_MOST = 32  # bodies of more than store.CARRIED_MOST in memory, a MiB each at the most
LANDING_MOST = 61.0  # seconds that what flies may take at the end: the longest timeout and a little
BACKOFF = (0.1, 5.0)  # seconds between tries to reach the database, first and longest
START_TRIES = 6  # to reach it, of a worker that is to end by itself: about 3 seconds
# Seconds until outcomes are written again: before another worker, which rests for
# `store.REST`, claims what they are about.
WRITE_AGAIN = store.REST / 2
FILES_EVERY = 0.05  # seconds between looks whether database and lock are the files at their paths
UNRECORDED_AFTER = 3  # tries again to write an outcome; then its delivery is held
AGAIN_FIRST, AGAIN_LONGEST = 0.5, 10.0  # seconds between them
AGAIN_APART = 1.0  # seconds between two such tries, of any webhooks
OWNERSHIP_EVERY = 0.3  # seconds between looks at who owns what, who is held, whose breaker is open
JITTER = 0.2  # ± of each delay of the retry schedule

_DELIVERY, _DELIVERED = Attempt.Exchange.DELIVERY.value, Delivery.State.DELIVERED.value


def verdict(
    row: Claimed, lane_url: str, outcome: Outcome, started_at: int, jitter: float
) -> Finished:
    """What becomes of a delivery after an attempt that began then (microseconds). `jitter` is a
    factor around 1."""
    failure = outcome.failure
    now = started_at + 1000 * outcome.duration_ms
    begin = (row.webhook_id, row.id, _DELIVERY, row.id, row.tries + 1, row.requested_by, now)
    attempt = history.row(outcome, failure, lane_url, begin)
    if failure is None:
        return Finished(attempt, row.tries, _DELIVERED, None, now)
    delays = schedule_delays(row.retry_schedule)
    gone = failure.kind == "gone"
    if gone or row.tries >= len(delays):
        return Finished(attempt, row.tries, Delivery.State.FAILED.value, None, now, gone)
    wait = delays[row.tries] * jitter
    if outcome.status in (429, 503) and outcome.retry_after is not None:
        wait = max(wait, outcome.retry_after)
    due_at = now + round(wait * microseconds.SECOND)
    return Finished(attempt, row.tries, Delivery.State.PENDING.value, due_at, None)


@dataclass(slots=True)
class Aside:
    """Outcomes of one webhook that could not be written; the others go on."""

    locked: bool  # somebody holds its rows: nothing more of it is sent meanwhile
    items: list[Finished] = field(default_factory=list)
    rounds: int = 0
    again_at: float = 0.0  # monotonic seconds


class CannotStart(Exception):
    """The database is not one that a worker can work with; the text is for the operator."""


class Away(CannotStart):
    """It cannot be reached, and this worker was not to wait for it."""


class CannotGoOn(Exception):
    """This worker has ended, and another should be started; the text is for the operator."""


class OthersSend(Exception):
    """Another worker owns this SQLite database, and sends what is due."""


def _is_unknown(lane: Lane, answer: Answer) -> bool:
    """No request can be made of what stands there: it is gone, or the desk has said why."""
    return lane.version == 0 or lane.webhook_id in answer.unreadable


class Worker:
    """Sends until told to stop. All attributes belong to the event loop's thread."""

    def __init__(
        self,
        *,
        alias: str,
        sender: Sender,
        concurrency: int,
        until_empty: bool = False,
        once: bool = False,
        ledger: LedgerProcess | None = None,
    ) -> None:
        self._alias = alias
        self._sender = sender
        self._concurrency = concurrency
        self._until_empty = until_empty or once
        self._loop = asyncio.get_running_loop()
        self._once = once
        # Half of the files are for what is kept open, and for everybody else.
        self._slow_most = max(0, min(SLOW_TIMES * concurrency, files.limit() // 2 - concurrency))
        self._lanes = Lanes(self._slow_most)
        self._reading, self._writing = OneThread("webhooks-desk"), OneThread("webhooks-ledger")
        self._desk: Desk | None = None
        self._ledger: Ledger | LedgerProcess | None = ledger
        self._results: list[Finished] = []
        self._being_written: list[Finished] = []
        self._written: list[Finished] = []  # known until the next read has begun
        self._aside: dict[str, Aside] = {}  # by webhook
        self._again_at = 0.0  # the next of them is tried again, monotonic seconds
        self._in_doubt = 0  # so many of the results, the first ones, may have been written
        self._write_due = asyncio.Event()
        self._breakers: dict[str, Breaker] = {}  # changed, not yet written
        self._breakers_written: set[str] = set()  # since the last read began
        self._gone: set[str] = set()  # webhooks that answered 410, which is not yet written
        self._ownership_due = self._files_due = 0.0
        # Those with a place: ids, since when, in that order, and of which lane.
        self._flying: dict[str, tuple[float, Lane]] = {}
        self._slow: set[str] = set()  # gave their place away
        self._large = asyncio.Semaphore(LARGE_MOST)
        self._tasks: set[asyncio.Task[None]] = set()
        self._verifying: dict[str, int] = {}  # webhooks under verification and their accounts
        self._noting = asyncio.Lock()  # one verification at a time
        self._wake = asyncio.Event()
        self._stopping = False
        self._look_until = 0.0
        self._database_seen = time.monotonic()
        self._failure: Exception | None = None  # why this worker ends by itself
        self.sent = 0

    @property
    def in_flight(self) -> int:
        return len(self._flying) + len(self._slow)

    def stop(self) -> None:
        """Claim no more, finish what flies, give the slots away."""
        self._stopping = True
        self._wake.set()

    async def run(self, on_start: Callable[[], None] | None = None) -> int:
        """Returns how many exchanges were made. Raises CannotStart or CannotGoOn."""
        beside = [
            asyncio.create_task(store.open(self._alias).listen(self._announced)),
            asyncio.create_task(upkeep.run(self._alias)),
        ]
        writing = asyncio.create_task(self._write_out())
        for task in (*beside, writing):
            task.add_done_callback(self._must_not_end)
        try:
            try:
                await self._turns(on_start)
            finally:
                for task in beside:
                    task.cancel()
            if isinstance(self._failure, CannotGoOn):
                await self._break_off()
            else:
                await self._land()
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._sender.close()
            if self._desk is not None:
                await self._read(self._desk.leave)
            if self._ledger is not None:
                await self._write(self._ledger.close)
            # The last to be waited for: what it is at may take a while, and needs no slot.
            await asyncio.gather(*beside, return_exceptions=True)
            for thread in (self._reading, self._writing):
                await thread.run(connections.close_all)
                thread.close()
        if self._failure is not None:
            raise self._failure
        return self.sent

    def _announced(self) -> None:
        # A producer announces once in 10 ms; its commits shortly after are caught by looking on.
        self._look_until = time.monotonic() + 2 * store.ANNOUNCE_APART
        self._wake.set()

    async def _read(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self._reading.run(work, *arguments)

    async def _write(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self._writing.run(work, *arguments)

    async def _patiently(self, answer: Any, hang_up: Callable[[], None]) -> Any:
        """What the database answers. Past TURN_MOST its connection is broken; when that does not
        help either, nothing will."""
        answer = asyncio.ensure_future(answer)
        done, _ = await asyncio.wait([answer], timeout=TURN_MOST)
        if not done:
            log.warning("no answer from the database for %d s, connecting anew", TURN_MOST)
            hang_up()
            done, _ = await asyncio.wait([answer], timeout=HUNG_UP_MOST)
            if not done:
                end_now(f"no answer from the database for {TURN_MOST + HUNG_UP_MOST:g} s")
        return await answer

    def _must_not_end(self, task: "asyncio.Task[None]") -> None:
        """Called when a task that goes on as long as this worker has ended."""
        if not task.cancelled() and (error := task.exception()):
            self._break(error)

    def _break(self, error: BaseException) -> None:
        if not isinstance(self._failure, CannotGoOn):
            log.critical("this worker cannot go on", exc_info=error)
        self._fail(CannotGoOn(f"This worker cannot go on: {type(error).__name__} {error}".strip()))

    # --- turns with the desk ------------------------------------------------------------------

    def _open_desk(self) -> Desk:
        desk = Desk(self._alias, once=self._once)
        try:
            if not desk.is_migrated():
                raise CannotStart(
                    f"The database {connections[self._alias].settings_dict['NAME']} has no tables "
                    "of this version. Is it the right one? Then run `manage.py migrate` first."
                )
            sequences.catch_up(self._alias)
        except Exception:
            desk.reset()
            raise
        return desk

    async def _turns(self, on_start: Callable[[], None] | None) -> None:
        backoff = BACKOFF[0]
        empty_looks = tries = failed = 0
        while not self._stopping:
            self._look_at_files(time.monotonic())
            turn = self._turn()
            asked = time.monotonic()
            answer: Answer | None = None
            try:
                if self._desk is None:
                    self._desk = await self._read(self._open_desk)
                desk = self._desk
                answer = await self._patiently(self._read(desk.turn, turn), desk.hang_up)
            except GONE as error:
                faults.note()
                self._ownership_due = 0.0
                if is_no_memory(error):
                    self._break(error)
                # The driver's own words say what to mend; some take several lines.
                why = f"{type(error).__name__}: {' '.join(str(error).split())}"
                tries += 1
                if self._until_empty and self._desk is None and tries == START_TRIES:
                    raise Away(f"The database cannot be reached ({why}).") from error
                log.warning("the database is away (%s), trying again", why)
                await self._let_go()
            except store.SharedSession as error:
                # What flies is finished and written; that needs no session of our own.
                await self._let_go()
                self._fail(CannotStart(str(error)))
            except MemoryError as error:
                self._break(error)
            except Exception:
                # Read-only after a failover, one odd row: nobody is helped by a worker's end. The
                # slots stay at first: another worker would send again what cannot be written now.
                if self._until_empty or self._desk is None:
                    raise
                faults.note()
                log.exception("a turn with the database failed, trying again")
                failed += 1
                if failed % FAILED_MOST:
                    self._desk.begin_anew()
                else:
                    await self._let_go()
            if answer is None:
                await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311
                backoff = min(2 * backoff, BACKOFF[1])
                continue
            backoff, failed = BACKOFF[0], 0
            # The beginning of the turn: after it the process may have been frozen for a while.
            self._database_seen = asked
            self._apply(answer)
            if self._until_empty and not answer.owned and desk.is_all_or_nothing:
                raise OthersSend
            if on_start is not None and answer.owned:
                on_start()
                on_start = None
            if self._until_empty and answer.owned:
                if self._is_busy(answer):
                    empty_looks = 0
                elif answer.looked:
                    # Twice, because what a claim was about to find is announced a turn earlier.
                    empty_looks += 1
                    if empty_looks == 2:
                        return
            await self._rest()

    async def _let_go(self) -> None:
        """Of the session with the database, and of the slots that go with it."""
        if self._desk is not None:
            await self._read(self._desk.reset)
        self._lanes.own(frozenset())

    def _turn(self) -> Turn:
        now = time.monotonic()
        lanes = self._lanes
        # Not before this read begins: one under way while they were written still saw them due.
        for item in self._written:
            lanes.recorded(item.attempt.webhook_id, item.attempt.request_id)
            if item.gone:
                self._gone.discard(item.attempt.webhook_id)
            if item.due_at is not None and item.due_at <= self._now():
                # Due again since before it was written: no look finds it any more.
                lanes.mark([item.attempt.webhook_id], None)
        self._written.clear()
        self._breakers_written.clear()
        turn = Turn(look=now < self._look_until, in_flight=self.in_flight, sent=self.sent)
        turn.in_flight_of = lanes.in_flight_of
        turn.verifying = dict(self._verifying)
        turn.unwritten = self._set_aside
        turn.wants = lanes.wants(now, CLAIM_MOST)
        if lanes.has_room:
            turn.room, turn.want, turn.version = True, lanes.want, lanes.version
            turn.is_behind = lanes.is_behind
        if now >= self._ownership_due:
            self._ownership_due = now + OWNERSHIP_EVERY
            turn.busy = lanes.busy()
            turn.held = [ident for ident in lanes.some_held() if not self._is_kept(ident)]
            turn.waiting = lanes.some_waiting(now - OWNERSHIP_EVERY)
            turn.open_breakers = [i for i in lanes.some_open() if i not in self._breakers]
        return turn

    def _apply(self, answer: Answer) -> None:
        lanes, now = self._lanes, time.monotonic()
        lanes.own(answer.owned)
        if answer.found:
            lanes.mark(answer.found, answer.back_to)
        lanes.meet(answer.arrived)
        for webhook_id, loaded in answer.loaded.items():
            if lane := lanes.get(webhook_id):
                self._load(lane, loaded)
        for want, claimed in answer.claimed:
            lane = lanes.get(want.webhook_id)
            if claimed and lane is not None and _is_unknown(lane, answer):
                lanes.hold(want.webhook_id)
            else:
                lanes.fill(want, claimed, now)
        for webhook_id in answer.held:
            lanes.hold(webhook_id)
        for webhook_id in answer.freed:
            if not self._is_kept(webhook_id):
                lanes.free(webhook_id)
        for webhook_id, ids in answer.ended.items():
            lanes.forget(webhook_id, ids)
        for webhook_id, (left, trips) in answer.opened.items():
            if webhook_id not in self._breakers and webhook_id not in self._breakers_written:
                lanes.open_breaker(webhook_id, now + left, trips, now)
        for webhook_id in answer.closed:
            if webhook_id not in self._breakers and webhook_id not in self._breakers_written:
                lanes.close_breaker(webhook_id)
        # After the fills: a row that was found behind a place must be read by the next claim.
        marked = [ident for ident in answer.marked if ident not in answer.found]
        lanes.mark(marked, answer.back_to)
        for webhook_id, rows in answer.arrived.items():
            lane = lanes.get(webhook_id)
            if lane is not None and _is_unknown(lane, answer):
                lanes.hold(webhook_id)
            else:
                lanes.arrive(webhook_id, rows, answer.back_to, now)
        lanes.mark(answer.waiting, None)
        if answer.scanned:
            lanes.prune()
        for verification in answer.verifications:
            self._verify(verification)
        self._dispatch()

    def _load(self, lane: Lane, loaded: Any) -> None:
        if lane.version == 0:
            self._lanes.set_behind(lane, lane.behind or loaded.is_failing)
            lane.cap = 1 if loaded.is_back else loaded.top
            if loaded.breaker_trips:
                until = time.monotonic() + loaded.breaker_left
                self._lanes.trip(lane, until, loaded.breaker_trips)
        elif lane.cap == lane.top:
            lane.cap = loaded.top
        lane.top = loaded.top
        lane.cap = min(lane.cap, lane.top)
        lane.version, lane.timeout, lane.url = loaded.version, loaded.timeout, loaded.url
        lane.loaded_at = time.monotonic()
        lane.head, lane.failure = loaded.head, loaded.failure

    def _is_kept(self, webhook_id: str) -> bool:
        """It is held for a reason that the database does not know yet."""
        aside = self._aside.get(webhook_id)
        return webhook_id in self._gone or (aside is not None and aside.locked)

    def _is_busy(self, answer: Answer) -> bool:
        # For what nothing helps, a worker that is to end does not wait.
        aside = any(one.locked or one.rounds <= UNRECORDED_AFTER for one in self._aside.values())
        unwritten = aside or self._results or self._being_written or self._written
        found = answer.waiting or answer.claimed_anything
        return bool(self._tasks or unwritten or self._lanes.buffered or found)

    async def _rest(self) -> None:
        """Until there is something to do: room to fill, an announcement."""
        now = time.monotonic()
        if self._lanes.hungry(now):
            return  # the database is asked while what was found is sent
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001 if now < self._look_until else 0.02):
                await self._wake.wait()

    # --- the ledger ---------------------------------------------------------------------------

    @property
    def _unwritten(self) -> int:
        return len(self._results) + len(self._being_written) + self._set_aside

    @property
    def _set_aside(self) -> int:
        return sum(len(one.items) for one in self._aside.values()) if self._aside else 0

    async def _write_out(self) -> None:
        """Outcomes and breakers are written, in batches cut by size and time, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BATCH_AGE):
                    await self._write_due.wait()
            self._write_due.clear()
            again = self._again(time.monotonic())
            if not (self._results or self._breakers or again):
                continue
            if again:
                batch = [item for one in again for item in self._aside[one].items]
                for one in again:
                    self._aside[one].items = []
            else:
                cut = self._in_doubt or BATCH_MOST
                batch = self._results[:cut]
                del self._results[:cut]
            self._being_written += batch
            if self._results:
                self._write_due.set()
            breakers = {key: one for key, one in self._breakers.items() if key not in self._aside}
            try:
                ledger = self._ledger
                if ledger is None or ledger.has_ended:
                    ledger = self._ledger = await self._write(Ledger, self._alias)
                writing = partial(
                    ledger.write,
                    in_doubt=self._in_doubt > 0,
                    # Others wait already: the next turn asks how this batch went.
                    ahead=bool(self._results) and not (breakers or self._in_doubt or again),
                    again=self._last_tries(again) if again else None,
                )
                asked = self._write(writing, batch, list(breakers.values()))
                written: Written = await self._patiently(asked, ledger.hang_up)
            except Exception as error:
                if is_no_memory(error):
                    self._break(error)
                faults.note()
                # Receivers have answered these already: they are written later, whatever it is.
                level = logging.DEBUG if self._in_doubt else logging.WARNING  # once an outage
                # A COMMIT may have come through without its answer.
                self._in_doubt = max(1, len(self._being_written))
                self._results = [*self._being_written, *self._results]
                self._being_written = []
                log.log(
                    level,
                    "outcomes cannot be written (%s), trying again",
                    type(error).__name__,
                    exc_info=not is_away(error),
                )
                await asyncio.sleep(WRITE_AGAIN)
                continue
            self._in_doubt = 0
            done = self._being_written[: written.number]
            del self._being_written[: written.number]
            if written.aside or again:
                done = self._without_aside(done, dict(written.aside), again)
            self._written += done
            for webhook_id, breaker in breakers.items():
                if webhook_id in written.unset:
                    self._put_aside(webhook_id, [], LOCKED)
                elif self._breakers[webhook_id] is breaker:
                    del self._breakers[webhook_id]
                self._breakers_written.add(webhook_id)
            self._dispatch()

    def _again(self, now: float) -> list[str]:
        """Webhooks whose outcomes are to be tried again; once in a while, because the others wait
        for it."""
        if not self._aside or now < self._again_at or self._in_doubt:
            return []
        self._again_at = now + AGAIN_APART
        due = [(one.again_at, key) for key, one in self._aside.items() if one.again_at <= now]
        return [key for _, key in sorted(due)]

    def _last_tries(self, webhook_ids: list[str]) -> list[str]:
        return [key for key in webhook_ids if self._aside[key].rounds >= UNRECORDED_AFTER]

    def _without_aside(
        self, done: list[Finished], places: dict[int, str], again: list[str]
    ) -> list[Finished]:
        """What of these is written; the others are set aside. `again`: the webhooks that were
        tried once more."""
        by_webhook: dict[str, tuple[str, list[Finished]]] = {}
        for place, why in places.items():
            item = done[place]
            by_webhook.setdefault(item.attempt.webhook_id, (why, []))[1].append(item)
        for webhook_id, (why, items) in by_webhook.items():
            self._put_aside(webhook_id, items, why)
        for webhook_id in again:
            if webhook_id in by_webhook:
                continue
            if self._aside[webhook_id].items:  # landed meanwhile
                self._aside[webhook_id].again_at = 0.0
            else:
                # Held, it is found to be callable by a look at those that are held.
                del self._aside[webhook_id]
        return [item for place, item in enumerate(done) if place not in places]

    def _put_aside(self, webhook_id: str, items: list[Finished], why: str) -> None:
        one = self._aside.get(webhook_id)
        locked = why in (LOCKED, LATE)
        if one is None:
            one = self._aside[webhook_id] = Aside(locked)
            words = "%d outcomes of webhook %s are not written yet (%s), the others go on"
            level = logging.DEBUG if why == LATE else logging.WARNING
            log.log(level, words, len(items), webhook_id, why)
        elif one.rounds == UNRECORDED_AFTER and not locked:
            log.error(
                "%d outcomes of webhook %s can neither be written nor their deliveries held (%s); "
                "they are kept in memory, and sent again after a restart",
                *(len(items), webhook_id, why),
            )
        one.locked = locked
        one.items = [*items, *one.items]
        one.again_at = time.monotonic()
        if why != LATE:
            one.again_at += min(AGAIN_FIRST * 2 ** min(one.rounds, 10), AGAIN_LONGEST)
            one.rounds += 1
        if locked:
            self._lanes.hold(webhook_id)

    # --- exchanges ----------------------------------------------------------------------------

    def _dispatch(self) -> None:
        self._make_room(time.monotonic())
        while len(self._flying) < self._concurrency:
            taken = self._next()
            if taken is None:
                return
            self._flying[taken[1].id] = time.monotonic(), taken[0]
            self._start(self._send_on(*taken))

    def _make_room(self, now: float) -> None:
        """A few receivers that hang must not hold all places: their calls go on without one."""
        while self._flying and len(self._slow) < self._slow_most:
            oldest = next(iter(self._flying))
            since, lane = self._flying[oldest]
            if now - since < SLOW_AFTER:
                return
            del self._flying[oldest]
            self._slow.add(oldest)
            self._lanes.slowed(lane)

    def _look_at_files(self, now: float) -> None:
        """SQLite's: somebody may replace the database, or remove the lock, in the meantime."""
        if now < self._files_due:
            return
        self._files_due = now + FILES_EVERY
        try:
            database_file.check(self._alias)
        except database_file.Replaced as error:
            self._fail(CannotGoOn(str(error)))
        if self._desk is not None and self._desk.owns_nothing_more():
            self._ownership_due = 0.0
            self._lanes.own(frozenset())

    def _fail(self, error: Exception) -> None:
        """End by itself, for that reason."""
        self._failure = self._failure or error
        self.stop()

    async def _break_off(self) -> None:
        """What flies is left: it cannot be written down."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _next(self) -> tuple[Lane, Claimed] | None:
        now = time.monotonic()
        self._look_at_files(now)
        silent = now - self._database_seen > SILENCE_MOST
        if self._stopping or silent or self._unwritten > UNWRITTEN_MOST:
            return None
        return self._lanes.take(now)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)

    def _has_ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, MemoryError):
            self._break(error)
        else:
            log.error("an exchange broke off", exc_info=error)

    async def _send_on(self, lane: Lane, row: Claimed) -> None:
        """Exchanges, one after the other, while there is something to send."""
        taken: tuple[Lane, Claimed] | None = (lane, row)
        while taken is not None:
            lane, row = taken
            try:
                if row.body is None:
                    started_at, outcome = await self._deliver_large(lane, row)
                else:
                    started_at, outcome = await self._deliver(lane, row, row.body)
            except MemoryError:
                raise
            except Exception:
                log.exception("delivery %s could not be sent", row.id)
                started_at, outcome = 0, Outcome(datetime.now(UTC), failure=failures.internal())
            slow = self._flying.pop(row.id, None) is None
            if slow:
                self._slow.discard(row.id)
                self._lanes.quickened(lane)
            self._land_one(lane, row, started_at, outcome)
            taken = None
            if slow:
                self._dispatch()
            elif taken := self._next():
                self._flying[taken[1].id] = time.monotonic(), taken[0]
        if not self.in_flight:
            self._write_due.set()

    async def _deliver_large(self, lane: Lane, row: Claimed) -> tuple[int, Outcome]:
        assert self._desk is not None
        # The webhook's own places first: who hangs must not hold those of all.
        async with lane.large, self._large:
            if self._stopping:  # it stays due
                return 0, Outcome(datetime.now(UTC), failure=failures.internal())
            body = await self._read(self._desk.payload, row.id)
            return await self._deliver(lane, row, body)

    async def _deliver(self, lane: Lane, row: Claimed, body: bytes) -> tuple[int, Outcome]:
        """When it began by the database's clock, and how it went."""
        started_at = self._now()
        if lane.head is None:
            return started_at, Outcome(datetime.now(UTC), failure=lane.failure)
        now = started_at // microseconds.SECOND
        request = message.post(lane.head, request_id=row.id, now=now, body=body)
        outcome = await self._sender.send(request, timeout=lane.timeout)
        self.sent += 1
        return started_at, outcome

    def _land_one(self, lane: Lane, row: Claimed, started_at: int, outcome: Outcome) -> None:
        now = time.monotonic()
        failure = outcome.failure
        if outcome.our_fault:
            self._lanes.our_fault(lane, row.id, now)
            return
        away = failures.is_away(failure)
        event = self._lanes.landed(lane, ok=failure is None, away=away, now=now)
        if event == "opened":
            until = microseconds.at(self._now()) + timedelta(seconds=lane.open_until - now)
            self._breakers[lane.webhook_id] = (lane.webhook_id, until, lane.trips)
        elif event == "closed":
            self._breakers[lane.webhook_id] = (lane.webhook_id, None, 0)
        jitter = random.uniform(1 - JITTER, 1 + JITTER) if failure else 1.0  # noqa: S311
        item = verdict(row, lane.url, outcome, started_at, jitter)
        aside = self._aside.get(lane.webhook_id)
        if aside is not None and aside.locked:
            aside.items.append(item)
        else:
            self._results.append(item)
        if item.gone:
            # Nothing more goes to somebody who said so; that it is written down takes a moment.
            self._gone.add(lane.webhook_id)
            self._lanes.hold(lane.webhook_id)
        if len(self._results) >= BATCH_MOST:
            self._write_due.set()
        if self._lanes.starves(lane):
            self._wake.set()

    def _now(self) -> int:
        assert self._desk is not None
        return self._desk.moment()

    def _verify(self, call: calls.Verification) -> None:
        if call.webhook.pk not in self._verifying and not self._stopping:
            self._verifying[call.webhook.pk] = call.webhook.account_id
            self._start(self._verification(call))

    async def _verification(self, call: calls.Verification) -> None:
        try:
            assert self._desk is not None
            prepared = await self._read(self._desk.prepare, call)
            if not isinstance(prepared, Outcome):
                timeout = call.webhook.exchange_timeout
                prepared = await self._sender.send(prepared, timeout=timeout)
                self.sent += 1
            async with self._noting:  # many that time out at once would hold up the turns
                await self._read(calls.finish, call, prepared)
            self._wake.set()
        except calls.OurFault:
            await asyncio.sleep(FAULT_PAUSE)
        except WrongKey as error:
            assert self._desk is not None
            await self._read(self._desk.cannot_read, call.webhook, error)
        except DatabaseError as error:
            log.warning("a verification is not recorded (%s), it is asked for again", error)
        finally:
            del self._verifying[call.webhook.pk]

    async def _land(self) -> None:
        """What flies is finished within its own timeout and written; slots of which nothing flies
        are given away meanwhile."""
        until = time.monotonic() + LANDING_MOST
        failed = 0
        while self._desk is not None and (self._tasks or self._unwritten or self._written):
            turn = self._turn()
            turn.wants, turn.room = (), False
            turn.leaving, turn.busy = True, self._lanes.busy()
            try:
                await self._patiently(self._read(self._desk.turn, turn), self._desk.hang_up)
            except (DatabaseError, InterfaceError):
                await self._read(self._desk.reset)
                failed += not self._tasks
                await asyncio.sleep(0.5)
            if failed == 5 or time.monotonic() > until:
                break
            self._write_due.set()
            await asyncio.sleep(0.02)
        if self._unwritten:
            log.error("%d outcomes could not be written and are sent again", self._unwritten)


def run(
    *,
    once: bool = False,
    until_empty: bool = False,
    concurrency: int | None = None,
    on_start: Callable[[], None] | None = None,
    sender: Sender | None = None,
    forks: bool = False,
) -> int:
    """Run a worker in this thread; returns the number of exchanges made.

    Stops gracefully on SIGTERM, SIGINT and SIGHUP when called in the main thread. `until_empty`:
    returns when nothing is due any more; `once`: the same, without waiting for what becomes due
    meanwhile.
    Both raise Away when the database cannot be reached from the start, and OthersSend when another
    worker has all of a SQLite database. Raises CannotStart where migrations are missing or sessions
    are shared, CannotGoOn when another worker should be started in its place.
    `on_start` is called once, when the worker owns webhooks. `forks`: outcomes are written by a
    process of their own, for a program that does nothing else; closes its database connections, and
    nobody who does not read its output can hold it up any more.
    """
    alias = router.db_for_write(Delivery)
    ledger = None
    if forks:
        files.raise_limit()
        ledger = LedgerProcess.start(alias)
        output.never_block()
    loop = new_event_loop()
    loop.set_exception_handler(on_loop_error)

    async def main() -> int:
        watch = Watch() if forks else None
        worker = Worker(
            alias=alias,
            sender=sender or Sender(),
            concurrency=concurrency or conf.concurrency(),
            until_empty=until_empty,
            once=once,
            ledger=ledger,
        )
        if threading.current_thread() is threading.main_thread():
            for number in signals.ends():
                loop.add_signal_handler(number, worker.stop)
        try:
            return await worker.run(on_start)
        finally:
            if watch is not None:
                watch.end()

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()
