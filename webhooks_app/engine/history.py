"""What happened, written down: an attempt for every exchange, the health of its webhook and the
hourly counts.

Called inside a transaction, together with the state changes that belong to it.
"""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from ..models import Attempt, HourlyCount, Webhook, WebhookHealth
from ..models.health import COUNT_COLUMNS, LATENCY_COLUMNS, hour_of
from ..rules import echoes
from ..rules.failures import Failure
from . import rows
from .sender import Outcome

ANSWER_KEPT = 4096  # bytes of an answer that the history keeps
FAILING_STOPS_AFTER = timedelta(days=5)  # of nothing but failure

_ATTEMPT_COLUMNS = (
    ("webhook_id", "text"),
    ("delivery_id", "text"),
    ("exchange", "text"),
    ("request_id", "text"),
    ("number", "int"),
    ("requested_by", "text"),
    ("started_at", "timestamptz"),
    ("duration_ms", "int"),
    ("dns_ms", "int"),
    ("connect_ms", "int"),
    ("tls_ms", "int"),
    ("wait_ms", "int"),
    ("read_ms", "int"),
    ("url", "text"),
    ("address", "text"),
    ("status", "int"),
    ("kind", "text"),
    ("message", "text"),
    ("answer", "text"),
)
_HEALTH_COLUMNS = (
    ("id", "text"),
    ("attempt_at", "timestamptz"),
    ("success_at", "timestamptz"),
    ("error_at", "timestamptz"),
    ("error_message", "text"),
    ("error_kind", "text"),
    ("starts_anew", "int"),
    ("failures", "int"),
    ("first_failure_at", "timestamptz"),
    ("certificate_ends_at", "timestamptz"),
)
_COUNTS_ROW = (
    ("webhook_id", "text"),
    ("hour", "timestamptz"),
    *((name, "int") for name in COUNT_COLUMNS),
)
_NO_COUNTS = (0,) * len(COUNT_COLUMNS)
_DELIVERED, _FAILED, _FIRST_LATENCY = 2, 3, 4  # places in such a row
_LATENCY_BOUNDS = [bound for _, bound in LATENCY_COLUMNS if bound is not None]
# Verifications and tests are noted, but say nothing about how a webhook does.
COUNTING = frozenset((Attempt.Exchange.DELIVERY.value, Attempt.Exchange.INTERACTION.value))


@dataclass(slots=True)
class Entry:
    """One exchange as it will stand in the history. `failure` is the verdict, which may go
    further than the outcome's own (an answer that is no JSON, a challenge not echoed)."""

    webhook_id: str
    exchange: str
    request_id: str
    url: str
    outcome: Outcome
    failure: Failure | None
    delivery_id: str | None = None
    number: int = 1
    requested_by: str = ""

    @property
    def ended_at(self) -> datetime:
        return self.outcome.started_at + timedelta(milliseconds=self.outcome.duration_ms)


def storable(text: str) -> str:
    """Text that every database takes: PostgreSQL has no NUL."""
    return text.replace("\0", "\ufffd")


def record(connection: BaseDatabaseWrapper, entries: list[Entry]) -> None:
    """Write attempts, health and hourly counts of some exchanges, in the caller's transaction."""
    if not entries:
        return
    attempts = [_attempt_row(entry) for entry in entries]
    rows.execute(connection, _attempts_insert(), _ATTEMPT_COLUMNS, attempts)
    rows.execute(connection, _health_update(), _HEALTH_COLUMNS, _health_rows(entries))
    if counts := _count_rows(entries):
        rows.execute(connection, _counts_upsert(), _COUNTS_ROW, counts)
    _stop_hopeless(connection, entries)


def _kept(outcome: Outcome) -> str:
    answer = echoes.masked(outcome.body, outcome.secrets)
    return answer[:ANSWER_KEPT].decode("utf-8", "replace")


def _table(model: Any) -> str:
    return str(model._meta.db_table)


