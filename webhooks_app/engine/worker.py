"""The worker: the loop that ties lanes and queue to the sender.

desk.turn (thread)  ──claimed──▶  lanes  ──next──▶  sender  ──outcome──▶  verdict
      ▲                                                                      │
      └────────────────────────── finished, in batches ◀─────────────────────┘
"""

import asyncio
import contextlib
import logging
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connections, router

from .. import conf
from ..models import Attempt, Delivery
from ..models.delivery import schedule_delays
from . import calls, history, message, notices, ownership, queue, upkeep
from .desk import CLAIM_MOST, Answer, Desk, Turn
from .lanes import FAULT_PAUSE, Lane, Lanes
from .loop import new_event_loop
from .queue import Claimed, Finished
from .sender import Outcome, Sender

log = logging.getLogger("webhooks")

BATCH_MOST = 400  # outcomes that are written at once,
BATCH_AGE = 0.015  # or after these seconds at the latest
# Seconds without the database after which nothing more is sent: well before the server ends the
# session, and with it the locks.
SILENCE_MOST = ownership.IDLE_MOST / 2
TURN_MOST = 30.0  # seconds for one turn; then its connection is broken and made again
LANDING_MOST = 61.0  # seconds that what flies may take at the end: the longest timeout and a little
BACKOFF = (0.1, 5.0)  # seconds between tries to reach the database, first and longest
OWNERSHIP_EVERY = 0.3  # seconds between looks at who owns what, who is held, whose breaker is open
JITTER = 0.2  # ± of each delay of the retry schedule

# Failures that say something about the webhook's owner and not that the receiver is away.
_ANSWERED = {"http_400", "http_401", "http_404", "gone", "rate", "redirect", "http_other"}


