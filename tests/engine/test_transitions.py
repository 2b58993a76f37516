"""Every verb of people on every state of a delivery: the table in transitions.py's docstring."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from tests.store.ended import STATES, delivery_in
from webhooks_app import actions
from webhooks_app.engine import transitions
from webhooks_app.engine.maintenance import pruner
from webhooks_app.models import Attempt, Delivery, Webhook
from webhooks_app.rules.ids import first_key

pytestmark = pytest.mark.django_db

LONG_AGO = timezone.now() - timedelta(days=60)


@pytest.mark.parametrize(
    ("before", "tries"), [("pending", 2), ("delivered", 0), ("failed", 0), ("cancelled", 0)]
)
def test_retry_makes_everything_due_now(before, tries):
    delivery = delivery_in(before, due_at=timezone.now() + timedelta(days=1))
    assert transitions.retry(delivery.pk, by="mira")
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries, delivery.requested_by) == ("pending", tries, "mira")
    assert delivery.due_at <= timezone.now()
    assert delivery.finished_at is None


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no locks of rows")
def test_retry_of_many_locks_each_once():
    ids = [delivery_in("failed").pk for _ in range(3)]
    with CaptureQueriesContext(connection) as asked:
        assert transitions.retry_all(ids) == 3
    assert sum(" FOR " in query["sql"] for query in asked) == 1


def test_retry_of_a_deleted_webhooks_delivery_does_nothing():
    delivery = delivery_in("failed", webhook=WebhookFactory(deleted_at=timezone.now()))
    assert not transitions.retry(delivery.pk)
    delivery.refresh_from_db()
    assert delivery.state == "failed"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pending", "pending"),
        ("delivered", "delivered"),
        ("failed", "pending"),
        ("cancelled", "cancelled"),
    ],
)
def test_replay_takes_the_failed_only(before, after):
    delivery = delivery_in(before)
    count = actions.replay(delivery.webhook, since=timezone.now() - timedelta(hours=1), by="mira")
    delivery.refresh_from_db()
    assert delivery.state == after
    assert count == (before == "failed")


def test_replay_takes_none_that_failed_before_or_elsewhere():
    delivery = delivery_in("failed", finished_at=timezone.now() - timedelta(hours=2))
    other = delivery_in("failed")
    assert actions.replay(delivery.webhook, since=timezone.now() - timedelta(hours=1)) == 0
    other.refresh_from_db()
    assert other.state == "failed"


@pytest.mark.parametrize("before", STATES)
def test_cancel_takes_pending_only(before):
    delivery = delivery_in(before)
    assert transitions.cancel(delivery.pk, "by hand") == (before == "pending")
    delivery.refresh_from_db()
    assert delivery.state == ("cancelled" if before == "pending" else before)


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize(
    "cancel",
    [
        lambda delivery: transitions.cancel_many([delivery.pk], "by hand"),
        lambda delivery: transitions.cancel_some(delivery.webhook_id, "webhook deleted"),
    ],
    ids=["of many", "of a deleted webhook"],
)
def test_cancel_of_several_takes_pending_only(before, cancel):
    delivery = delivery_in(before)
    assert cancel(delivery) == (before == "pending")
    delivery.refresh_from_db()
    assert delivery.state == ("cancelled" if before == "pending" else before)
    assert delivery.finished_at is not None


@pytest.mark.parametrize("delivered_too", [False, True])
@pytest.mark.parametrize("before", STATES)
def test_retry_of_several_leaves_what_is_delivered_unless_told_otherwise(before, delivered_too):
    delivery = delivery_in(before, due_at=timezone.now() + timedelta(days=1))
    moves = before != "delivered" or delivered_too
    assert transitions.retry_all([delivery.pk], by="mira", delivered_too=delivered_too) == moves
    delivery.refresh_from_db()
    again = moves and before != "pending"
    assert (delivery.state, delivery.tries) == ("pending" if moves else before, 0 if again else 2)
    assert (delivery.due_at <= timezone.now()) == moves
    assert (delivery.finished_at is None) == moves


@pytest.mark.parametrize("before", STATES)
def test_purge_removes_what_ended_long_ago_and_never_what_is_pending(before):
    ended = None if before == "pending" else LONG_AGO
    delivery = delivery_in(before, finished_at=ended, due_at=LONG_AGO, created_at=LONG_AGO)
    young = delivery_in("delivered")
    Attempt.objects.create(
        webhook=delivery.webhook,
        delivery=delivery,
        exchange="delivery",
        request_id=delivery.id,
        id=first_key(LONG_AGO),
        ended_at=LONG_AGO,
        url="x",
    )
    expected = pruner.purge(timedelta(days=30), dry_run=True)
    assert pruner.purge(timedelta(days=30)) == expected
    assert Delivery.objects.filter(pk=delivery.pk).exists() == (before == "pending")
    assert Delivery.objects.filter(pk=young.pk).exists()
    assert Attempt.objects.count() == (before == "pending")


def test_a_purge_that_is_told_to_stop_leaves_the_rest_to_the_next():
    for _ in range(5):
        delivery_in("delivered", finished_at=LONG_AGO, created_at=LONG_AGO)
    stopped = iter([False, False, True])
    removed = pruner.purge(timedelta(days=30), at_once=2, stopped=lambda: next(stopped))
    assert removed["deliveries"] == 4
    assert pruner.purge(timedelta(days=30))["deliveries"] == 1


def test_a_webhook_that_is_brought_back_while_a_purge_runs_stays():
    deleted = [WebhookFactory(deleted_at=LONG_AGO) for _ in range(2)]
    removed = dict.fromkeys(pruner.NAMES, 0)
    steps = pruner.purging(timedelta(days=30), removed)
    next(steps)
    [left] = Webhook.objects.filter(pk__in=[webhook.pk for webhook in deleted])
    actions.restore_webhook(left)
    assert list(steps) == [None]
    assert Webhook.objects.get() == left


def test_held_longer_than_retention_is_given_up():
    webhook = WebhookFactory(stopped="paused")
    delivery = delivery_in("pending", webhook=webhook, due_at=LONG_AGO)
    assert pruner.purge(timedelta(days=30))["held too long"] == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.reason) == ("cancelled", "held too long")


def test_what_is_old_is_not_given_up_because_its_webhook_was_just_paused(db):
    """No worker ran for a month, say, and somebody wants to look before it all goes out."""
    delivery = DeliveryFactory(due_at=timezone.now() - timedelta(days=31))
    actions.pause(delivery.webhook)
    assert pruner.purge(timedelta(days=30))["held too long"] == 0
    delivery.refresh_from_db()
    assert delivery.state == "pending"
