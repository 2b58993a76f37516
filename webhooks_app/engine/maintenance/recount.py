"""Hourly counts and health once more, from the attempts they were made of.

For a database that was restored in part or written to by hand: what `store.record` keeps beside
the attempts must say the same as the attempts do. Workers may go on meanwhile.
"""

from collections.abc import Iterator
from datetime import datetime

from django.db import router, transaction
from django.db.models import Count, OuterRef, Q, Subquery

from ... import conf
from ...models import Attempt, HourlyCount, HourlyTotal, Webhook, WebhookHealth
from ...models.delivery import KEYS_AHEAD
from ...models.health import HOUR, LATENCY_COLUMNS, hour_of
from ...models.primary import clock
from .. import store
from ..store.record import COUNTING, ENDS_NO_RUN

_WEBHOOKS_AT_ONCE = 200


def rebuild(since: datetime | None = None) -> Iterator[tuple[str, int]]:
    """Count the hours since a moment anew, then the health of every webhook.

    Each step is a transaction of its own, an hour or 200 webhooks, and yields what was written:
    `("hours", rows)` or `("webhooks", rows)`. Hours beyond the retention are left as they are:
    their attempts are gone.
    """
    alias = router.db_for_write(Attempt)
    kept = clock(alias) - conf.settings.retention
    hour = _next_hour(hour_of(kept if since is None else max(since, kept)))
    while hour is not None:
        yield "hours", count_hour(hour)
        store.open(alias).let_others_in()
        hour = _next_hour(hour + HOUR)
    last = ""
    while found := _next_webhooks(last):
        yield "webhooks", follow_health(found)
        store.open(alias).let_others_in()
        last = found[-1]


def _next_hour(hour: datetime) -> datetime | None:
    """The first hour from this one on that has attempts or counts."""
    counts = HourlyCount.objects.filter(hour__gte=hour).order_by("hour").values_list("hour")
    found = list(counts[:1])
    attempts = Attempt.objects.ended(since=hour).order_by("pk")
    if first := attempts.values_list("ended_at").first():
        # By its key the first; one whose key is ahead may have ended before it.
        before = max(hour, hour_of(first[0] - KEYS_AHEAD))
        found += attempts.ended(before, before + HOUR).values_list("ended_at")[:1] or [first]
    return hour_of(min(found)[0]) if found else None


def count_hour(hour: datetime) -> int:
    """Count one hour anew; returns how many webhooks had an attempt in it."""
    alias = router.db_for_write(HourlyCount)
    attempts = Attempt.objects.using(alias).ended(hour, hour + HOUR)
    attempts = attempts.filter(exchange__in=COUNTING)
    with transaction.atomic(using=alias):
        # Whoever is recording has committed after this, or comes with his counts later on.
        store.open(alias).lock_table(HourlyCount._meta.db_table)
        HourlyCount.objects.using(alias).filter(hour=hour).delete()
        HourlyTotal.objects.using(alias).filter(hour=hour).delete()
        counted = attempts.order_by().values("webhook_id").annotate(**_counts())
        rows = [HourlyCount(hour=hour, **row) for row in counted.iterator()]
        HourlyCount.objects.using(alias).bulk_create(rows, batch_size=1000)
    return len(rows)


def _counts() -> dict[str, Count]:
    counts = {
        "delivered": Count("pk", filter=Q(kind="")),
        "failed": Count("pk", filter=~Q(kind="")),
    }
    lower = -1
    for name, bound in LATENCY_COLUMNS:
        within = Q(status__isnull=False, duration_ms__gt=lower)
        if bound is not None:
            within &= Q(duration_ms__lte=bound)
            lower = bound
        counts[name] = Count("pk", filter=within)
    return counts


def _next_webhooks(after: str) -> list[str]:
    rows = Webhook.objects.filter(pk__gt=after).order_by("pk")
    return list(rows.values_list("pk", flat=True)[:_WEBHOOKS_AT_ONCE])


def follow_health(webhook_ids: list[str]) -> int:
    """Take the health of these webhooks from their attempts; returns how many have any.

    What a person cleared stays cleared.
    """
    alias = router.db_for_write(WebhookHealth)
    healths = WebhookHealth.objects.using(alias).filter(pk__in=webhook_ids).order_by("pk")
    own = Attempt.objects.using(alias).filter(webhook=OuterRef("pk")).order_by("-id").values("id")
    with transaction.atomic(using=alias):
        WebhookHealth.objects.using(alias).begin(webhook_ids)
        # The lock first: what was recorded before it is seen by every statement after it.
        rows = {health.pk: health for health in healths.select_for_update()}
        newest = healths.values_list(
            "pk",
            Subquery(own[:1]),
            Subquery(own.filter(kind="").exclude(exchange__in=ENDS_NO_RUN)[:1]),
            Subquery(own.exclude(kind="")[:1]),
            Subquery(own.filter(kind="", exchange__in=COUNTING)[:1]),
        )
        found = [(rows[pk], *idents) for pk, *idents in newest if idents[0] is not None]
        wanted = {ident for _, *idents in found for ident in idents if ident is not None}
        attempts = Attempt.objects.using(alias).defer("answer").in_bulk(wanted)
        for health, last, success, error, called in found:
            _follow(health, attempts[last], attempts.get(success), attempts.get(error))
            health.last_success_at = attempts[called].ended_at if called else None
            health.save(using=alias)
    return len(found)


def _follow(
    health: WebhookHealth, newest: Attempt, success: Attempt | None, error: Attempt | None
) -> None:
    health.last_attempt_at = newest.ended_at
    if error is not None and not _before(error, health.error_cleared_at):
        health.last_error_at = error.ended_at
        health.last_error_message = error.message
        health.last_error_kind = error.kind
    run = Attempt.objects.filter(
        webhook=health.pk, exchange__in=COUNTING, id__gt=success.pk if success else 0
    ).failed()
    if health.run_cleared_at is not None:
        run = run.filter(ended_at__gt=health.run_cleared_at)
    first = run.order_by("id").defer("answer").first() if error else None
    health.failures_in_row = run.count() if first else 0
    health.failing_since = first.ended_at if first else None


def _before(attempt: Attempt, moment: datetime | None) -> bool:
    return moment is not None and attempt.ended_at <= moment
