"""What a worker finds and claims."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from tests.factories import DeliveryFactory, WebhookFactory
from tests.store.ended import STATES, delivery_in
from tests.waiting import PATIENCE
from webhooks_app.engine import store
from webhooks_app.models import Delivery
from webhooks_app.models.webhook import SLOTS, slot_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("before", STATES)
def test_a_worker_sees_and_claims_pending_only(before):
    queue, now = store.open("default"), timezone.now()
    delivery = delivery_in(before, due_at=now - timedelta(seconds=1))
    wanted = [delivery.webhook_id] if before == "pending" else []
    claimed = queue.claim([store.Want(delivery.webhook_id, 9, None)], now)
    assert [row.webhook_id for row in claimed] == wanted
    assert queue.scan(now) == (wanted, None)


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
    if connections["default"].vendor != "postgresql":
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


def test_what_arrives_comes_in_the_order_in_which_it_became_due(now):
    webhook, since = WebhookFactory(), now - timedelta(seconds=1)
    moments = [since + timedelta(milliseconds=20 * n) for n in range(40)]
    due = {moment: DeliveryFactory(webhook=webhook, due_at=moment).pk for moment in moments[::-1]}
    rows, _, _ = store.open("default").arrivals(
        since - timedelta(seconds=1), now, store.Watermark(since), set(range(SLOTS)), 100
    )
    assert [row.id for row in rows] == [due[moment] for moment in moments]


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


@pytest.mark.django_db(transaction=True)
def test_what_a_look_saw_does_not_arrive_again_but_a_late_commit_does(arrivals, now):
    moment = now - timedelta(milliseconds=500)
    first = DeliveryFactory(due_at=moment)
    late = threading.Event(), threading.Event()

    def commits_late():
        with transaction.atomic():
            made.append(DeliveryFactory(due_at=moment))
            late[0].set()
            late[1].wait(PATIENCE)
        connections.close_all()

    made = []
    thread = threading.Thread(target=commits_late)
    thread.start()
    assert late[0].wait(PATIENCE)
    ids, _, seen = arrivals()
    assert ids == {first.pk}
    late[1].set()
    thread.join()
    assert arrivals(seen)[0] >= {made[0].pk}
    until = time.monotonic() + 110  # other tests of this server may hold transactions open
    while (again := arrivals(seen))[0]:
        assert time.monotonic() < until
        seen = again[2]


def test_a_large_payload_stays_behind_until_it_is_sent(now):
    queue = store.open("default")
    large = b'"' + b"x" * store.CARRIED_MOST + b'"'
    delivery = DeliveryFactory(due_at=now, payload=large)
    (row,) = queue.claim([store.Want(delivery.webhook_id, 9, None)], now)
    assert row.body is None
    assert queue.payload(row.id) == large
    delivery.delete()
    with pytest.raises(Delivery.DoesNotExist):
        queue.payload(row.id)


def test_a_place_and_a_moment_are_compared(now):
    """As the database gives `due_at`, so `moment` says where a look begins."""
    queue, delivery = store.open("default"), DeliveryFactory(due_at=now)
    (row,) = queue.claim([store.Want(delivery.webhook_id, 9, None)], now)
    tick = timedelta(microseconds=1)
    assert queue.moment(now - tick) < row.place[0] == queue.moment(now) < queue.moment(now + tick)


@pytest.mark.django_db(transaction=True)
def test_where_commits_can_be_told_another_ones_is_and_our_own_is_not():
    queue = store.open("default")
    told = connections["default"].vendor == "sqlite"

    def elsewhere():
        DeliveryFactory()
        connections.close_all()

    queue.has_changed()
    DeliveryFactory()
    assert not queue.has_changed()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert queue.has_changed() == told
    assert not queue.has_changed()


@pytest.mark.django_db(transaction=True)
def test_what_arrives_is_brought_along_with_the_news_of_it():
    queue, now = store.open("default"), timezone.now()
    a_moment = timedelta(seconds=1)
    here, away = WebhookFactory(), WebhookFactory(stopped="paused")
    new = [DeliveryFactory(webhook=here, due_at=now, payload=body) for body in (b"[1]", b"[2]")]
    DeliveryFactory(webhook=here, due_at=now - 2 * a_moment)
    DeliveryFactory(webhook=here, due_at=now + a_moment)
    DeliveryFactory(webhook=away, due_at=now)

    def arrivals(most, seen=None):
        seen = seen or store.Watermark(now - a_moment)
        return queue.arrivals(now - a_moment, now, seen, range(SLOTS), most)

    arrived, not_callable, seen = arrivals(10)
    bodies = {row.id: (row.webhook_id, bytes(row.body), row.place[1]) for row in arrived}
    assert bodies == {row.id: (here.pk, row.payload, row.id) for row in new}
    assert not_callable == {away.pk}
    assert seen.until == now
    # It is none of the news any more, as soon as nobody's transaction is as old: any on the server.
    while (found := arrivals(10, seen))[:2] != ([], set()):
        seen = found[2]
        time.sleep(0.01)
    *_, seen = arrivals(3)  # there may be more
    assert seen is None
