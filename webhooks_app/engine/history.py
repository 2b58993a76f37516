"""What happened, written down: an attempt for every exchange, the health of its webhook and the
hourly counts.

Called inside a transaction, together with the state changes that belong to it.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple, TypeVar

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from ..models import Attempt, HourlyCount, HourlyTotal, Webhook, WebhookHealth
from ..models.health import COUNT_COLUMNS, LATENCY_COLUMNS
from ..models.primary import present
from ..rules import echoes
from ..rules.failures import Failure
from ..rules.ids import keys, other_process
from . import moments, rows
from .sender import Outcome

T = TypeVar("T")

ANSWER_KEPT = 4096  # bytes of an answer that the history keeps
HEADER_KEPT = 300  # bytes of the value of such a header
FAILING_STOPS_AFTER = timedelta(days=5)  # of nothing but failure

# Of a failed exchange. None of them carries a session or a challenge.
_HEADERS_KEPT = frozenset(
    (b"content-type", b"content-length", b"date", b"location", b"retry-after", b"server")
)
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
)
_COUNTS_ROW = (
    ("webhook_id", "text"),
    ("hour", "moment"),
    *((name, "int4") for name in COUNT_COLUMNS),
)
_NO_COUNTS = (0,) * len(COUNT_COLUMNS)
_HOUR, _DELIVERED, _FAILED, _FIRST_LATENCY = 1, 2, 3, 4  # places in such a row
_LATENCY_BOUNDS = [bound for _, bound in LATENCY_COLUMNS if bound is not None]
# Verifications and tests are noted, but say nothing about how a webhook does.
COUNTING = frozenset((Attempt.Exchange.DELIVERY.value, Attempt.Exchange.INTERACTION.value))


class Row(NamedTuple):
    """An attempt as it is written: plain values, fit to be handed to another process."""

    id: int
    webhook_id: str
    delivery_id: str | None
    exchange: str
    request_id: str
    number: int
    requested_by: str
    ended_at: int  # see `moments`
    duration_ms: int
    dns_ms: int | None
    connect_ms: int | None
    tls_ms: int | None
    wait_ms: int | None
    read_ms: int | None
    url: str
    address: str
    status: int | None
    kind: str
    message: str
    answer: str
    answer_headers: str
    certificate_ends_at: int | None  # no column: it goes to the webhook's health


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

    def row(self) -> Row:
        begin = (self.webhook_id, self.delivery_id, self.exchange, self.request_id, self.number)
        ended_at = moments.of(self.ended_at)
        return row(self.outcome, self.failure, self.url, (*begin, self.requested_by, ended_at))


Begin = tuple[str, str | None, str, str, int, str, int]


def row(outcome: Outcome, failure: Failure | None, url: str, begin: Begin) -> Row:
    """`Entry.row`, for whoever makes very many; `begin` is what stands before `duration_ms`."""
    kind, text = (failure.kind, storable(failure.message)) if failure else ("", "")
    answer, answer_headers = _kept(outcome, headers=failure is not None)
    return Row(
        keys.draw(begin[-1] // 1000),
        *begin,
        outcome.duration_ms,
        outcome.dns_ms,
        outcome.connect_ms,
        outcome.tls_ms,
        outcome.wait_ms,
        outcome.read_ms,
        url,
        outcome.address,
        outcome.status,
        kind,
        text,
        storable(answer),
        storable(answer_headers),
        moments.of(outcome.certificate_ends_at) if outcome.certificate_ends_at else None,
    )


def storable(text: str) -> str:
    """Text that every database takes: PostgreSQL has no NUL."""
    return text.replace("\0", "\ufffd")


def _kept(outcome: Outcome, *, headers: bool) -> tuple[str, str]:
    """The start of the answer and, of a failed one, what helps to find a fault; without the
    webhook's secrets. The query of an address may hold a stranger's."""
    kept = [pair for pair in outcome.raw_headers if headers and pair[0].lower() in _HEADERS_KEPT]
    kept = kept[: len(_HEADERS_KEPT)]
    starts = [(outcome.body, ANSWER_KEPT)]
    for name, value in kept:
        shown = value.partition(b"?")[0] if name.lower() == b"location" else value
        starts.append((shown, HEADER_KEPT))
    answer, *values = _starts(starts, outcome.secrets)
    lines = [
        f"{name.decode()}: {' '.join(value.split())}"
        for (name, _), value in zip(kept, values, strict=True)
    ]
    return answer, "\n".join(lines)


def _starts(parts: Sequence[tuple[bytes, int]], secrets: Sequence[str]) -> list[str]:
    """Of each so many bytes as text, without the secrets, of which one may lie across the end."""
    starts = [data[:kept].decode("utf-8", "replace") for data, kept in parts]
    if not secrets:
        return starts
    texts = [data[: kept + echoes.MARGIN].decode("utf-8", "replace") for data, kept in parts]
    return echoes.all_masked(list(zip(texts, map(len, starts), strict=True)), secrets)


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
            if not rows.is_taken(error):
                raise
            _elsewhere = other_process()
    return write()


def record(connection: BaseDatabaseWrapper, entries: Sequence[Entry]) -> None:
    """Write attempts, health and hourly counts of some exchanges, in the caller's transaction.

    Raises IntegrityError when a webhook of theirs was removed meanwhile.
    """
    write(connection, [entry.row() for entry in entries])


def write(connection: BaseDatabaseWrapper, attempts: Sequence[Row]) -> None:
    """`record` of what are rows already."""
    if not attempts:
        return
    columns = len(_ATTEMPT_COLUMNS)
    plain: list[tuple[Any, ...]] = [row[:columns] for row in attempts]
    if _elsewhere:
        plain = [(row[0] ^ _elsewhere, *row[1:]) for row in plain]
    health = _health_rows(attempts)
    # Before the attempts: purge removes no webhook beside a change of its health.
    if rows.execute(connection, _health_update(), _HEALTH_COLUMNS, health) < len(health):
        _begin_health(connection, health)
    rows.insert(connection, _table(Attempt), _ATTEMPT_COLUMNS, plain)
    if counts := _count_rows(attempts):
        rows.execute(connection, _counts_upsert(), _COUNTS_ROW, counts)
        _forget_totals(connection, counts)
    _stop_hopeless(connection, {row.webhook_id for row in attempts if row.kind})


def _table(model: Any) -> str:
    return str(model._meta.db_table)


def _begin_health(connection: BaseDatabaseWrapper, health: Sequence[tuple[Any, ...]]) -> None:
    """Of webhooks that have no health row: not called before, or removed."""
    ids = {row[0] for row in health}
    present = WebhookHealth.objects.using(connection.alias).filter(pk__in=ids)
    ids.difference_update(present.values_list("pk", flat=True))
    if WebhookHealth.objects.using(connection.alias).begin(ids) < len(ids):
        raise IntegrityError("a webhook was removed while it was called")
    missed = [row for row in health if row[0] in ids]
    rows.execute(connection, _health_update(), _HEALTH_COLUMNS, missed)


def _health_rows(attempts: Sequence[Row]) -> list[tuple[Any, ...]]:
    """One row a webhook, sorted by id so that two writers never deadlock."""
    by_webhook: dict[str, list[Row]] = {}
    for row in attempts:
        by_webhook.setdefault(row.webhook_id, []).append(row)
    return [_health_row(ident, by_webhook[ident]) for ident in sorted(by_webhook)]


def _health_row(webhook_id: str, attempts: Sequence[Row]) -> tuple[Any, ...]:
    last_success: Row | None = None
    first_failure: Row | None = None
    last_error: Row | None = None
    failures, starts_anew = 0, 0
    certificate_ends_at: int | None = None
    for row in attempts:
        certificate_ends_at = row.certificate_ends_at or certificate_ends_at
        if row.kind:
            last_error = row
            if row.exchange in COUNTING:
                failures += 1
                first_failure = first_failure or row
        elif row.exchange != Attempt.Exchange.VERIFICATION:
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


def _count_rows(attempts: Sequence[Row]) -> list[list[Any]]:
    """One row a webhook and hour, sorted so that two writers never deadlock."""
    by_hour: dict[tuple[str, int], list[Any]] = {}
    for attempt in attempts:
        if attempt.exchange not in COUNTING:
            continue
        key = (attempt.webhook_id, moments.hour_of(attempt.ended_at))
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


def _forget_totals(connection: BaseDatabaseWrapper, counts: Sequence[Sequence[Any]]) -> None:
    """Hours that are over may have been summed already; they are summed again (see `totals`)."""
    hour = moments.hour_of(moments.now())
    if over := {moments.at(row[_HOUR]) for row in counts if row[_HOUR] < hour}:
        HourlyTotal.objects.using(connection.alias).filter(hour__in=over).delete()


def _stop_hopeless(connection: BaseDatabaseWrapper, failed: set[str]) -> None:
    """A webhook with nothing but failure for 5 days is stopped: `failing`."""
    if not failed:
        return
    now = present(connection.alias)
    Webhook.objects.using(connection.alias).filter(
        pk__in=failed,
        stopped="",
        health__failures_in_row__gt=0,
        health__failing_since__lt=now - FAILING_STOPS_AFTER,
    ).update(
        stopped=Webhook.Stopped.FAILING,
        stopped_note="nothing but failure for 5 days",
        stopped_by="",
        stopped_at=now,
    )