def verdict(
    row: Claimed, lane_url: str, outcome: Outcome, now: datetime, jitter: float
) -> Finished:
    """What becomes of a delivery after an attempt. `jitter` is a factor around 1."""
    entry = history.Entry(
        webhook_id=row.webhook_id,
        exchange=Attempt.Exchange.DELIVERY,
        request_id=row.id,
        url=lane_url,
        outcome=outcome,
        failure=outcome.failure,
        delivery_id=row.id,
        number=row.tries + 1,
        requested_by=row.requested_by,
    )
    finished = Finished(entry, row.tries, Delivery.State.DELIVERED, now, now)
    if outcome.failure is None:
        return finished
    delays = schedule_delays(row.retry_schedule)
    finished.gone = outcome.failure.kind == "gone"
    if finished.gone or row.tries >= len(delays):
        finished.state = Delivery.State.FAILED
        return finished
    wait = delays[row.tries] * jitter
    if outcome.status in (429, 503) and outcome.retry_after is not None:
        wait = max(wait, outcome.retry_after)
    finished.state, finished.finished_at = Delivery.State.PENDING, None
    finished.due_at = now + timedelta(seconds=wait)
    return finished


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
    ) -> None:
        self._alias = alias
        self._sender = sender
        self._concurrency = concurrency
        self._until_empty = until_empty or once
        self._once = once
        self._lanes = Lanes()
        self._database = ThreadPoolExecutor(1, thread_name_prefix="webhooks-database")
        self._desk: Desk | None = None
        self._results: list[Finished] = []
        self._oldest_result = 0.0
        self._finish_again = False
        self._ownership_due = 0.0
        self._breakers: list[tuple[str, float, int]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._verifying: set[str] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._look_until = 0.0
        self._database_seen = time.monotonic()
        self._clock_offset = timedelta(0)
        self.in_flight = 0
        self.sent = 0

    def stop(self) -> None:
        """Claim no more, finish what flies, give the slots away."""
        self._stopping = True
        self._wake.set()

    async def run(self, on_start: Callable[[], None] | None = None) -> int:
        """Returns how many exchanges were made."""
        beside = [
            asyncio.create_task(notices.listen(self._alias, self._announced)),
            asyncio.create_task(upkeep.run(self._alias)),
        ]
        try:
            await self._turns(on_start)
            await self._land()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._sender.close()
            if self._desk is not None:
                await self._in_database(self._desk.leave)
            await self._in_database(connections.close_all)
            self._database.shutdown()
        return self.sent

    def _announced(self) -> None:
        # A producer announces once in 10 ms; its commits shortly after are caught by looking on.
        self._look_until = time.monotonic() + 2 * queue.ANNOUNCE_APART
        self._wake.set()

    async def _in_database(self, work: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._database, work, *arguments)

    # --- turns with the desk ------------------------------------------------------------------

    def _open_desk(self) -> Desk:
        return Desk(self._alias, once=self._once)

    async def _turns(self, on_start: Callable[[], None] | None) -> None:
        backoff = BACKOFF[0]
        empty_looks = 0
        while not self._stopping:
            turn = self._turn()
            asked = time.monotonic()
            try:
                if self._desk is None:
                    self._desk = await self._in_database(self._open_desk)
                answer = await self._ask(self._desk, turn)
            except (OperationalError, InterfaceError) as error:
                self._take_back(turn)
                log.warning("the database is away (%s), trying again", type(error).__name__)
                if self._desk is not None:
                    await self._in_database(self._desk.reset)
                self._lanes.own(frozenset())
                await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311
                backoff = min(2 * backoff, BACKOFF[1])
                continue
            backoff = BACKOFF[0]
            # The beginning of the turn: after it the process may have been frozen for a while.
            self._database_seen = asked
            self._apply(turn, answer)
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

    async def _ask(self, desk: Desk, turn: Turn) -> Answer:
        answer = asyncio.ensure_future(self._in_database(desk.turn, turn))
        done, _ = await asyncio.wait([answer], timeout=TURN_MOST)
        if not done:
            log.warning("no answer from the database for %d s, connecting anew", TURN_MOST)
            desk.hang_up()
        return await answer

    def _turn(self) -> Turn:
        now = time.monotonic()
        turn = Turn(
            look=now < self._look_until,
            in_flight=self.in_flight,
            sent=self.sent,
            finish_again=self._finish_again,
        )
        old_enough = now - self._oldest_result >= BATCH_AGE
        if self._results and (old_enough or len(self._results) >= BATCH_MOST or not self.in_flight):
            turn.finished, self._results = self._results, []
        if self._lanes.buffered < self._concurrency:
            turn.wants = self._lanes.wants(now, CLAIM_MOST)
        turn.breakers, self._breakers = self._breakers, []
        if now >= self._ownership_due:
            self._ownership_due = now + OWNERSHIP_EVERY
            turn.busy = self._lanes.busy()
            turn.held, turn.open_breakers = self._lanes.held, self._lanes.open
        return turn

    def _take_back(self, turn: Turn) -> None:
        """What was not written must be written later: receivers have answered it already."""
        if turn.is_finished:
            self._recorded(turn)
        else:
            self._results = [*turn.finished, *self._results]
            self._finish_again = True
        self._breakers = [*turn.breakers, *self._breakers]
        self._ownership_due = 0.0

    def _recorded(self, turn: Turn) -> None:
        if turn.finished:
            self._finish_again = False
        for item in turn.finished:
            self._lanes.recorded(item.entry.webhook_id, item.entry.request_id)

    def _apply(self, turn: Turn, answer: Answer) -> None:
        lanes = self._lanes
        self._recorded(turn)
        lanes.own(answer.owned)
        for webhook_id, loaded in answer.loaded.items():
            if lane := lanes.get(webhook_id):
                self._load(lane, loaded)
        for want, claimed in answer.claimed:
            lane = lanes.get(want.webhook_id)
            if claimed and lane is not None and lane.version == 0:
                lanes.hold(want.webhook_id)  # its secrets cannot be read; the desk has said so
            else:
                lanes.fill(want, claimed)
        for webhook_id in answer.held:
            lanes.hold(webhook_id)
        for webhook_id in answer.freed:
            lanes.free(webhook_id)
        for webhook_id in answer.closed:
            if not any(webhook_id == waiting[0] for waiting in self._breakers):
                lanes.close_breaker(webhook_id)
        # After the fills: a row that was found behind a place must be read by the next claim.
        lanes.mark(answer.marked, None if answer.scanned else answer.back_to)
        if answer.scanned:
            lanes.prune()
        for verification in answer.verifications:
            self._verify(verification)
        self._dispatch()

    def _load(self, lane: Lane, loaded: Any) -> None:
        if lane.version == 0 and loaded.breaker_left:
            until = time.monotonic() + loaded.breaker_left
            self._lanes.open_breaker(lane, until, loaded.breaker_trips)
        elif lane.version == 0 or lane.cap == lane.top:
            lane.cap = loaded.top
        lane.top = loaded.top
        lane.cap = min(lane.cap, lane.top)
        lane.version, lane.timeout, lane.url = loaded.version, loaded.timeout, loaded.url
        lane.head, lane.failure = loaded.head, loaded.failure

    def _is_busy(self, answer: Answer) -> bool:
        return bool(self._tasks or self._results or self._lanes.buffered or answer.claimed_anything)

    async def _rest(self) -> None:
        """Until there is something to do: results of age, room to fill, an announcement."""
        now = time.monotonic()
        wait = 0.02
        if self._results:
            wait = min(wait, max(0.0, self._oldest_result + BATCH_AGE - now))
            if len(self._results) >= BATCH_MOST:
                wait = 0.0
        if self._hungry(now):
            wait = 0.0
        elif now < self._look_until:
            wait = min(wait, 0.002)
        self._wake.clear()
        if wait > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
        else:
            await asyncio.sleep(0)

    def _hungry(self, now: float) -> bool:
        return self._lanes.buffered * 2 < self._concurrency and self._lanes.hungry(now)

    # --- exchanges ----------------------------------------------------------------------------

    def _dispatch(self) -> None:
        now = time.monotonic()
        if self._stopping or now - self._database_seen > SILENCE_MOST:
            return
        while self.in_flight < self._concurrency:
            taken = self._lanes.take(now)
            if taken is None:
                return
            self.in_flight += 1
            self._start(self._deliver(*taken))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, lane: Lane, row: Claimed) -> None:
        if lane.head is None:
            outcome = Outcome(started_at=self._now(), failure=lane.failure)
        else:
            started = self._now()
            now = started.timestamp()
            request = message.post(lane.head, request_id=row.id, now=now, body=row.body)
            outcome = await self._sender.send(request, timeout=lane.timeout)
            outcome.started_at = started
            self.sent += 1
        self.in_flight -= 1
        self._land_one(lane, row, outcome)
        self._dispatch()

    def _land_one(self, lane: Lane, row: Claimed, outcome: Outcome) -> None:
        now = time.monotonic()
        failure = outcome.failure
        if outcome.our_fault:
            self._lanes.our_fault(lane, row.id, now)
            return
        away = failure is not None and failure.kind not in _ANSWERED
        event = self._lanes.landed(lane, ok=failure is None, away=away, now=now)
        if event == "opened":
            self._breakers.append((lane.webhook_id, lane.open_until - now, lane.trips))
        elif event == "closed":
            self._breakers.append((lane.webhook_id, 0.0, 0))
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        if not self._results:
            self._oldest_result = now
        self._results.append(verdict(row, lane.url, outcome, self._now(), jitter))
        if len(self._results) >= BATCH_MOST or self._lanes.buffered == 0:
            self._wake.set()

    def _now(self) -> datetime:
        assert self._desk is not None
        return self._desk.now()

    def _verify(self, call: calls.Verification) -> None:
        if call.webhook.pk not in self._verifying and not self._stopping:
            self._verifying.add(call.webhook.pk)
            self._start(self._verification(call))

    async def _verification(self, call: calls.Verification) -> None:
        assert self._desk is not None
        try:
            prepared = await self._in_database(self._desk.prepare, call)
            if not isinstance(prepared, Outcome):
                timeout = call.webhook.exchange_timeout
                prepared = await self._sender.send(prepared, timeout=timeout)
                self.sent += 1
            await self._in_database(self._desk.conclude, call, prepared)
            self._wake.set()
        except calls.OurFault:
            await asyncio.sleep(FAULT_PAUSE)
        except DatabaseError as error:
            log.warning("a verification is not recorded (%s), it is asked for again", error)
        finally:
            self._verifying.discard(call.webhook.pk)

    async def _land(self) -> None:
        """What flies is finished within its own timeout and written; slots of which nothing flies
        are given away meanwhile."""
        until = time.monotonic() + LANDING_MOST
        tries = 5
        while self._desk is not None and (self._tasks or self._results):
            turn = Turn(
                finished=self._results,
                finish_again=self._finish_again,
                leaving=True,
                busy=self._lanes.busy(),
            )
            self._results = []
            try:
                await self._ask(self._desk, turn)
            except (OperationalError, InterfaceError):
                self._take_back(turn)
                await self._in_database(self._desk.reset)
                tries -= not self._tasks
                await asyncio.sleep(0.5)
            else:
                self._recorded(turn)
            if not tries or time.monotonic() > until:
                break
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=0.05)
        if self._results:
            log.error("%d outcomes could not be written and are sent again", len(self._results))


def run(
    *,
    once: bool = False,
    until_empty: bool = False,
    concurrency: int | None = None,
    on_start: Callable[[], None] | None = None,
    sender: Sender | None = None,
) -> int:
    """Run a worker in this thread; returns the number of exchanges made.

    Stops gracefully on SIGTERM and SIGINT when called in the main thread. `until_empty`: returns
    when nothing is due any more; `once`: the same, without waiting for what becomes due meanwhile.
    `on_start` is called once, when the worker owns webhooks.
    """
    loop = new_event_loop()

    async def main() -> int:
        worker = Worker(
            alias=router.db_for_write(Delivery),
            sender=sender or Sender(),
            concurrency=concurrency or conf.concurrency(),
            until_empty=until_empty,
            once=once,
        )
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, worker.stop)
        return await worker.run(on_start)

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()
