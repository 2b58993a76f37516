"""How we do ourselves: who sends, how late, what is held and why. No receiver is blamed here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from statistics import quantiles
from typing import Any, Self

from django.db.models import F

from .. import conf
from ..engine.http.connection import ANSWER_LIMIT
from ..models import Attempt, Delivery, Worker, site, states
from ..models.health import WORKER_SILENT_AFTER
from ..models.lag import HourlyLag, worst_of_the_day
from ..models.primary import clock
from ..rules.ids import id_time, read_moment
from .collected import Collected
from .counts import COUNT_LIMIT, CountsAt, Sets
from .formatting import duration
from .looks import State

KEEPS_UP = timedelta(minutes=1)  # how long the oldest due delivery may wait
MINUTE = timedelta(minutes=1)
DUE = "due_"  # before the names of the sets of what is due
LOOKED_AT = 1000  # of the newest deliveries, and of the newest attempts
WORKERS_SHOWN = 50
ALIVE, STANDBY, SILENT = (
    State("alive", "Alive", "ok", "ok"),
    State("standby", "Stands by", "idle", "idle"),
    State("silent", "Silent", "off", "idle"),
)
HEALTHY = State("healthy", "Healthy", "ok", "ok")
LATE = State("late", "Late", "bad", "bad")
DEAD = State("dead", "No worker", "bad", "bad")
HELD = State("site", "Held", "pause", "bad")


@dataclass(frozen=True, slots=True)
class Rate:
    """How many a minute; `about` where the newest took less than one, and it is worked out."""

    count: int
    about: bool

    def __str__(self) -> str:
        return f"{'about ' if self.about else ''}{self.count:,}"


def rate_of(moments: Sequence[datetime], now: datetime) -> Rate:
    """`moments` are the newest LOOKED_AT, the newest first."""
    if len(moments) < LOOKED_AT or now - moments[-1] >= MINUTE:
        return Rate(sum(now - moment < MINUTE for moment in moments), about=False)
    span = max((now - moments[-1]).total_seconds(), 0.001)
    return Rate(round(len(moments) / span * 60), about=True)


class _Due(Collected):
    """How many of some deliveries there are, and since when the oldest of them is due: they are
    walked through once for both."""

    template = '(SELECT json_array(COUNT(*), MIN("one")) FROM (%(subquery)s) AS "counted")'

    @classmethod
    def among(cls, rows: Any) -> Self:
        return cls(rows.values(one=F("due_at"))[: COUNT_LIMIT + 1])


class CountsWithDue:
    """`CountsAt` of some sets, and of what could go out, as `due`, with since when the oldest of it
    could, as `due_since` (None: nothing could)."""

    def __init__(self, sets: Callable[[datetime], Sets]) -> None:
        self._counts = CountsAt(lambda now: {**_due(now), **sets(now)})

    def __call__(self, now: datetime) -> dict[str, Any]:
        found = self._counts(now)
        counted = [found[name] for name in found if name.startswith(DUE) and found[name]]
        since = [read_moment(first) for _, first in counted if first]
        count = min(sum(count for count, _ in counted), COUNT_LIMIT + 1)
        return {**found, "due": count, "due_since": min(since, default=None)}


def _due(now: datetime) -> Sets:
    return {f"{DUE}{place}": _Due.among(rows) for place, rows in enumerate(states.due(now))}


def _held(now: datetime) -> Sets:
    return {f"held_{reason}": rows for reason, rows in states.held_deliveries(now).items()}


_COUNTS = CountsWithDue(_held)


class OurSide:
    """Every part is read when the template comes to it."""

    def __init__(self) -> None:
        self.now = clock(Worker.objects.db)

    # --- who sends --------------------------------------------------------------------------------

    @cached_property
    def workers(self) -> list[tuple[Worker, State]]:
        """Those that were seen last first."""
        rows = Worker.objects.order_by("-seen_at").defer("in_flight_of")[:WORKERS_SHOWN]
        return [(row, self._does(row)) for row in rows]

    def _does(self, worker: Worker) -> State:
        if worker.seen_at <= self.now - WORKER_SILENT_AFTER:
            return SILENT
        return STANDBY if worker.standby else ALIVE

    @property
    def alive(self) -> list[Worker]:
        return [worker for worker, state in self.workers if state is not SILENT]

    @property
    def versions(self) -> list[str]:
        return sorted({worker.version or "before 0.2" for worker in self.alive})

    # --- how late ---------------------------------------------------------------------------------

    @cached_property
    def counts(self) -> dict[str, Any]:
        return _COUNTS(self.now)

    @property
    def lag(self) -> timedelta:
        since = self.counts["due_since"]
        return max(self.now - since, timedelta(0)) if since else timedelta(0)

    @cached_property
    def worst(self) -> HourlyLag | None:
        return worst_of_the_day(self.now)

    @property
    def worst_lag(self) -> str:
        return duration(timedelta(seconds=self.worst.seconds)) if self.worst else ""

    @cached_property
    def verdict(self) -> State:
        if site.is_held():
            return HELD
        if not self.alive:
            return DEAD
        return LATE if self.lag > KEEPS_UP else HEALTHY

    @property
    def headline(self) -> str:
        oldest = (
            f"the oldest due {'waits' if self.lag > KEEPS_UP else 'since'} {duration(self.lag)}"
        )
        count = len(self.alive)
        workers = f"{count} worker{'' if count == 1 else 's'} alive"
        match self.verdict.key:
            case "site":
                return "The whole site is held: nothing is sent"
            case "dead":
                return f"No worker is alive: nothing is sent, {oldest}"
            case "late":
                return f"Late: {oldest}, {workers}"
        return f"Healthy: {workers}, {oldest if self.counts['due'] else 'nothing is late'}"

    # --- how fast ---------------------------------------------------------------------------------

    @cached_property
    def accepted(self) -> Rate:
        """Deliveries stored a minute, by the times their ids begin with."""
        newest = Delivery.objects.order_by("-pk").values_list("pk", flat=True)[:LOOKED_AT]
        return rate_of([id_time(pk) for pk in newest], self.now)

    @cached_property
    def _attempts(self) -> list[tuple[Any, ...]]:
        tried = Attempt.objects.filter(exchange=Attempt.Exchange.DELIVERY, delivery__isnull=False)
        columns = ("ended_at", "duration_ms", "number", "delivery_id", "delivery__due_at")
        newest = Attempt.objects.order_by("-pk").values("pk")[:LOOKED_AT]
        return list(tried.filter(pk__in=newest).order_by("-pk").values_list(*columns))

    @property
    def sent(self) -> Rate:
        """Tries of deliveries a minute."""
        return rate_of([attempt[0] for attempt in self._attempts], self.now)

    @cached_property
    def first_calls(self) -> dict[str, str]:
        """From the moment a delivery could go out to its first call; of the newest attempts."""
        late = sorted(
            _lateness(delivery, due, ended - timedelta(milliseconds=duration))
            for ended, duration, number, delivery, due in self._attempts
            if number == 1
        )
        if not late:
            return {}
        parts = quantiles(late, n=20, method="inclusive") if len(late) > 1 else late * 19
        return {"median": _seconds(parts[9]), "most": _seconds(parts[18])}

    # --- what is held -----------------------------------------------------------------------------

    @property
    def held(self) -> list[tuple[str, str, int]]:
        """The reasons for which something is held, in a word, with the state of the webhooks that
        it waits for (`""`: the reason is the delivery's own) and how many."""
        keys = {state.reason: state.key for state in states.HOLDS}
        counts = {reason: self.counts.get(f"held_{reason}", 0) for reason in states.HELD_FOR}
        return [
            (states.HELD_FOR[reason], keys.get(reason, ""), count)
            for reason, count in counts.items()
            if count
        ]

    @property
    def held_in_all(self) -> int:
        return sum(count for _, _, count in self.held)

    # --- what a customer's operators ask ----------------------------------------------------------

    @property
    def addresses(self) -> tuple[str, ...]:
        return conf.settings.egress_addresses

    @property
    def plan(self) -> str:
        """The retry plan in words."""
        delays = conf.settings.retry_schedule
        if not delays:
            return "each delivery is tried once"
        return f"tried again after {', '.join(_delay(delay) for delay in delays)}"

    @property
    def timeout(self) -> str:
        return f"{conf.settings.timeout:g} s"

    @property
    def answer_kib(self) -> int:
        return ANSWER_LIMIT // 1024


def _lateness(delivery: str, due: datetime | None, began: datetime) -> float:
    """Seconds from when a delivery could go out first, when it was made or later where that was
    asked for, to its call. A due moment after the call is that of the next try."""
    made = id_time(delivery)
    since = max(made, due) if due and due <= began else made
    return max(0.0, (began - since).total_seconds())


def _seconds(value: float) -> str:
    return (
        f"{value * 1000:.0f} ms"
        if value < 1
        else f"{value:.1f} s"
        if value < 60
        else (duration(timedelta(seconds=value)))
    )


def _delay(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 60 else duration(timedelta(seconds=seconds))
