"""The hourly counts of all webhooks together, so that no page sums up a hundred thousand webhooks.

A row that all workers wrote in their finish batches would be one they wait for. So an hour is
summed once, an hour after it ended, by whoever comes first; who counts something in an hour that is
over (see `store.record`, `recount`) takes its total away, and the next turn sums it again.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db import router, transaction

from ...models import HourlyCount, HourlyTotal
from ...models.health import HOUR, hour_of
from ...models.primary import clock
from .. import store

KEPT = timedelta(days=31)  # longer than any page looks back
# So far apart may the clocks of workers be: who writes knows by his own that an hour is over.
SETTLED_AFTER = HOUR


def add_up(now: datetime | None = None) -> int:
    """Sum the hours that are settled and have no total; returns how many."""
    alias = router.db_for_write(HourlyTotal)
    now = now or clock(alias)
    first, end = hour_of(now - KEPT), hour_of(now - SETTLED_AFTER)
    HourlyTotal.objects.filter(hour__lt=first).delete()
    if not _without_total(first, end):
        return 0
    with transaction.atomic(using=alias):
        # Nobody takes a total away meanwhile.
        store.open(alias).lock_table(HourlyTotal._meta.db_table)
        hours = _without_total(first, end)
        sums: Any = HourlyCount.objects.filter(hour__in=hours).totals_by("hour")
        found = {row["hour"]: HourlyTotal(**row) for row in sums}
        HourlyTotal.objects.bulk_create(found.get(hour) or HourlyTotal(hour=hour) for hour in hours)
    return len(hours)


def _without_total(first: datetime, end: datetime) -> list[datetime]:
    totals = HourlyTotal.objects.filter(hour__gte=first, hour__lt=end)
    known = set(totals.values_list("hour", flat=True))
    hours = (first + HOUR * place for place in range((end - first) // HOUR))
    return [hour for hour in hours if hour not in known]
