"""Retention: what finished long ago is removed, what was held as long is given up."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.db import router, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from ..models import (
    Attempt,
    Delivery,
    Event,
    EventBody,
    HourlyCount,
    Note,
    Subscription,
    Webhook,
    WebhookHealth,
    states,
)
from ..models.primary import clock
from ..rules.hosts import host_of, read_host
from ..rules.ids import id_time
from . import store
from .transitions import cancel_rows

HOURS_KEPT = timedelta(days=30)  # at least: what screens look back at


def purge(
    older_than: timedelta,
    *,
    dry_run: bool = False,
    at_once: int = 1000,
    stopped: Callable[[], bool] = bool,
) -> dict[str, int]:
    """Remove what finished longer ago than `older_than`, and give up what was held that long.

    Deliveries that are pending stay, unless their webhook is held: those are cancelled with the
    reason "held too long". An event goes with its last delivery, a subscription that ended with
    the events it explains. Hourly counts stay for 30 days at least. Returns how many of each.
    Deletes `at_once` rows a transaction, until `stopped` says so: the rest is left for the next.
    """
    at = clock(router.db_for_write(Delivery))
    before = at - older_than
    finished = Delivery.objects.made(until=before).filter(finished_at__lt=before)
    loose = Attempt.objects.ended(until=before).filter(delivery__isnull=True)
    held = Delivery.objects.pending().filter(due_at__lt=before)
    held = held.filter(states.unclaimed(before))
    # What was late when its webhook was stopped has not been held for so long.
    held = held.exclude(webhook__stopped_at__gte=before)
    hours = HourlyCount.objects.filter(hour__lt=min(before, at - HOURS_KEPT))
    if dry_run:
        return {
            "deliveries": finished.count(),
            "attempts": loose.count()
            + Attempt.objects.filter(delivery__in=finished.values("pk")).count(),
            "held too long": held.count(),
            "events": _events(
                before, Q(created_at__gte=before) | ~Q(finished_at__lt=before)
            ).count(),
            "hourly counts": hours.count(),
        }
    removed = {
        **{"deliveries": 0, "attempts": 0, "held too long": 0, "events": 0, "hourly counts": 0},
    }
    for ids in batches(held.order_by("due_at"), at_once, stopped):
        removed["held too long"] += cancel_rows(held.filter(pk__in=ids), "held too long")
    place = ""
    by_id = finished.order_by("pk").values_list("pk", flat=True)
    while not stopped() and (ids := list(by_id.filter(pk__gt=place)[:at_once])):
        place = ids[-1]
        with transaction.atomic(using=router.db_for_write(Delivery)):
            store.open(router.db_for_write(Delivery)).by_index_only()
            # Retried meanwhile? Then it is not among the locked ones, and stays.
            locked = finished.filter(pk__in=ids).select_for_update().values_list("pk", flat=True)
            ids = list(locked)
            removed["attempts"] += Attempt.objects.filter(delivery__in=ids).delete()[0]
            removed["deliveries"] += Delivery.objects.filter(pk__in=ids).only("pk").delete()[0]
    for numbers in batches(loose.order_by("pk"), at_once, stopped):
        removed["attempts"] += Attempt.objects.filter(pk__in=numbers).delete()[0]
    removed["events"] = _purge_events(before, at_once, stopped)
    _purge_subscriptions(before, stopped)
    by_hour = hours.order_by("hour").values_list("hour", flat=True)
    while not stopped() and (hour := by_hour.first()) is not None:
        removed["hourly counts"] += hours.filter(hour=hour).delete()[0]
    for webhook in Webhook.objects.filter(deleted_at__lt=before).only("pk"):
        if stopped():
            break
        with transaction.atomic(using=router.db_for_write(Webhook)):
            remove_empty(webhook)
    return removed


def remove_empty(webhook: Webhook) -> bool:
    """In a transaction: a webhook without any history left, with what people noted about it, and
    about its host where it was the last one there."""
    # Whoever records an exchange holds the health of its webhook.
    list(WebhookHealth.objects.filter(pk=webhook.pk).select_for_update().values_list("pk"))
    if webhook.deliveries.exists() or webhook.attempts.exists():
        return False
    Note.objects.about(webhook).delete()
    url = webhook.url
    webhook.delete()
    with suppress(ValueError):  # a URL of none
        host = read_host(host_of(url))
        if not Webhook.objects.at_host(host).exists():
            Note.objects.about(host).delete()
    return True


def _events(before: datetime, kept: Q | None = None) -> "QuerySet[Event]":
    """Those made before a moment of which no delivery is there, or none that is kept."""
    deliveries = Delivery.objects.filter(event=OuterRef("pk"))
    old = Event.objects.made(until=before).filter(fanned_out_to__isnull=True)
    return old.exclude(Exists(deliveries if kept is None else deliveries.filter(kept)))


def _purge_events(before: datetime, at_once: int, stopped: Callable[[], bool]) -> int:
    removed, place = 0, ""
    by_id = _events(before).order_by("pk").values_list("pk", flat=True)
    while not stopped() and (ids := list(by_id.filter(pk__gt=place)[:at_once])):
        place = ids[-1]
        with transaction.atomic(using=router.db_for_write(Event)):
            EventBody.objects.filter(event__in=ids).delete()
            removed += Event.objects.filter(pk__in=ids).only("pk").delete()[0]
    return removed


def _purge_subscriptions(before: datetime, stopped: Callable[[], bool]) -> None:
    """Those that ended before the oldest event that is kept of their account."""
    ended = Subscription.objects.filter(valid_until__lt=before)
    for account in ended.order_by().values_list("account_id", flat=True).distinct():
        if stopped():
            return
        events = Event.objects.filter(account=account).order_by("pk")
        oldest = events.values_list("pk", flat=True).first()
        until = before if oldest is None else min(before, id_time(oldest))
        ended.filter(account=account, valid_until__lt=until).delete()


def batches(
    rows_: "QuerySet[Any]", at_once: int, stopped: Callable[[], bool]
) -> Iterator[list[Any]]:
    """The keys of these rows, so many at a time; whoever gets them removes them from among the
    rows before asking for more."""
    while not stopped() and (keys := list(rows_.values_list("pk", flat=True)[:at_once])):
        yield keys
