"""Totals that never fall: each attempt, what was given up and what was accepted, once."""

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.models import Sum
from django.utils import timezone

from tests.engine.test_attempt_rows import REFUSED, entry, record
from tests.factories import DeliveryFactory, WebhookFactory
from tests.store.ended import delivery_in, finish, finished
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.engine import transitions, writer
from webhooks_app.engine.knobs import Knobs
from webhooks_app.engine.maintenance import accepted, pruner, recount, upkeep
from webhooks_app.models import Counter, Delivery
from webhooks_app.rules.failures import Failure
from webhooks_app.rules.ids import new_id

FAILURE = Failure("http_500", "Request failed with status code 500")
LONG_AGO = timezone.now() - timedelta(days=60)


def counted():
    """Every total that is not nought, by name and kind."""
    sums = Counter.objects.order_by().values_list("name", "kind").annotate(Sum("count"))
    return {(name, kind): count for name, kind, count in sums if count}


def accepted_by_now():
    """What a scrape tells: what is counted, and what is stored behind that."""
    rows = Counter.objects.filter(name=accepted.ACCEPTED).values_list("count", "place")
    count, place = rows.first() or (0, "")
    return count + accepted.behind(place)


@pytest.mark.django_db
class TestAttempts:
    def test_each_counts_by_its_exchange_and_kind_of_error(self):
        one, other = WebhookFactory(), WebhookFactory()
        for exchange in ("interaction", "verification", "test"):
            record(entry(one, exchange=exchange))
        record(entry(one), entry(other), entry(one, failure=REFUSED, status=None))
        record(entry(other))
        assert counted() == {
            ("delivery", ""): 3,
            ("delivery", "refused"): 1,
            ("interaction", ""): 1,
            ("verification", ""): 1,
            ("test", ""): 1,
        }

    def test_what_is_not_written_is_not_counted(self):
        with transaction.atomic():
            record(entry(WebhookFactory()))
            transaction.set_rollback(True)
        assert counted() == {}

    def test_a_delivery_given_up_counts_once(self):
        pending = delivery_in("pending")
        finish(
            finished(delivery_in("pending"), state="pending", failure=FAILURE),
            finished(pending, state="failed", failure=FAILURE),
        )
        assert counted() == {("delivery", "http_500"): 2, ("given_up", "http_500"): 1}

    def test_one_that_somebody_ended_meanwhile_is_not_given_up(self):
        items = [
            finished(delivery_in(state), state="failed", failure=FAILURE)
            for state in ("cancelled", "failed", "pending")
        ]
        finish(*items)
        assert counted() == {("delivery", "http_500"): 3, ("given_up", "http_500"): 1}

    def test_no_total_ever_falls(self):
        delivery = delivery_in("pending", created_at=LONG_AGO)
        finish(finished(delivery, state="failed", failure=FAILURE))
        accepted.count()
        before = counted() | {("accepted", ""): accepted_by_now()}
        transitions.retry(delivery.pk)
        transitions.cancel(delivery.pk, "by hand")
        Delivery.objects.update(finished_at=LONG_AGO)
        pruner.purge(timedelta(days=1))
        list(recount.rebuild())
        actions.delete_webhook(delivery.webhook)
        assert not Delivery.objects.exists()
        assert counted() | {("accepted", ""): accepted_by_now()} == before


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_is_given_twice_counts_once():
    """The connection broke in a COMMIT, and nobody told whether it came through."""
    batch = [finished(delivery_in("pending"), state="failed", failure=FAILURE)]
    shared = connections["default"]
    writing = writer.Writer("default", Knobs())
    try:
        for in_doubt in (False, True):
            assert writing.write(batch, (), in_doubt=in_doubt).number == 1
    finally:
        writing.close()
        connections["default"] = shared
    assert counted() == {("delivery", "http_500"): 1, ("given_up", "http_500"): 1}


@pytest.mark.django_db(transaction=True)
def test_two_writers_of_the_same_rows_never_deadlock():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    hooks = [WebhookFactory(id=f"{n:022x}00") for n in (1, 2)]  # of one slot
    failures = []

    def write(kinds, hook):
        try:
            for _ in range(100):
                record(*[entry(hook, exchange=kind) for kind in kinds])
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    kinds = ("interaction", "test", "verification")
    writers = [
        threading.Thread(target=write, args=(order, hook))
        for order, hook in zip((kinds, kinds[::-1]), hooks, strict=True)
    ]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert failures == []
    assert counted() == {(kind, ""): 200 for kind in kinds}


def stored(ago, number=1):
    made = timezone.now() - ago
    return [DeliveryFactory(created_at=made, due_at=made) for _ in range(number)]


@pytest.mark.django_db
class TestAccepted:
    def test_it_is_told_at_once_and_counted_when_it_is_settled(self):
        stored(timedelta(minutes=5), 3)
        stored(timedelta(), 2)
        assert (accepted_by_now(), counted()) == (5, {})
        assert accepted.count() == 3
        assert (accepted_by_now(), counted()) == (5, {("accepted", ""): 3})
        assert accepted.count() == 0
        assert accepted_by_now() == 5

    def test_a_long_queue_is_counted_in_several_looks(self, monkeypatch):
        monkeypatch.setattr(accepted, "AT_ONCE", 2)
        stored(timedelta(minutes=5), 5)
        told = []
        for _ in range(4):
            told.append((accepted.count(), accepted_by_now()))
        assert told == [(2, 4), (2, 5), (1, 5), (0, 5)]  # it only ever grows

    def test_of_two_that_look_at_once_one_counts(self, monkeypatch):
        stored(timedelta(minutes=5), 3)
        look = accepted.first_id
        others = []

        def another_first(moment):
            monkeypatch.setattr(accepted, "first_id", look)
            others.append(accepted.count())
            return look(moment)

        monkeypatch.setattr(accepted, "first_id", another_first)
        assert (accepted.count(), others) == (0, [3])
        assert accepted_by_now() == 3


@pytest.mark.django_db(transaction=True)
def test_what_commits_late_is_not_passed_by(account):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    accepted.count()
    webhook = WebhookFactory(account=account)
    begun, end = threading.Event(), threading.Event()

    def write_for_long():
        with transaction.atomic():
            webhook.refresh_from_db()  # with its first statement it begins
            DeliveryFactory(webhook=webhook, id=new_id())
            begun.set()
            assert end.wait(PATIENCE)
        connections.close_all()

    late = threading.Thread(target=write_for_long)
    late.start()
    assert begun.wait(PATIENCE)
    settled, accepted.SETTLED_AFTER = accepted.SETTLED_AFTER, timedelta(0)
    try:
        DeliveryFactory(webhook=webhook, id=new_id())
        accepted.count()
        end.set()
        late.join()
        accepted.count()
        assert accepted_by_now() == 2
    finally:
        end.set()
        accepted.SETTLED_AFTER = settled


@pytest.mark.django_db
def test_errors_of_the_database_are_counted_once_it_answers_again(monkeypatch):
    def away(*_):
        raise OperationalError("locked")

    upkeep.turn(notices=False)
    before = counted().get(("database", ""), 0)
    with monkeypatch.context() as patch:
        patch.setattr(upkeep.connections, "close_all", lambda: None)
        patch.setattr(upkeep.jobs, "turn", away)
        for _ in range(2):
            upkeep.turn(notices=False)
    upkeep.turn(notices=False)
    upkeep.turn(notices=False)
    assert counted()["database", ""] == before + 2
