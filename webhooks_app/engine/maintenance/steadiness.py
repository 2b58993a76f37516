"""Which webhooks are unsteady: of whose calls of a day a certain share failed.

Judged from the hourly counts, every minute or so by each worker, and by `rebuild-counts`; what was
judged is kept in the health of the webhook, so that lists by state never sum up a day.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import router
from django.db.models import F, Sum

from ...models import HourlyCount, WebhookHealth
from ...models.health import UNSTEADY_SHARE, UNSTEADY_WITHIN, hour_of
from ...models.primary import clock


def judge(now: datetime | None = None, *, stopped: Callable[[], bool] = bool) -> int:
    """Mark the webhooks that have become unsteady, and unmark those that are steady again, until
    `stopped` says so; returns how many were changed."""
    now = now or clock(router.db_for_write(WebhookHealth))
    unsteady = _unsteady(now)
    unmarked = WebhookHealth.objects.filter(unsteady_since__isnull=True)
    marked = WebhookHealth.objects.filter(unsteady_since__isnull=False)
    changed = 0
    # One row a statement: who records outcomes locks several, and never in our order.
    for pk in list(unmarked.filter(pk__in=unsteady).values_list("pk", flat=True)):
        if stopped():
            return changed
        changed += unmarked.filter(pk=pk).update(unsteady_since=now)
    for pk in list(marked.exclude(pk__in=unsteady).values_list("pk", flat=True)):
        if stopped():
            return changed
        changed += marked.filter(pk=pk).update(unsteady_since=None)
    return changed


def _unsteady(now: datetime) -> Any:
    """The ids of unsteady webhooks, as a subquery. A webhook without any failure is left out before
    anything is summed."""
    day = HourlyCount.objects.filter(hour__gte=hour_of(now) + timedelta(hours=1) - UNSTEADY_WITHIN)
    some = day.filter(failed__gt=0).order_by().values("webhook")
    sums = day.filter(webhook__in=some).order_by().values("webhook")
    sums = sums.annotate(failures=Sum("failed"), calls=Sum("failed") + Sum("delivered"))
    return sums.filter(failures__gte=F("calls") * UNSTEADY_SHARE).values("webhook")
