"""Retention: what finished long ago is removed, what was held as long is given up."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from django.db import router, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from ...models import (
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
from ...models.delivery import db_now
from ...rules.hosts import host_of, read_host
from ...rules.ids import id_time
from .. import store
from ..transitions import cancel_rows

Steps = Iterator[None]  # each a transaction; between two of them it may be left
_DONE = object()

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
    if dry_run:
        return _Old.of(older_than).counted()
    removed = dict.fromkeys(NAMES, 0)
    walk(purging(older_than, removed, at_once), stopped)
    return removed


NAMES = ("deliveries", "attempts", "held too long", "events", "hourly counts")


def walk(steps: Steps, stopped: Callable[[], bool]) -> None:
    """Take steps until there are none, or `stopped` says so before one."""
    while not stopped() and take(steps):
        pass


def take(steps: Steps) -> bool:
    """One step, and after it let others write. False where there was none."""
    if next(steps, _DONE) is _DONE:
        return False
    store.open(router.db_for_write(Delivery)).let_others_in()
    return True


@dataclass(frozen=True, slots=True)
class _Old:
    """What a purge finds that keeps nothing from `before`."""

    before: datetime
    finished: "QuerySet[Delivery]"
    loose: "QuerySet[Attempt]"
    held: "QuerySet[Delivery]"
    hours: "QuerySet[HourlyCount]"

    @classmethod
    def of(cls, older_than: timedelta) -> Self:
        at = db_now()
        before = at - older_than
        held = Delivery.objects.pending().filter(due_at__lt=before)
        held = held.filter(states.unclaimed(before))
        return cls(
            before,
            Delivery.objects.made(until=before).filter(finished_at__lt=before),
            Attempt.objects.ended(until=before).filter(delivery__isnull=True),
            # What was late when its webhook was stopped has not been held for so long.
            held.exclude(webhook__stopped_at__gte=before),
            HourlyCount.objects.filter(hour__lt=min(before, at - HOURS_KEPT)),
        )

    def counted(self) -> dict[str, int]:
        of_finished = Attempt.objects.filter(delivery__in=self.finished.values("pk"))
        younger = Q(created_at__gte=self.before) | ~Q(finished_at__lt=self.before)
        return {
            "deliveries": self.finished.count(),
            "attempts": self.loose.count() + of_finished.count(),
            "held too long": self.held.count(),
            "events": _events(self.before, younger).count(),
            "hourly counts": self.hours.count(),
        }


def purging(
    older_than: timedelta, removed: dict[str, int] | None = None, at_once: int = 1000
) -> Steps:
    """`purge` step by step; counts in `removed` what has gone."""
    old, removed = _Old.of(older_than), dict.fromkeys(NAMES, 0) if removed is None else removed
    for ids in batches(old.held.order_by("due_at"), at_once):
        removed["held too long"] += cancel_rows(old.held.filter(pk__in=ids), "held too long")
        yield
    for ids in _pages(old.finished, at_once):
        with transaction.atomic(using=router.db_for_write(Delivery)):
            store.open(router.db_for_write(Delivery)).by_index_only()
            # Retried meanwhile? Then it is not among the locked ones, and stays.
            locked = old.finished.filter(pk__in=ids).order_by("pk").select_for_update()
            ids = list(locked.values_list("pk", flat=True))
            removed["attempts"] += Attempt.objects.filter(delivery__in=ids).delete()[0]
            removed["deliveries"] += Delivery.objects.filter(pk__in=ids).only("pk").delete()[0]
        yield
    for numbers in batches(old.loose.order_by("pk"), at_once):
        removed["attempts"] += Attempt.objects.filter(pk__in=numbers).delete()[0]
        yield
    for ids in _pages(_events(old.before), at_once):
        with transaction.atomic(using=router.db_for_write(Event)):
            EventBody.objects.filter(event__in=ids).delete()
            removed["events"] += Event.objects.filter(pk__in=ids).only("pk").delete()[0]
        yield
    yield from _purging_subscriptions(old.before, at_once)
    by_hour = old.hours.order_by("hour").values_list("hour", flat=True)
    while (hour := by_hour.first()) is not None:
        removed["hourly counts"] += old.hours.filter(hour=hour).delete()[0]
        yield
    deleted = Webhook.objects.filter(deleted_at__lt=old.before)
    for ids in _pages(deleted, at_once):
        for ident in ids:
            with transaction.atomic(using=router.db_for_write(Webhook)):
                remove_empty(ident, deleted)
            yield


def remove_empty(ident: str, webhooks: "QuerySet[Webhook]") -> bool:
    """In a transaction: one of these webhooks that has no history left, with what people noted
    about it, and about its host where it was the last one there."""
    Webhook.objects.filter(pk=ident).lock()
    # Whoever records an exchange holds the health of its webhook.
    WebhookHealth.objects.filter(pk=ident).lock()
    # Brought back meanwhile? Then it is not among them.
    webhook = webhooks.filter(pk=ident).only("pk", "url").select_for_update().first()
    if webhook is None or webhook.deliveries.exists() or webhook.attempts.exists():
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
    """Events made before that moment of which no delivery is there, or none that is kept."""
    deliveries = Delivery.objects.filter(event=OuterRef("pk"))
    old = Event.objects.made(until=before).filter(fanned_out_to__isnull=True)
    return old.exclude(Exists(deliveries if kept is None else deliveries.filter(kept)))


def _purging_subscriptions(before: datetime, at_once: int) -> Steps:
    """Remove subscriptions that ended before the oldest event that is kept of their account."""
    ended = Subscription.objects.filter(valid_until__lt=before)
    for account in list(ended.order_by().values_list("account_id", flat=True).distinct()):
        events = Event.objects.filter(account=account).order_by("pk")
        oldest = events.values_list("pk", flat=True).first()
        until = before if oldest is None else min(before, id_time(oldest))
        over = Subscription.objects.filter(account=account, valid_until__lt=until)
        for numbers in batches(over.order_by(), at_once):
            Subscription.objects.filter(pk__in=numbers).delete()
            yield


def _pages(rows: "QuerySet[Any]", at_once: int) -> Iterator[list[str]]:
    """The keys of these rows in their order, so many at a time, those that stay among them."""
    place = ""
    keys = rows.order_by("pk").values_list("pk", flat=True)
    while some := list(keys.filter(pk__gt=place)[:at_once]):
        yield some
        place = some[-1]


def batches(rows: "QuerySet[Any]", at_once: int) -> Iterator[list[Any]]:
    """The keys of these rows, so many at a time; the caller takes those rows from among them before
    it asks for more."""
    while keys := list(rows.values_list("pk", flat=True)[:at_once]):
        yield keys
