"""An account goes with all that is its own, in transactions of a few rows each: whoever else writes
or sends meanwhile waits for none of them longer than for a purge."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import router, transaction

from ...models import (
    Account,
    Attempt,
    AuditEntry,
    Delivery,
    Event,
    EventBody,
    HourlyCount,
    Note,
    Webhook,
)
from .. import store
from .pruner import batches, remove_empty

AT_ONCE = 1000  # rows of a transaction


def remove(
    account: Account, ends: Callable[[], object] = bool, at_once: int = AT_ONCE
) -> dict[str, int]:
    """Remove an account with all that is its own; returns how many of each were removed. `ends` is
    called in the last transaction. What a call finds whose webhook is gone meanwhile is lost."""
    removed = dict.fromkeys(("attempts", "deliveries", "events", "webhooks"), 0)
    webhooks = Webhook.objects.filter(account=account.pk).order_by("pk")
    for [webhook_id] in batches(webhooks, 1):
        _remove_webhook(webhook_id, removed, at_once)
    events = Event.objects.filter(account=account.pk).order_by("pk")
    for ids in batches(events, at_once):
        with _step():
            EventBody.objects.filter(event__in=ids).delete()
            removed["events"] += _rows(Event, ids).delete()[0]
    entries = AuditEntry.objects.filter(account=account.pk).order_by("pk")
    for ids in batches(entries, at_once):
        with _step():
            entries.filter(pk__in=ids).update(account=None)
    with _step():
        ends()
        Note.objects.about(account).delete()
        account.delete()
    return removed


def _remove_webhook(webhook_id: str, removed: dict[str, int], at_once: int) -> None:
    for name, model in (("attempts", Attempt), ("deliveries", Delivery)):
        rows: Any = model._default_manager.filter(webhook=webhook_id).order_by("pk")
        for ids in batches(rows, at_once):
            with _step():
                if model is Delivery:
                    removed["attempts"] += Attempt.objects.filter(delivery__in=ids).delete()[0]
                removed[name] += _rows(model, ids).delete()[0]
    hours = HourlyCount.objects.filter(webhook=webhook_id).order_by("hour")
    while some := list(hours.values_list("hour", flat=True)[:at_once]):
        with _step():
            hours.filter(hour__in=some).delete()
    with _step():
        removed["webhooks"] += remove_empty(webhook_id, Webhook.objects.all())


@contextmanager
def _step() -> Iterator[None]:
    queue = store.open(router.db_for_write(Account))
    with transaction.atomic(using=queue.connection.alias):
        queue.by_index_only()
        yield
    queue.let_others_in()


def _rows(model: Any, keys: list[Any]) -> Any:
    return model._default_manager.filter(pk__in=keys).only("pk")
