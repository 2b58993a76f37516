"""How late we are: the worst moment of each hour is kept, whoever looks."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app.engine import lag
from webhooks_app.engine.maintenance import upkeep
from webhooks_app.models import Delivery, HourlyLag
from webhooks_app.models.health import hour_of
from webhooks_app.models.lag import worst_of_the_day

pytestmark = pytest.mark.django_db
NOON = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)


def late(seconds, at):
    return DeliveryFactory(due_at=at - timedelta(seconds=seconds), created_at=at)


def test_the_worst_moment_of_an_hour_stays():
    late(40, NOON)
    assert lag.note(NOON) == 40
    Delivery.objects.update(due_at=NOON + timedelta(minutes=9))
    assert lag.note(NOON + timedelta(minutes=1)) == 0
    row = HourlyLag.objects.get()
    assert (row.hour, row.seconds, row.at) == (hour_of(NOON), 40, NOON)
    later = NOON + timedelta(minutes=11)
    assert lag.note(later) == 120
    row.refresh_from_db()
    assert (row.seconds, row.at) == (120, later)


def test_what_is_held_is_not_late():
    webhook = WebhookFactory(stopped="paused")
    DeliveryFactory(webhook=webhook, due_at=NOON - timedelta(hours=3))
    assert lag.note(NOON) == 0


def test_the_worst_of_a_day_is_told_and_old_hours_go():
    for days, seconds in ((0, 3), (1, 900), (40, 5000)):
        at = NOON - timedelta(days=days)
        HourlyLag.objects.create(hour=hour_of(at), seconds=seconds, at=at)
    assert worst_of_the_day(NOON).seconds == 3
    assert worst_of_the_day(NOON - timedelta(hours=1)).seconds == 900
    lag.note(NOON + timedelta(hours=1))
    assert sorted(HourlyLag.objects.values_list("seconds", flat=True)) == [0, 3, 900]


def test_a_worker_notes_it_by_itself():
    with time_machine.travel(NOON, tick=False):
        upkeep.turn(count=True)
    assert HourlyLag.objects.exists()
