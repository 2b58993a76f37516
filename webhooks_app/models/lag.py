"""HourlyLag: how late we were at the most, hour by hour. Written by the engine only."""

from datetime import datetime

from django.db import models

from .health import HOUR, hour_of
from .primary import PrimaryModel


class HourlyLag(PrimaryModel):
    """For how many seconds the oldest delivery that could go out had been due, at the worst moment
    of an hour (of UTC) that a worker has looked at."""

    hour = models.DateTimeField(primary_key=True)
    seconds = models.FloatField()
    at = models.DateTimeField()  # that moment

    class Meta:
        ordering = ["hour"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h: {self.seconds:g} s"


def worst_of_the_day(now: datetime) -> HourlyLag | None:
    """The worst moment of the last 24 hours; None before a worker has looked."""
    lately = HourlyLag.objects.filter(hour__gte=hour_of(now) - 23 * HOUR)
    return lately.order_by("-seconds", "-hour").first()