def _attempt_row(entry: Entry) -> tuple[Any, ...]:
    outcome, failure = entry.outcome, entry.failure
    return (
        entry.webhook_id,
        entry.delivery_id,
        entry.exchange,
        entry.request_id,
        entry.number,
        entry.requested_by,
        outcome.started_at,
        outcome.duration_ms,
        outcome.dns_ms,
        outcome.connect_ms,
        outcome.tls_ms,
        outcome.wait_ms,
        outcome.read_ms,
        entry.url,
        outcome.address,
        outcome.status,
        failure.kind if failure else "",
        storable(failure.message) if failure else "",
        storable(_kept(outcome)),
    )


@cache
def _attempts_insert() -> str:
    names = ", ".join(name for name, _ in _ATTEMPT_COLUMNS)
    return f"INSERT INTO {_table(Attempt)} ({names}) SELECT {names} FROM {{rows}}"


def _health_rows(entries: list[Entry]) -> list[tuple[Any, ...]]:
    """One row a webhook, sorted by id so that two writers never deadlock."""
    by_webhook: dict[str, list[Entry]] = {}
    for entry in entries:
        by_webhook.setdefault(entry.webhook_id, []).append(entry)
    return [_health_row(ident, by_webhook[ident]) for ident in sorted(by_webhook)]


def _health_row(webhook_id: str, entries: list[Entry]) -> tuple[Any, ...]:
    success_at: datetime | None = None
    first_failure_at: datetime | None = None
    failures = starts_anew = 0
    last_error: Entry | None = None
    certificate_ends_at: datetime | None = None
    for entry in entries:
        certificate_ends_at = entry.outcome.certificate_ends_at or certificate_ends_at
        if entry.failure is not None:
            last_error = entry
            if entry.exchange in COUNTING:
                failures += 1
                first_failure_at = first_failure_at or entry.ended_at
        elif entry.exchange != Attempt.Exchange.VERIFICATION:
            success_at = entry.ended_at
            failures, first_failure_at, starts_anew = 0, None, 1
    return (
        webhook_id,
        entries[-1].ended_at,
        success_at,
        last_error.ended_at if last_error else None,
        storable(last_error.failure.message) if last_error and last_error.failure else "",
        last_error.failure.kind if last_error and last_error.failure else "",
        starts_anew,
        failures,
        first_failure_at,
        certificate_ends_at,
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
          certificate_ends_at = COALESCE(r.certificate_ends_at, h.certificate_ends_at)
        FROM {{rows}}
        WHERE h.webhook_id = r.id"""


def _count_rows(entries: list[Entry]) -> list[list[Any]]:
    """One row a webhook and hour, sorted so that two writers never deadlock."""
    by_hour: dict[tuple[str, datetime], list[Any]] = {}
    for entry in entries:
        if entry.exchange not in COUNTING:
            continue
        outcome = entry.outcome
        key = (entry.webhook_id, hour_of(outcome.started_at))
        row = by_hour.get(key)
        if row is None:
            row = by_hour[key] = [*key, *_NO_COUNTS]
        row[_DELIVERED if entry.failure is None else _FAILED] += 1
        if outcome.status is not None:
            row[_FIRST_LATENCY + bisect_left(_LATENCY_BOUNDS, outcome.duration_ms)] += 1
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


def _stop_hopeless(connection: BaseDatabaseWrapper, entries: list[Entry]) -> None:
    """A webhook with nothing but failure for 5 days is stopped: `failing`."""
    failed = {entry.webhook_id for entry in entries if entry.failure is not None}
    if not failed:
        return
    Webhook.objects.using(connection.alias).filter(
        pk__in=failed,
        stopped="",
        health__failures_in_row__gt=0,
        health__failing_since__lt=timezone.now() - FAILING_STOPS_AFTER,
    ).update(
        stopped=Webhook.Stopped.FAILING,
        stopped_note="nothing but failure for 5 days",
        stopped_by="",
        stopped_at=datetime.now(UTC),
    )
