"""Every verb on every state of a delivery: the table in transitions.py's docstring."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.engine import history, pruner, store, transitions
from webhooks_app.engine.sender import Outcome
from webhooks_app.engine.store import microseconds
from webhooks_app.models import Attempt, Delivery
from webhooks_app.models.webhook import SLOTS, slot_of
from webhooks_app.rules.failures import Failure
from webhooks_app.rules.ids import first_key

pytestmark = pytest.mark.django_db

LONG_AGO = timezone.now() - timedelta(days=60)


def delivery_in(state, **values):
    ended = None if state == "pending" else timezone.now()
    values = {"tries": 2, "finished_at": ended, "requested_by": "x", **values}
    return DeliveryFactory(state=state, **values)


def finished(delivery, *, state="delivered", failure=None, tries=None, gone=False, body=b""):
    now = timezone.now()
    status = 200 if failure is None else 500
    outcome = Outcome(started_at=datetime.now(UTC), status=status, failure=failure, body=body)
    entry = history.Entry(
        webhook_id=delivery.webhook_id,
        exchange="delivery",
        request_id=delivery.id,
        url=delivery.webhook.url,
        outcome=outcome,
        failure=failure,
        delivery_id=delivery.id,
        number=3,
    )
    tries = delivery.tries if tries is None else tries
    due_at = microseconds.of(now + timedelta(hours=1))
    ended = None if state == "pending" else microseconds.of(now)
    return store.Finished(entry.row(), tries, state, due_at, ended, gone)


def finish(*items):
    store.open("default").finish(items)


FAILURE = Failure("http_500", "Request failed with status code 500")


@pytest.mark.parametrize("before", ["pending", "delivered", "failed", "cancelled"])
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
    count = transitions.replay(delivery.webhook_id, timezone.now() - timedelta(hours=1), by="mira")
    delivery.refresh_from_db()
    assert delivery.state == after
    assert count == (before == "failed")


def test_replay_takes_none_that_failed_before_or_elsewhere():
    delivery = delivery_in("failed", finished_at=timezone.now() - timedelta(hours=2))
    other = delivery_in("failed")
    assert transitions.replay(delivery.webhook_id, timezone.now() - timedelta(hours=1)) == 0
    other.refresh_from_db()
    assert other.state == "failed"


@pytest.mark.parametrize("before", ["pending", "delivered", "failed", "cancelled"])
def test_cancel_takes_pending_only(before):
    delivery = delivery_in(before)
    assert transitions.cancel(delivery.pk, "by hand") == (before == "pending")
    delivery.refresh_from_db()
    assert delivery.state == ("cancelled" if before == "pending" else before)


@pytest.mark.parametrize("before", ["pending", "delivered", "failed", "cancelled"])
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
@pytest.mark.parametrize("before", ["pending", "delivered", "failed", "cancelled"])
def test_retry_of_several_leaves_what_is_delivered_unless_told_otherwise(before, delivered_too):
    delivery = delivery_in(before, due_at=timezone.now() + timedelta(days=1))
    moves = before != "delivered" or delivered_too
    assert transitions.retry_all([delivery.pk], by="mira", delivered_too=delivered_too) == moves
    delivery.refresh_from_db()
    again = moves and before != "pending"
    assert (delivery.state, delivery.tries) == ("pending" if moves else before, 0 if again else 2)
    assert (delivery.due_at <= timezone.now()) == moves
    assert (delivery.finished_at is None) == moves


@pytest.mark.parametrize("before", ["pending", "delivered", "failed", "cancelled"])
def test_a_worker_sees_and_claims_pending_only(before):
    queue, now = store.open("default"), timezone.now()
    delivery = delivery_in(before, due_at=now - timedelta(seconds=1))
    wanted = [delivery.webhook_id] if before == "pending" else []
    claimed = queue.claim([store.Want(delivery.webhook_id, 9, None)], now)
    assert [row.webhook_id for row in claimed] == wanted
    assert queue.scan(now) == (wanted, None)


@pytest.mark.parametrize("before", ["pending", "delivered", "failed", "cancelled"])
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
    stopped = iter([False, False, False, True, True, True, True])  # held, finished, finished …
    removed = pruner.purge(timedelta(days=30), at_once=2, stopped=lambda: next(stopped))
    assert removed["deliveries"] == 4
    assert pruner.purge(timedelta(days=30))["deliveries"] == 1


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
        thread.join(10)
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
        finished(delivery_in("pending", webhook=webhook), state="failed", failure=gone, gone=True),
        finished(delivery_in("pending", webhook=paused), state="failed", failure=gone, gone=True),
    )
    webhook.refresh_from_db()
    paused.refresh_from_db()
    assert (webhook.stopped, paused.stopped) == ("gone", "paused")


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


def test_claim_reads_due_rows_in_order_from_a_place_on():
    queue = store.open("default")
    webhook, now = WebhookFactory(), timezone.now()
    rows = [
        DeliveryFactory(webhook=webhook, due_at=now - timedelta(seconds=10 - n), payload=payload)
        for n, payload in enumerate([b"{}", '"ä€"'.encode(), b"", b"\0\xff\xed\xa0\x80", b"[1]"])
    ]
    DeliveryFactory(webhook=webhook, due_at=now + timedelta(seconds=5))
    DeliveryFactory(webhook=WebhookFactory(stopped="paused"), due_at=now)
    first = queue.claim([store.Want(webhook.pk, 2, None)], now)
    assert [row.id for row in first] == [rows[0].id, rows[1].id]
    rest = queue.claim([store.Want(webhook.pk, 9, first[-1].place)], now)
    assert [row.id for row in rest] == [row.id for row in rows[2:]]
    assert [bytes(row.body) for row in first + rest] == [row.payload for row in rows]


def test_what_is_due_since_before_1970_is_claimed():
    delivery, now = DeliveryFactory(due_at=datetime(1969, 12, 31, tzinfo=UTC)), timezone.now()
    wants = [store.Want(delivery.webhook_id, 9, None)]
    assert [row.id for row in store.open("default").claim(wants, now)] == [delivery.pk]


def test_discovery_names_each_webhook_with_something_due():
    queue, now = store.open("default"), timezone.now()
    new, old, later = WebhookFactory(), WebhookFactory(), WebhookFactory()
    for _ in range(3):
        DeliveryFactory(webhook=new, due_at=now)
        DeliveryFactory(webhook=old, due_at=now - timedelta(hours=1))
        DeliveryFactory(webhook=later, due_at=now + timedelta(hours=1))
    delivery_in("delivered", due_at=now)
    second = timedelta(seconds=1)
    assert queue.look(now - second, now, store.Watermark(now - second))[0] == [new.pk]
    assert queue.scan(now) == (sorted([new.pk, old.pk]), None)


def test_a_scan_goes_on_where_it_stopped():
    queue, now = store.open("default"), timezone.now()
    due = sorted(DeliveryFactory(due_at=now).webhook_id for _ in range(5))
    DeliveryFactory(due_at=now + timedelta(hours=1))
    found, after = [], ""
    while after is not None:
        step, after = queue.scan(now, after, 2)
        assert len(step) <= 2
        found += step
    assert found == due


@pytest.fixture
def now():
    return timezone.now()


@pytest.fixture
def arrivals(now):
    """What arrived in the second before `now`, as one look sees it."""
    queue = store.open("default")
    if not queue.claims_arrivals:
        pytest.skip("one statement on PostgreSQL alone")
    second = timedelta(seconds=1)

    def arrivals(seen=None, slots=range(SLOTS), most=100):
        seen = seen or store.Watermark(now - second)
        rows, held, seen = queue.arrivals(now - second, now, seen, set(slots), most)
        return {row.id for row in rows}, held, seen

    return arrivals


def test_what_arrives_is_claimed_by_the_look_that_finds_it(arrivals, now):
    webhook, held = WebhookFactory(), WebhookFactory(stopped="paused")
    new, large = (DeliveryFactory(webhook=webhook, payload=b"x" * size) for size in (9, 99_999))
    DeliveryFactory(webhook=held)
    DeliveryFactory(webhook=webhook, due_at=now - timedelta(hours=1))
    DeliveryFactory(webhook=webhook, due_at=now + timedelta(hours=1))
    delivery_in("delivered")
    Delivery.objects.filter(due_at__gte=now, due_at__lt=now + timedelta(minutes=1)).update(
        due_at=now - timedelta(milliseconds=500)
    )
    ids, others, seen = arrivals()
    assert (ids, others) == ({new.pk, large.pk}, {held.pk})
    assert seen.horizon


def test_nothing_arrives_for_slots_of_others_and_too_much_is_said_to_be(arrivals, now):
    assert arrivals()[:2] == (set(), set())
    assert arrivals()[2].horizon
    one, two = (
        WebhookFactory(id="5f" + "0" * 18 + "0001"),
        WebhookFactory(id="5f" + "0" * 18 + "0042"),
    )
    moment = now - timedelta(milliseconds=500)
    mine, other = (DeliveryFactory(webhook=each, due_at=moment) for each in (one, two))
    assert arrivals(slots=[slot_of(one.pk)])[0] == {mine.pk}
    assert arrivals(slots=[slot_of(two.pk)])[0] == {other.pk}
    ids, _, seen = arrivals(most=1)
    assert (len(ids), seen) == (1, None)


@pytest.mark.timeout(180)
@pytest.mark.django_db(transaction=True)
def test_what_a_look_saw_does_not_arrive_again_but_a_late_commit_does(arrivals, now):
    moment = now - timedelta(milliseconds=500)
    first = DeliveryFactory(due_at=moment)
    late = threading.Event(), threading.Event()

    def commits_late():
        with transaction.atomic():
            made.append(DeliveryFactory(due_at=moment))
            late[0].set()
            late[1].wait(10)
        connections.close_all()

    made = []
    thread = threading.Thread(target=commits_late)
    thread.start()
    assert late[0].wait(10)
    ids, _, seen = arrivals()
    assert ids == {first.pk}
    late[1].set()
    thread.join()
    assert arrivals(seen)[0] >= {made[0].pk}
    until = time.monotonic() + 110  # other tests of this server may hold transactions open
    while (again := arrivals(seen))[0]:
        assert time.monotonic() < until
        seen = again[2]
