"""What a worker writes down of what it has sent."""

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tests.factories import WebhookFactory
from tests.store.ended import STATES, delivery_in, finish, finished
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.engine import store, transitions
from webhooks_app.engine.store import microseconds
from webhooks_app.models import Attempt, Delivery, states
from webhooks_app.rules.failures import Failure

pytestmark = pytest.mark.django_db

FAILURE = Failure("http_500", "Request failed with status code 500")


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", ["delivered", "failed", "pending"])
def test_finish_moves_pending_only_and_records_always(before, after):
    delivery = delivery_in(before)
    finish(finished(delivery, state=after, failure=None if after == "delivered" else FAILURE))
    delivery.refresh_from_db()
    moved = before == "pending"
    assert delivery.state == (after if moved else before)
    assert delivery.tries == (3 if moved else 2)
    assert (delivery.finished_at is None) == (delivery.state == "pending")
    assert delivery.attempts.count() == 1


def test_finish_of_a_former_owner_comes_too_late():
    delivery = delivery_in("pending", tries=4)
    finish(finished(delivery, tries=3))
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("pending", 4)
    assert delivery.attempts.count() == 1


def test_the_health_follows_in_the_same_batch():
    webhook = WebhookFactory()
    bad = [delivery_in("pending", webhook=webhook) for _ in range(4)]
    finish(*[finished(d, state="failed", failure=FAILURE) for d in bad])
    health = webhook.health
    health.refresh_from_db()
    assert health.failures_in_row == 4
    assert not health.failing
    since = health.failing_since
    finish(finished(delivery_in("pending", webhook=webhook), state="failed", failure=FAILURE))
    health.refresh_from_db()
    assert health.failing
    assert health.failing_since == since
    good, last = delivery_in("pending", webhook=webhook), delivery_in("pending", webhook=webhook)
    finish(finished(good), finished(last, state="failed", failure=FAILURE))
    health.refresh_from_db()
    assert health.failures_in_row == 1
    assert health.failing_since > since
    assert health.last_success_at is not None
    assert health.last_error_message == FAILURE.message


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change",
    [
        lambda webhook: actions.update_webhook(webhook, name="Another"),
        actions.delete_webhook,
    ],
    ids=["updated", "deleted"],
)
def test_a_webhook_that_is_being_changed_holds_up_no_finish(change):
    """The attempt points to the webhook, whose row the change holds until it has committed."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    webhook = WebhookFactory()
    item = finished(delivery_in("delivered", webhook=webhook))

    def work():
        finish(item)
        connection.close()

    thread = threading.Thread(target=work, daemon=True)
    with transaction.atomic():
        change(webhook)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert Attempt.objects.filter(webhook=webhook).count() == 1


def test_five_days_of_nothing_but_failure_stop_a_webhook_once():
    webhook = WebhookFactory(
        health={"failures_in_row": 50, "failing_since": timezone.now() - timedelta(days=6)}
    )
    finish(finished(delivery_in("pending", webhook=webhook), state="failed", failure=FAILURE))
    webhook.refresh_from_db()
    assert webhook.stopped == "failing"
    transitions.start(webhook.pk)
    finish(finished(delivery_in("pending", webhook=webhook), state="failed", failure=FAILURE))
    webhook.refresh_from_db()
    assert webhook.stopped == ""


def test_410_stops_with_its_reason_and_a_pause_of_people_stays():
    webhook, paused = WebhookFactory(), WebhookFactory(stopped="paused", stopped_note="moving")
    gone = Failure("gone", "Request failed with status code 410")
    finish(
        finished(
            delivery_in("pending", webhook=webhook), state="failed", failure=gone, stops="gone"
        ),
        finished(
            delivery_in("pending", webhook=paused), state="failed", failure=gone, stops="gone"
        ),
    )
    webhook.refresh_from_db()
    paused.refresh_from_db()
    assert (webhook.stopped, paused.stopped) == ("gone", "paused")


def dead(webhook, **values):
    """One that gives up, for which its webhook is to stop."""
    delivery = delivery_in("pending", webhook=webhook, **values)
    return finished(delivery, state="failed", failure=FAILURE, stops="blocked")


def test_what_gives_up_stops_its_webhook_at_that_moment():
    webhook = WebhookFactory(order="key", on_dead="stop")
    first, second = (dead(webhook, ordering_key=key, position=n) for n, key in enumerate("ab", 1))
    finish(second, first)
    webhook.refresh_from_db()
    assert webhook.stopped == "blocked"
    assert webhook.stopped_at == microseconds.at(first.finished_at)
    blocking = Delivery.objects.blocking().order_by("finished_at").values_list("pk", flat=True)
    assert list(blocking) == [first.attempt.request_id, second.attempt.request_id]


def test_one_that_gave_up_a_little_earlier_and_is_written_a_little_later_is_one_of_them():
    webhook = WebhookFactory(order="key", on_dead="stop")
    first, second = (dead(webhook, ordering_key=key, position=n) for n, key in enumerate("ab", 1))
    finish(second)
    finish(first)
    webhook.refresh_from_db()
    assert webhook.stopped_at == microseconds.at(first.finished_at)
    assert Delivery.objects.blocking().count() == 2


@pytest.mark.parametrize("reason", ["paused", "failing", "gone"])
def test_one_that_gave_up_before_a_stop_that_was_written_sooner_stops_it_after_that(reason):
    webhook = WebhookFactory(order="key", on_dead="stop")
    gave_up = dead(webhook, ordering_key="a", position=1)
    transitions.stop(webhook.pk, reason)
    finish(gave_up)
    webhook.refresh_from_db()
    assert webhook.stopped == reason
    transitions.start(webhook.pk)
    assert [row.pk for row in Delivery.objects.blocking()] == [gave_up.attempt.request_id]


def test_what_was_under_way_when_the_order_was_chosen_stops_nothing():
    webhook = WebhookFactory(order="webhook", on_dead="stop")
    finish(dead(webhook, position=None))
    webhook.refresh_from_db()
    assert webhook.stopped == ""


def test_an_answer_with_nul_and_broken_text_is_storable():
    delivery = delivery_in("pending")
    finish(finished(delivery, body=b"\0\xff\xed\xa0\x80" * 2000))
    assert delivery.attempts.get().answer.startswith("\ufffd\ufffd")


@pytest.mark.parametrize(
    "message", ['say "no"', "back\\slash\\", '{"a", NULL}', "NULL", "it's", "two\nlines", "%s ?"]
)
def test_an_error_is_kept_as_it_was_said(message):
    delivery, other = delivery_in("pending"), delivery_in("pending")
    failure = Failure("http_500", message)
    finish(*(finished(each, state="failed", failure=failure) for each in (delivery, other)))
    delivery.refresh_from_db()
    said = (delivery.last_error, delivery.attempts.get().message)
    assert said == (message, message)
    assert delivery.webhook.health.last_error_message == message


@pytest.mark.parametrize("many", [1, 9, 10, 60, 700])
def test_a_batch_of_any_size_is_written_whole(many):
    webhook = WebhookFactory()
    deliveries = [delivery_in("pending", webhook=webhook) for _ in range(many)]
    finish(*map(finished, deliveries))
    assert Delivery.objects.filter(state="delivered", tries=3).count() == many
    assert Attempt.objects.filter(webhook=webhook).count() == many


def test_what_is_removed_while_it_is_sent_fails_its_batch():
    item = finished(delivery_in("pending"))
    Delivery.objects.all().delete()
    with pytest.raises(IntegrityError):
        finish(item)
    assert not Attempt.objects.exists()


def test_of_a_batch_in_doubt_what_is_not_there_yet_is_told():
    queue = store.open("default")
    items = [finished(delivery_in("pending")) for _ in range(3)]
    finish(items[1])
    assert queue.unrecorded(items) == [items[0], items[2]]


@pytest.mark.parametrize("before", STATES)
def test_what_cannot_be_written_is_held_as_long_as_nobody_has_decided(before):
    queue, delivery = store.open("default"), delivery_in(before)
    assert not queue.hold_unrecorded(finished(delivery, tries=1))
    assert queue.hold_unrecorded(finished(delivery)) == (before == "pending")
    delivery.refresh_from_db()
    assert (delivery.reason == states.UNRECORDED) == (before == "pending")


@pytest.mark.parametrize("before", STATES)
def test_only_what_is_pending_is_still_to_be_sent(before):
    queue, delivery = store.open("default"), delivery_in(before)
    assert queue.pending_of([delivery.pk]) == ({delivery.pk} if before == "pending" else set())
    assert queue.pending_of([]) == set()
