"""A host whose clock is wrong: what is due at once is due at once."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection, connections, transaction
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.engine import desk as desks
from webhooks_app.engine import jobs, queue
from webhooks_app.engine.desk import Turn
from webhooks_app.models import Delivery, Job, Webhook, WebhookHealth

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite is of one host"),
]


@pytest.fixture(params=[300, -300], ids=["fast", "slow"])
def wrong(request):
    """This process is on such a host; the database is not."""
    webhook = WebhookFactory()
    with time_machine.travel(timezone.now() + timedelta(seconds=request.param)):
        yield webhook


def claimed(webhook):
    """What a worker, which goes by the database's clock, may send."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    want = queue.Want(webhook.pk, 100, None)
    rows = queue.claim(connections["default"], [want], now)
    for row in rows:
        delivery = Delivery.objects.get(pk=row.id)
        assert timedelta(0) <= now - delivery.due_at < timedelta(seconds=60)
    return len(rows)


def test_a_delivery(wrong):
    told = actions.deliver(wrong, {})
    assert claimed(wrong) == 1
    stored = Delivery.objects.get()
    assert (told.due_at, told.created_at) == (stored.due_at, stored.created_at)


@pytest.mark.parametrize("number", [3, 40])
def test_many_deliveries(wrong, number):
    actions.deliver_many([(wrong, {"n": n}) for n in range(number)])
    assert claimed(wrong) == number


def test_a_delivery_for_a_moment_is_for_that_moment(wrong):
    later = timezone.now() + timedelta(hours=1)
    assert actions.deliver(wrong, {}, due_at=later).due_at == later
    assert claimed(wrong) == 0


@pytest.mark.parametrize("verb", ["retry", "retry of what waits", "replay", "retry of many"])
def test_what_is_sent_again(wrong, verb):
    failed = verb != "retry of what waits"
    delivery = DeliveryFactory(
        webhook=wrong,
        state="failed" if failed else "pending",
        finished_at=timezone.now() if failed else None,
        due_at=timezone.now() + timedelta(hours=9),
    )
    if verb == "replay":
        actions.replay(wrong, since=timezone.now() - timedelta(hours=1))
    elif verb == "retry of many":
        with transaction.atomic():
            queue.retry_all([delivery.pk])
    else:
        actions.retry(delivery)
    assert claimed(wrong) == 1


def test_a_job(wrong):
    delivery = DeliveryFactory(
        webhook=wrong, state="failed", finished_at=timezone.now(), due_at=timezone.now()
    )
    words = {"webhook": wrong.pk, "state": "failed"}
    Job.objects.create(verb="retry", selection=words, first=delivery.pk, last=delivery.pk)
    assert jobs.turn() == 1
    assert claimed(wrong) == 1


def test_a_verification(wrong, desk, monkeypatch):
    monkeypatch.setattr(desks, "VERIFICATIONS_EVERY", 0.0)
    actions.request_verification(wrong)
    desk.begin_anew()
    begun = desk.turn(Turn(busy=frozenset())).verifications
    assert [call.webhook.pk for call in begun] == [wrong.pk]


def test_calls_by_hand_are_limited_by_one_clock(wrong):
    """Another host of ours, whose clock is right, has asked an hour ago; or this one just now."""
    from webhooks_app.engine import calls

    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {WebhookHealth._meta.db_table} "
            "SET test_asked_at = clock_timestamp() - interval '5 seconds'"
        )
    calls.limit_rate("test", wrong.pk, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        calls.limit_rate("test", wrong.pk, ZeroDivisionError)


def test_a_run_that_was_cleared_is_cleared_now(wrong):
    Webhook.objects.update(stopped="paused")
    queue.start(wrong.pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    cleared = WebhookHealth.objects.get(pk=wrong.pk).run_cleared_at
    assert abs(now - cleared) < timedelta(seconds=60)
