"""What happened, written down: an attempt for every exchange, the health of its webhook, the hourly
counts and the totals.

Called inside a transaction, together with the state changes that belong to it.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from django.db import IntegrityError
from django.db.models import Min, Q, QuerySet

from ...models import Attempt, Delivery, HourlyCount, HourlyTotal, Webhook, WebhookHealth
from ...models.health import COUNT_COLUMNS, LATENCY_COLUMNS
from ...models.primary import present
from ...rules.failures import ANSWERED
from ...rules.ids import other_process
from . import counters, errors, microseconds
from .base import Store
from .values import AttemptRow, Finished

T = TypeVar("T")

FAILING_STOPS_AFTER = timedelta(days=5)  # of nothing but failure

_ATTEMPT_COLUMNS = (
    ("id", "int8"),
    ("webhook_id", "text"),
    ("delivery_id", "text"),
    ("exchange", "text"),
    ("request_id", "text"),
    ("number", "int2"),
    ("requested_by", "text"),
    ("ended_at", "moment"),
    ("duration_ms", "int4"),
    ("dns_ms", "int4"),
    ("connect_ms", "int4"),
    ("tls_ms", "int4"),
    ("wait_ms", "int4"),
    ("read_ms", "int4"),
    ("url", "text"),
    ("address", "text"),
    ("status", "int2"),
    ("kind", "text"),
    ("message", "text"),
    ("answer", "text"),
    ("answer_headers", "text"),
    ("tls_version", "text"),
)
_HEALTH_COLUMNS = (
    ("id", "text"),
    ("attempt_at", "moment"),
    ("success_at", "moment"),
    ("error_at", "moment"),
    ("error_message", "text"),
    ("error_kind", "text"),
    ("starts_anew", "int4"),
    ("failures", "int4"),
    ("first_failure_at", "moment"),
    ("certificate_ends_at", "moment"),
    ("closes_breaker", "int4"),
)
_COUNTS_ROW = (
    ("webhook_id", "text"),
    ("hour", "moment"),
    *((name, "int4") for name in COUNT_COLUMNS),
)
_NO_COUNTS = (0,) * len(COUNT_COLUMNS)
_HOUR, _DELIVERED, _FAILED, _FIRST_LATENCY = 1, 2, 3, 4  # places in such a row
_LATENCY_BOUNDS = [bound for _, bound in LATENCY_COLUMNS if bound is not None]
# All others are noted, but say nothing about how a webhook does.
COUNTING = frozenset((Attempt.Exchange.DELIVERY.value, Attempt.Exchange.INTERACTION.value))
# A success of these does not even end a run of failures.
ENDS_NO_RUN = frozenset((Attempt.Exchange.VERIFICATION.value, Attempt.Exchange.TOKEN.value))
# A receiver that answers one of these, well or badly, is there: its breaker closes. That of
# deliveries is kept by the worker that owns the webhook.
CLOSES_BREAKER = frozenset((Attempt.Exchange.INTERACTION.value, Attempt.Exchange.TEST.value))


CLASHES_MOST = 5
_elsewhere = 0  # makes the keys of this process, by exclusive or, those of another one


def with_free_keys(write: Callable[[], T]) -> T:
    """`write`, a whole transaction that writes attempts. When one of their keys is taken, as when
    two processes drew the same number, it is done again with keys of another process."""
    global _elsewhere
    for _ in range(CLASHES_MOST):
        try:
            return write()
        except IntegrityError as error:
            if not errors.is_taken(error):
                raise
            _elsewhere = other_process()
    return write()


def write(
    store: Store,
    attempts: Sequence[AttemptRow],
    given_up: Sequence[str] = (),
    stops: Collection[str] = (),
) -> None:
    """`Store.record`; `given_up`: of the deliveries that ended with these undelivered, the kind of
    error of each."""
    if not attempts:
        return
    columns = len(_ATTEMPT_COLUMNS)
    plain: list[tuple[Any, ...]] = [row[:columns] for row in attempts]
    if _elsewhere:
        plain = [(row[0] ^ _elsewhere, *row[1:]) for row in plain]
    hopeless = _hopeless(store, {row.webhook_id for row in attempts if row.kind})
    if to_stop := {*stops, *hopeless}:  # before the health, as all who lock both
        Webhook.objects.using(store.connection.alias).filter(pk__in=to_stop).lock()
    health = _health_rows(attempts)
    # Before the attempts: purge removes no webhook beside a change of its health.
    if store.execute(_health_update(), _HEALTH_COLUMNS, health) < len(health):
        _begin_health(store, health)
    store.insert(_table(Attempt), _ATTEMPT_COLUMNS, plain)
    if counts := _count_rows(attempts):
        store.execute(_counts_upsert(), _COUNTS_ROW, counts)
        _forget_totals(store, counts)
    if hopeless:
        _stop_hopeless(store, hopeless)
    # The last lock, held for the shortest time.
    counters.note(store, attempts, given_up)


def _table(model: Any) -> str:
    return str(model._meta.db_table)


def _begin_health(store: Store, health: Sequence[tuple[Any, ...]]) -> None:
    """Of webhooks that had no health row: not called before, or removed."""
    rows = WebhookHealth.objects.using(store.connection.alias)
    found = rows.filter(pk__in=[row[0] for row in health])
    # One that another has begun meanwhile is there now, and says nothing of ours.
    says = dict(found.values_list("pk", "last_attempt_at"))
    missed = [row for row in health if says.get(row[0]) != microseconds.at(row[1])]
    if rows.begin(row[0] for row in missed) < len(missed):
        raise IntegrityError("a webhook was removed while it was called")
    if missed:
        store.execute(_health_update(), _HEALTH_COLUMNS, missed)


def _health_rows(attempts: Sequence[AttemptRow]) -> list[tuple[Any, ...]]:
    """One row a webhook, sorted by id so that two writers never deadlock."""
    by_webhook: dict[str, list[AttemptRow]] = {}
    for row in attempts:
        by_webhook.setdefault(row.webhook_id, []).append(row)
    return [_health_row(ident, by_webhook[ident]) for ident in sorted(by_webhook)]


def _health_row(webhook_id: str, attempts: Sequence[AttemptRow]) -> tuple[Any, ...]:
    last_success: AttemptRow | None = None
    first_failure: AttemptRow | None = None
    last_error: AttemptRow | None = None
    failures, starts_anew, closes_breaker = 0, 0, 0
    certificate_ends_at: int | None = None
    for row in attempts:
        certificate_ends_at = row.certificate_ends_at or certificate_ends_at
        if row.exchange in CLOSES_BREAKER and (not row.kind or row.kind in ANSWERED):
            closes_breaker = 1
        if row.kind:
            last_error = row
            if row.exchange in COUNTING:
                failures += 1
                first_failure = first_failure or row
        elif row.exchange not in ENDS_NO_RUN:
            # A test that succeeds ends a run of failures; it is no success of a call.
            failures, first_failure, starts_anew = 0, None, 1
            if row.exchange in COUNTING:
                last_success = row
    return (
        webhook_id,
        attempts[-1].ended_at,
        last_success.ended_at if last_success else None,
        last_error.ended_at if last_error else None,
        last_error.message if last_error else "",
        last_error.kind if last_error else "",
        starts_anew,
        failures,
        first_failure.ended_at if first_failure else None,
        certificate_ends_at,
        closes_breaker,
    )


@cache
def _health_update() -> str:
    return f"""
        UPDATE {_table(WebhookHealth)} AS h SET
          last_attempt_at = r.attempt_at,
          last_success_at = COALESCE(r.success_at, h.last_success_at),
          last_error_at = COALESCE(r.error_at, h.last_error_at),
          last_error_message =
            CASE WHEN r.error_at IS NULL THEN h.last_error_message ELSE r.error_message END,
          last_error_kind =
            CASE WHEN r.error_at IS NULL THEN h.last_error_kind ELSE r.error_kind END,
          failures_in_row =
            CASE WHEN r.starts_anew = 1 THEN 0 ELSE h.failures_in_row END + r.failures,
          failing_since =
            CASE WHEN r.starts_anew = 1 THEN r.first_failure_at
                 ELSE COALESCE(h.failing_since, r.first_failure_at) END,
          certificate_ends_at = COALESCE(r.certificate_ends_at, h.certificate_ends_at),
          breaker_until = CASE WHEN r.closes_breaker = 1 THEN NULL ELSE h.breaker_until END,
          breaker_trips = CASE WHEN r.closes_breaker = 1 THEN 0 ELSE h.breaker_trips END
        FROM {{rows}}
        WHERE h.webhook_id = r.id"""


def _count_rows(attempts: Sequence[AttemptRow]) -> list[list[Any]]:
    """One row a webhook and hour, sorted so that two writers never deadlock."""
    by_hour: dict[tuple[str, int], list[Any]] = {}
    for attempt in attempts:
        if attempt.exchange not in COUNTING:
            continue
        key = (attempt.webhook_id, microseconds.hour_of(attempt.ended_at))
        row = by_hour.get(key)
        if row is None:
            row = by_hour[key] = [*key, *_NO_COUNTS]
        row[_FAILED if attempt.kind else _DELIVERED] += 1
        if attempt.status is not None:
            row[_FIRST_LATENCY + bisect_left(_LATENCY_BOUNDS, attempt.duration_ms)] += 1
    return [by_hour[key] for key in sorted(by_hour)]


@cache
def _counts_upsert() -> str:
    table = _table(HourlyCount)
    names = ", ".join(name for name, _ in _COUNTS_ROW)
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in COUNT_COLUMNS)
    return f"""
        INSERT INTO {table} ({names}) SELECT {names}
        FROM {{rows}} WHERE true
        ON CONFLICT (webhook_id, hour) DO UPDATE SET {sums}"""


def _forget_totals(store: Store, counts: Sequence[Sequence[Any]]) -> None:
    """Hours that are over may have been summed already; they are summed again (see `totals`)."""
    hour = microseconds.hour_of(microseconds.now())
    if over := {microseconds.at(row[_HOUR]) for row in counts if row[_HOUR] < hour}:
        HourlyTotal.objects.using(store.connection.alias).filter(hour__in=over).delete()


def _hopeless(store: Store, failed: set[str]) -> list[str]:
    """Those of these webhooks that nothing but failure has come from for 5 days, before this."""
    if not failed:
        return []
    rows = Webhook.objects.using(store.connection.alias).live().filter(pk__in=failed, stopped="")
    return list(rows.filter(_failing_long(store)).values_list("pk", flat=True))


def _failing_long(store: Store) -> Q:
    since = present(store.connection.alias) - FAILING_STOPS_AFTER
    return Q(health__failures_in_row__gt=0, health__failing_since__lt=since)


def _stop_hopeless(store: Store, webhook_ids: Collection[str]) -> None:
    """Those that still are so are stopped: `failing`."""
    rows = Webhook.objects.using(store.connection.alias).filter(pk__in=webhook_ids)
    rows = rows.filter(_failing_long(store))
    _stop(rows, Webhook.Stopped.FAILING, "nothing but failure for 5 days")


def stop_of(store: Store, batch: Sequence[Finished], given_up: Sequence[Finished]) -> None:
    """Webhooks whose receivers answered 410 are stopped, whatever their deliveries have become
    meanwhile; and those that stop at what gave up."""
    if gone := {item.attempt.webhook_id for item in batch if item.stops == Webhook.Stopped.GONE}:
        stop_gone(store, gone)
    if dead := [i.attempt.request_id for i in given_up if i.stops == Webhook.Stopped.BLOCKED]:
        _block(store, dead)


def stop_gone(store: Store, webhook_ids: Collection[str]) -> None:
    rows = Webhook.objects.using(store.connection.alias).live().filter(pk__in=webhook_ids)
    _stop(rows, Webhook.Stopped.GONE, "the receiver answered 410")


def _block(store: Store, dead: Sequence[str]) -> None:
    """Stop the webhooks of these deliveries at the moment when the first of each gave up: what
    ended from then on is what they are stopped for. Behind one without a position, which was under
    way when the order was chosen, nothing waits."""
    alias = store.connection.alias
    rows: Any = Delivery.objects.using(alias).filter(pk__in=dead, position__isnull=False)
    first = rows.order_by("webhook").values_list("webhook").annotate(at=Min("finished_at"))
    for webhook_id, at in first:
        # One that ended a little earlier may be written a little later.
        sooner = Q(stopped="") | Q(stopped=Webhook.Stopped.BLOCKED, stopped_at__gt=at)
        webhook = Webhook.objects.using(alias).live().filter(pk=webhook_id)
        if not webhook.filter(sooner).update(**blocked(at)):
            # It is stopped for another reason, which stays: whoever ends that finds this one.
            webhook.filter(stopped_at__gt=at).update(stopped_at=at)


def blocked(at: datetime) -> dict[str, Any]:
    """What the row of a webhook says that is stopped for what gave up from that moment on."""
    note = "all tries of a delivery failed"
    return {
        "stopped": Webhook.Stopped.BLOCKED,
        "stopped_note": note,
        "stopped_by": "",
        "stopped_at": at,
    }


def _stop(rows: "QuerySet[Webhook]", reason: str, note: str) -> None:
    """The first reason stays."""
    rows.filter(stopped="").update(
        stopped=reason, stopped_note=note, stopped_by="", stopped_at=present(rows.db)
    )
