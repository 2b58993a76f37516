"""How late we are: the oldest delivery that could go out, looked at again and again, the worst of
each hour kept."""

from datetime import datetime, timedelta

from django.db import router

from ..models import HourlyLag, states
from ..models.health import hour_of
from ..models.primary import clock

KEPT = timedelta(days=31)


def note(now: datetime | None = None) -> float:
    """Keep how late we are now, where this hour has seen nothing worse; returns the seconds."""
    now = now or clock(router.db_for_write(HourlyLag))
    _, since = states.count_due(now, 0)
    seconds = (now - since).total_seconds() if since else 0.0
    hour = hour_of(now)
    worst = {"seconds": seconds, "at": now}
    if HourlyLag.objects.get_or_create(hour=hour, defaults=worst)[1]:
        HourlyLag.objects.filter(hour__lt=hour - KEPT).delete()
    else:
        HourlyLag.objects.filter(hour=hour, seconds__lt=seconds).update(**worst)
    return seconds
