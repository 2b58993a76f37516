"""One delivery after the other: build → send → verdict, and what it says about the receiver."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf

from .. import request_ids
from ..models import Attempt, Delivery, Webhook
from ..rules import failures, schedules
from . import attempt_rows, file_limit, timings
from .completer import Completer
from .fetcher import Fetcher
from .http import message
from .http.exchange import Outcome
from .http.sender import Sender
from .knobs import Knobs
from .lanes import Lane, Lanes
from .store import Claimed, Finished, microseconds
from .tasks import Tasks

log = logging.getLogger("webhooks")

_DELIVERY, _DELIVERED = Attempt.Exchange.DELIVERY.value, Delivery.State.DELIVERED.value
_FAILED = Delivery.State.FAILED.value


def verdict(
    row: Claimed,
    lane_url: str,
    outcome: Outcome,
    started_at: int,
    jitter: float,
    *,
    stops: bool = False,
) -> Finished:
    """What becomes of a delivery after an attempt that began then (microseconds). `jitter` is a
    factor around 1. `stops`: with its last try its webhook is stopped."""
    failure = outcome.failure
    now = started_at + 1000 * outcome.duration_ms
    begin = (row.webhook_id, row.id, _DELIVERY, row.id, row.tries + 1, row.requested_by, now)
    attempt = attempt_rows.row(outcome, failure, lane_url, begin)
    if failure is None:
        return Finished(attempt, row.tries, _DELIVERED, None, now)
    delays = schedules.delays(row.retry_schedule)
    gone = failure.kind == "gone"
    if gone or row.tries >= len(delays):
        reason = Webhook.Stopped.GONE if gone else Webhook.Stopped.BLOCKED if stops else ""
        return Finished(attempt, row.tries, _FAILED, None, now, str(reason))
    wait = delays[row.tries] * jitter
    if outcome.status in (429, 503) and outcome.retry_after is not None:
        wait = max(wait, outcome.retry_after)
    due_at = now + round(wait * microseconds.SECOND)
    return Finished(attempt, row.tries, Delivery.State.PENDING.value, due_at, None)


def slow_most(concurrency: int, knobs: Knobs) -> int:
    """Calls that may be under way without a place. Half of the files are for what is kept open, and
    for everybody else."""
    return max(0, min(knobs.slow_times * concurrency, file_limit.limit() // 2 - concurrency))


class Sending:
    """Belongs to the event loop."""

    def __init__(
        self,
        *,
        lanes: Lanes,
        sender: Sender,
        fetcher: Fetcher,
        completer: Completer,
        tasks: Tasks,
        wake: asyncio.Event,
        may_send: Callable[[float], bool],
        concurrency: int,
        knobs: Knobs,
    ) -> None:
        self._lanes = lanes  # where the next delivery comes from
        self._sender = sender
        self._fetcher = fetcher  # the database's clock, and large bodies
        self._completer = completer  # where outcomes go
        self._tasks = tasks
        self._wake = wake  # the worker's cycle: a lane starves
        self._may_send = may_send  # asked before each delivery
        self._concurrency = concurrency
        self._slow_most = slow_most(concurrency, knobs)
        self._knobs = knobs
        # Those with a place: ids, since when, in that order, and of which lane.
        self._flying: dict[str, tuple[float, Lane]] = {}
        self._slow: set[str] = set()  # gave their place away
        self._large = asyncio.Semaphore(knobs.large_most)
        self._alarm: asyncio.TimerHandle | None = None  # a lane that stands aside may go on
        self._alarm_at = inf  # monotonic seconds
        self.stopping = False  # set by the worker: what is large and not begun stays due
        self.sent = 0

    @property
    def in_flight(self) -> int:
        return len(self._flying) + len(self._slow)

    def dispatch(self) -> None:
        """Send as much as may be under way."""
        self._make_room(time.monotonic())
        while len(self._flying) < self._concurrency:
            taken = self._next()
            if taken is None:
                return
            self._flying[taken[1].id] = time.monotonic(), taken[0]
            self._tasks.start(self._send_on(*taken))

    def _make_room(self, now: float) -> None:
        """A few receivers that hang must not hold all places: their calls go on without one."""
        while self._flying and len(self._slow) < self._slow_most:
            oldest = next(iter(self._flying))
            since, lane = self._flying[oldest]
            if now - since < self._knobs.slow_after:
                return
            del self._flying[oldest]
            self._slow.add(oldest)
            self._lanes.slowed(lane)

    def _next(self) -> tuple[Lane, Claimed] | None:
        now = time.monotonic()
        if not self._may_send(now) or self._completer.is_full:
            return None
        taken = self._lanes.take(now)
        if taken is None and self._lanes.rests.waiting:
            self._wait(self._lanes.rests.waiting[0][0], now)
        return taken

    def _wait(self, at: float, now: float) -> None:
        """Go on when the first of the lanes that stand aside may."""
        if at >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.get_running_loop().call_later(at - now, self._ring)

    def _ring(self) -> None:
        self._alarm_at = inf
        self.dispatch()

    def tell_rests(self) -> None:
        """Note which lanes rest, and until when, for people and for the worker that owns their
        webhooks next."""
        for webhook_id, left, asked in self._lanes.rests.news(time.monotonic()):
            until = self._after(left) if left else None
            self._completer.note(webhook_id, rests_until=until, rests=asked)

    def _after(self, seconds: float) -> datetime:
        """By the database's clock."""
        return microseconds.at(self._fetcher.now()) + timedelta(seconds=seconds)

    async def _send_on(self, lane: Lane, row: Claimed) -> None:
        """Make one exchange after the other, while there is a delivery to send."""
        taken: tuple[Lane, Claimed] | None = (lane, row)
        while taken is not None:
            lane, row = taken
            request_ids.current.set(row.stored_in or "")
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
            self._land(lane, row, started_at, outcome)
            taken = None
            if slow:
                self.dispatch()
            elif taken := self._next():
                self._flying[taken[1].id] = time.monotonic(), taken[0]

    async def _deliver_large(self, lane: Lane, row: Claimed) -> tuple[int, Outcome]:
        lane.large = lane.large or asyncio.Semaphore(self._knobs.large_each)
        # The webhook's own places first: who hangs must not hold those of all.
        async with lane.large, self._large:
            if self.stopping:  # it stays due
                return 0, Outcome(datetime.now(UTC), failure=failures.internal())
            body = await self._fetcher.payload(row)
            return await self._deliver(lane, row, body)

    async def _deliver(self, lane: Lane, row: Claimed, body: bytes) -> tuple[int, Outcome]:
        """When the exchange began by the database's clock, and how it went."""
        started_at = self._fetcher.now()
        if lane.head is None:
            return started_at, Outcome(datetime.now(UTC), failure=lane.failure)
        now = started_at // microseconds.SECOND
        request = message.post(
            lane.head, request_id=row.id, now=now, body=body, event=row.of, sequence=row.sequence
        )
        outcome = await self._sender.send(request, timeout=lane.timeout)
        self.sent += 1
        return started_at + 1000 * outcome.waited_ms, outcome

    def _land(self, lane: Lane, row: Claimed, started_at: int, outcome: Outcome) -> None:
        now = time.monotonic()
        failure = outcome.failure
        if outcome.asked is not None:
            self._tasks.start(self._fetcher.note_asked(outcome.asked))
        if outcome.our_fault:
            self._lanes.our_fault(lane, row.id, now)
            return
        if timings.kept:
            timings.note_delivery(row.tries, row.place[0], started_at, outcome.duration_ms)
        away = failures.is_away(failure)
        event = self._lanes.landed(lane, ok=failure is None, away=away, now=now)
        if event == "opened":
            until = self._after(lane.breaker.until - now)
            self._completer.note(
                lane.webhook_id, breaker_until=until, breaker_trips=lane.breaker.trips
            )
        elif event == "closed":
            self._completer.note(lane.webhook_id, breaker_until=None, breaker_trips=0)
        if outcome.status == 429 or (outcome.status == 503 and outcome.retry_after is not None):
            self._lanes.rest(lane, outcome.retry_after, now)
        spread = self._knobs.jitter
        jitter = random.uniform(1 - spread, 1 + spread) if failure else 1.0  # noqa: S311
        stops = lane.line is not None and lane.line.stops
        finished = verdict(row, lane.url, outcome, started_at, jitter, stops=stops)
        self._completer.add(finished)
        if lane.line is not None:
            self._lanes.lines.follow(lane, row, again=finished.finished_at is None)
        if self._lanes.starves(lane):
            self._wake.set()
