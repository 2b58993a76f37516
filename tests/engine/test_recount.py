"""Counts and health, rebuilt from the attempts, say what was written with them."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.forms.models import model_to_dict
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.engine import attempt_rows, store
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.engine.maintenance import pruner, recount
from webhooks_app.models import Attempt, HourlyCount, WebhookHealth
from webhooks_app.rules.failures import Failure

pytestmark = pytest.mark.django_db

FAILURE = Failure("http_500", "Request failed with status code 500")


def entry(webhook, *, failed=False, ago=timedelta(0), exchange="delivery", ms=20):
    failure = FAILURE if failed else None
    return attempt_rows.Entry(
        webhook_id=webhook.pk,
        exchange=exchange,
        request_id="0" * 24,
        url=webhook.url,
        outcome=Outcome(
            started_at=datetime.now(UTC) - ago,
            duration_ms=ms,
            status=500 if failed else 200,
            failure=failure,
        ),
        failure=failure,
    )


def record(*entries):
    with transaction.atomic():
        store.open("default").record([entry.row() for entry in entries])


def written():
    """Everything that is kept beside the attempts."""
    counts = {row.pk: model_to_dict(row) for row in HourlyCount.objects.all()}
    return counts, {row.pk: model_to_dict(row) for row in WebhookHealth.objects.all()}


def spoil():
    HourlyCount.objects.update(delivered=99, ms_50=0)
    HourlyCount.objects.filter(pk=HourlyCount.objects.first().pk).delete()
    WebhookHealth.objects.update(
        failures_in_row=99,
        failing_since=timezone.now(),
        last_error_at=None,
        last_error_message="wrong",
        last_success_at=None,
        last_attempt_at=None,
    )


def rebuild(since=None):
    for _ in recount.rebuild(since):
        pass


@pytest.mark.parametrize("seed", range(5))
def test_what_was_written_with_the_attempts_comes_out_again(seed):
    chance = random.Random(seed)
    webhooks = [WebhookFactory() for _ in range(4)]
    age = timedelta(hours=4)
    for _ in range(12):
        batch = []
        for _ in range(chance.randint(1, 8)):
            age -= timedelta(seconds=chance.randint(0, 240))
            batch.append(
                entry(
                    chance.choice(webhooks),
                    failed=chance.random() < 0.6,
                    ago=age,
                    exchange=chance.choice(Attempt.Exchange.values),
                    ms=chance.choice([1, 50, 51, 3000, 20_000]),
                )
            )
        record(*batch)
    before = written()
    spoil()
    assert written() != before
    rebuild()
    assert written() == before


def test_what_a_person_cleared_stays_cleared():
    webhook = WebhookFactory()
    record(*[entry(webhook, failed=True, ago=timedelta(minutes=5)) for _ in range(7)])
    actions.pause(webhook)
    actions.enable(webhook)
    actions.clear_error(webhook)
    rebuild()
    health = WebhookHealth.objects.get(pk=webhook.pk)
    assert (health.failures_in_row, health.failing_since) == (0, None)
    assert health.last_error_at is None
    record(entry(webhook, failed=True))
    before = written()
    rebuild()
    assert written() == before
    assert WebhookHealth.objects.get(pk=webhook.pk).failures_in_row == 1


def test_a_webhook_without_attempts_keeps_its_health():
    webhook = WebhookFactory(health={"failures_in_row": 3, "last_error_message": "long ago"})
    rebuild()
    health = WebhookHealth.objects.get(pk=webhook.pk)
    assert (health.failures_in_row, health.last_error_message) == (3, "long ago")


def test_hours_before_the_moment_or_beyond_the_retention_are_left_alone(settings):
    settings.WEBHOOKS_RETENTION_DAYS = 1
    webhook = WebhookFactory()
    for hours in (40, 5, 1):
        record(entry(webhook, ago=timedelta(hours=hours)))
    HourlyCount.objects.update(delivered=99)
    rebuild(timezone.now() - timedelta(hours=2))
    assert sorted(HourlyCount.objects.values_list("delivered", flat=True)) == [1, 99, 99]
    rebuild()
    assert sorted(HourlyCount.objects.values_list("delivered", flat=True)) == [1, 1, 99]


@pytest.mark.parametrize(("retention", "left"), [(7, 1), (30, 1), (50, 2)])
def test_purge_keeps_the_counts_for_30_days_at_least(retention, left):
    webhook = WebhookFactory()
    for days in (20, 40, 60):
        HourlyCount.objects.create(webhook=webhook, hour=timezone.now() - timedelta(days=days))
    expected = pruner.purge(timedelta(days=retention), dry_run=True)
    assert pruner.purge(timedelta(days=retention)) == expected
    assert HourlyCount.objects.count() == left


def test_purge_of_attempts_leaves_the_hours_they_were_counted_in():
    webhook = WebhookFactory()
    long_ago = timezone.now() - timedelta(days=10)
    delivery = DeliveryFactory(webhook=webhook, state="delivered", finished_at=long_ago)
    record(entry(webhook, ago=timedelta(days=10)))
    Attempt.objects.update(delivery=delivery)
    pruner.purge(timedelta(days=7))
    assert not Attempt.objects.exists()
    assert HourlyCount.objects.get().delivered == 1
