"""The sums of all webhooks: kept for hours that are over, and never other than their counts."""

import threading

import pytest
import time_machine
from django.db import connection, connections, transaction
from django.utils import timezone

from tests.engine.test_attempt_rows import REFUSED, entry, record
from tests.factories import HourlyCountFactory, WebhookFactory
from webhooks_app.engine.maintenance import recount, totals, upkeep
from webhooks_app.models import HourlyCount, HourlyTotal
from webhooks_app.models.health import COUNT_COLUMNS, HOUR, hour_of, totals_since
from webhooks_app.models.primary import clock

NOW = timezone.now()


@pytest.fixture(autouse=True)
def frozen():
    """No hour ends in the middle of a test."""
    with time_machine.travel(NOW, tick=False):
        yield


def counted(hours_ago):
    """What a page is told of an hour."""
    hour = hour_of(NOW - HOUR * hours_ago)
    rows = [row for row in totals_since(NOW - 40 * HOUR, NOW) if row["hour"] == hour]
    return sum(row["delivered"] for row in rows), sum(row["failed"] for row in rows)


def of_two_webhooks(hours_ago):
    for failed in (1, 2):
        at = NOW - HOUR * hours_ago
        HourlyCountFactory(webhook=WebhookFactory(), at=at, delivered=10, failed=failed)


@pytest.mark.django_db
class TestTotals:
    def test_an_hour_is_summed_once_it_is_settled_and_before_that_when_it_is_asked_for(self):
        for hours_ago in (0, 1, 2, 30):
            of_two_webhooks(hours_ago)
        before = [counted(hours_ago) for hours_ago in (0, 1, 2, 3, 30)]
        assert before == [(20, 3), (20, 3), (20, 3), (0, 0), (20, 3)]
        upkeep.turn(judge=True)
        kept = set(HourlyTotal.objects.values_list("hour", flat=True))
        assert hour_of(NOW - 2 * HOUR) in kept
        # By the clock of PostgreSQL, which no test stops.
        assert hour_of(clock("default") - HOUR) not in kept
        assert [counted(hours_ago) for hours_ago in (0, 1, 2, 3, 30)] == before

    def test_pages_read_the_total_of_a_summed_hour(self):
        of_two_webhooks(5)
        totals.add_up()
        HourlyCount.objects.all().delete()
        assert counted(5) == (20, 3)

    def test_every_column_is_summed(self):
        values = {name: place + 1 for place, name in enumerate(COUNT_COLUMNS)}
        for _ in range(2):
            HourlyCountFactory(webhook=WebhookFactory(), at=NOW - 5 * HOUR, **values)
        totals.add_up()
        total = HourlyTotal.objects.get(hour=hour_of(NOW - 5 * HOUR))
        assert {name: getattr(total, name) / 2 for name in COUNT_COLUMNS} == values

    def test_what_is_summed_is_not_summed_again(self):
        assert totals.add_up(NOW) == totals.KEPT // HOUR - 1
        assert totals.add_up(NOW) == 0
        assert totals.add_up(NOW + HOUR) == 1
        assert HourlyTotal.objects.count() == totals.KEPT // HOUR - 1

    def test_what_is_recorded_late_counts_at_once(self):
        of_two_webhooks(5)
        totals.add_up(NOW)
        webhook, then = WebhookFactory(), NOW - 5 * HOUR
        record(entry(webhook, at=then), entry(webhook, at=then, failure=REFUSED))
        assert counted(5) == (21, 4)
        assert totals.add_up(NOW) == 1
        assert counted(5) == (21, 4)

    def test_what_is_counted_anew_counts_at_once(self):
        record(entry(WebhookFactory(), at=NOW - 5 * HOUR))
        HourlyCount.objects.update(delivered=99)
        totals.add_up()
        assert counted(5) == (99, 0)
        recount.count_hour(hour_of(NOW - 5 * HOUR))
        assert counted(5) == (1, 0)


@pytest.mark.django_db(transaction=True)
def test_who_records_while_an_hour_is_summed_takes_the_total_away_when_it_is_there(monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    of_two_webhooks(5)
    webhook, done = WebhookFactory(), threading.Event()

    def record_late():
        record(entry(webhook, at=NOW - 5 * HOUR))
        done.set()
        connections.close_all()

    late = threading.Thread(target=record_late)
    with transaction.atomic():
        totals.add_up()
        late.start()
        assert not done.wait(0.3)
    late.join()
    assert counted(5) == (21, 3)
