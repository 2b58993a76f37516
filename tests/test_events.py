"""Publishing from Python: who gets an event, in which transaction, what a repeat answers."""

import json
import re
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tests.factories import AccountFactory, CounterFactory, WebhookFactory, WorkerFactory
from tests.statements import told
from webhooks_app import __version__, actions
from webhooks_app.models import Delivery, Event, EventBody, EventType, Subscription, Webhook
from webhooks_app.testing import FakeReceiver, assert_published, drain

pytestmark = pytest.mark.django_db
URL = "https://receiver.example.com/hook"
# Statements that are sent now and then, or are no statements.
BESIDE = "BEGIN|COMMIT|SAVEPOINT|pg_notify|SELECT clock_timestamp"


@pytest.fixture(autouse=True)
def a_worker_has_been_here(db):
    """One that reads payloads of events where they are stored once."""
    CounterFactory(name="accepted", slot=0)


def subscribed(account, *types, channels=(), filter=None, **values):
    webhook = WebhookFactory(account=account, **values)
    one = {"types": list(types), "channels": list(channels), "filter": filter or {}}
    actions.set_subscriptions(webhook, [one])
    return webhook


def receivers(event):
    return set(Delivery.objects.filter(event=event).values_list("webhook_id", flat=True))


class TestWhoGetsIt:
    @pytest.mark.parametrize(
        ("pattern", "gets"),
        [("order.created", 1), ("order.*", 1), ("*", 1), ("order.paid", 0), ("order", 0)],
    )
    def test_by_the_pattern(self, account, pattern, gets):
        webhook = subscribed(account, pattern)
        event = actions.publish(account, "order.created", {"n": 1})
        assert receivers(event) == ({webhook.pk} if gets else set())
        assert event.matched == gets

    @pytest.mark.parametrize(
        ("wanted", "has", "gets"),
        [((), (), 1), ((), ("eu",), 1), (("eu",), (), 0), (("eu", "us"), ("us",), 1)],
    )
    def test_by_a_channel_in_common(self, account, wanted, has, gets):
        subscribed(account, "*", channels=wanted)
        assert actions.publish(account, "a", 1, channels=has).matched == gets

    def test_by_its_filter(self, account):
        webhook = subscribed(account, "*", filter={"total": {"$gte": 100}})
        cheap = actions.publish(account, "order.created", {"total": 5})
        dear = actions.publish(account, "order.created", {"total": 500})
        assert (cheap.matched, cheap.filtered) == (0, 1)
        assert (dear.matched, dear.filtered, receivers(dear)) == (1, 0, {webhook.pk})

    def test_once_though_several_subscriptions_match(self, account):
        webhook = WebhookFactory(account=account)
        actions.set_subscriptions(
            webhook, [{"types": ["order.*", "*"], "filter": {"no": 1}}, {"types": ["order.paid"]}]
        )
        event = actions.publish(account, "order.paid", {})
        assert (event.matched, event.filtered, receivers(event)) == (1, 0, {webhook.pk})

    def test_of_its_account_only(self, account):
        subscribed(AccountFactory(), "*")
        assert actions.publish(account, "a", 1).matched == 0

    def test_paused_stopped_and_unverified_ones_get_it_and_it_waits(self, account):
        for values in ({"stopped": "paused"}, {"stopped": "gone"}, {"verified_at": None}):
            subscribed(account, "*", **values)
        assert actions.publish(account, "a", 1).matched == 3

    def test_a_deleted_one_does_not(self, account):
        webhook = subscribed(account, "*")
        actions.delete_webhook(webhook)
        assert actions.publish(account, "a", 1).matched == 0
        assert not Subscription.objects.present().exists()

    def test_a_filter_that_looks_at_too_much_takes_nothing(self, account):
        many = {"$or": [{"$eq": [str(n)]} for n in range(60)]}
        subscribed(account, "*", filter={"list": many})
        event = actions.publish(account, "a", {"list": [["x"]] * 9000})
        assert (event.matched, event.filtered) == (0, 1)

    def test_from_the_moment_of_its_subscription_until_it_ends(self, account):
        webhook = subscribed(account, "a")
        actions.set_subscriptions(webhook, [{"types": ["b"]}])
        assert actions.publish(account, "a", 1).matched == 0
        assert actions.publish(account, "b", 1).matched == 1


class TestTransaction:
    def test_it_commits_with_the_callers_or_not_at_all(self, account):
        subscribed(account, "*")
        with transaction.atomic():
            actions.publish(account, "a", 1)
            transaction.set_rollback(True)
        assert not Event.objects.exists()
        assert not Delivery.objects.exists()

    def test_a_subscription_of_the_same_transaction_counts(self, account):
        with transaction.atomic():
            subscribed(account, "a")
            assert actions.publish(account, "a", 1).matched == 1


class TestStored:
    def test_the_payload_once_and_nothing_of_it_in_the_deliveries(self, account):
        for _ in range(3):
            subscribed(account, "*")
        body = b'{"n": 1.0, "text":"\xc3\xa9"}'
        event = actions.publish(account, "a", body)
        assert bytes(Event.objects.get(pk=event.pk).payload) == body
        rows = Delivery.objects.filter(event=event)
        assert {bytes(row.payload) for row in rows} == {b""}
        assert {(row.type, row.form, row.state) for row in rows} == {("a", "payload", "pending")}

    def test_a_form_once_for_all_that_want_it(self, account):
        for form in ("payload", "standard", "thin", "thin"):
            subscribed(account, "*", form=form)
        event = actions.publish(account, "a", {"n": 1})
        assert set(EventBody.objects.values_list("event", "form")) == {
            (event.pk, "standard"),
            (event.pk, "thin"),
        }

    def test_what_it_says_of_itself(self, account):
        time = timezone.now() - timedelta(days=3)
        event = actions.publish(
            account,
            "order.created",
            {"n": 1},
            event_id="order-1",
            channels=["eu", "vip", "eu"],
            ordering_key="order 1",
            subject="customer 7",
            reference="4711",
            time=time,
            by="shop",
        )
        stored = Event.objects.get(pk=event.pk)
        for row in (event, stored):
            assert (row.type, row.key, row.channels) == ("order.created", "order-1", ("eu", "vip"))
            assert (row.ordering_key, row.subject, row.reference) == (
                "order 1",
                "customer 7",
                "4711",
            )
            assert (row.time, row.created_by, row.fan_out) == (time, "shop", "done")
        assert stored.judged_at == event.judged_at

    def test_a_later_form_holds_for_later_events(self, account):
        webhook = subscribed(account, "*")
        before = actions.publish(account, "a", 1)
        actions.update_webhook(webhook, form="thin")
        after = actions.publish(account, "a", 1)
        forms = [Delivery.objects.get(event=event).form for event in (before, after)]
        assert forms == ["payload", "thin"]


class TestSent:
    def test_the_receiver_gets_the_payload_and_is_told_the_event(self, account):
        subscribed(account, "*")
        event = actions.publish(account, "order.created", b'{"n": 1.0}')
        with FakeReceiver() as receiver:
            assert drain() == 1
        [call] = receiver.requests
        assert call.body == b'{"n": 1.0}'
        assert call.headers["webhook-event-id"] == event.pk
        assert call.headers["webhook-event-type"] == "order.created"
        assert call.headers["webhook-id"] == Delivery.objects.get().pk
        assert call.headers["content-type"] == "application/json"

    def test_in_its_form_with_the_content_type_of_that(self, account, settings):
        settings.WEBHOOKS_CLOUDEVENTS_SOURCE = "https://shop.example.com"
        subscribed(account, "*", form="cloudevents")
        event = actions.publish(account, "order.created", {"n": 1})
        with FakeReceiver() as receiver:
            drain()
        [call] = receiver.requests
        assert call.headers["content-type"] == "application/cloudevents+json"
        assert call.json["id"] == event.pk
        assert call.json["source"] == "https://shop.example.com"
        assert call.json["data"] == {"n": 1}

    def test_a_retry_sends_the_same_bytes_after_its_form_has_changed(self, account):
        webhook = subscribed(account, "*", form="cloudevents")
        actions.publish(account, "a", {"n": 1})
        with FakeReceiver(500) as receiver:
            drain()
            actions.update_webhook(
                webhook, form="payload", headers=[("Content-Type", "application/x-own")]
            )
            actions.retry(Delivery.objects.get())
            receiver.answer = 200
            drain()
        first, second = receiver.requests
        assert first.body == second.body
        assert second.headers["content-type"] == "application/cloudevents+json"

    @pytest.mark.parametrize("size", [1, 20_000, 1024 * 1024 - 2])
    def test_a_payload_of_any_size(self, account, size):
        subscribed(account, "*")
        subscribed(account, "*", form="standard")
        payload = b'"' + b"x" * size + b'"'
        if size > 1:
            payload = payload[: 1024 * 1024 - 1] + b'"' if len(payload) > 1024 * 1024 else payload
        actions.publish(account, "a", payload)
        with FakeReceiver() as receiver:
            drain()
        bodies = [call.body for call in receiver.requests]
        assert sorted(map(len, bodies))[0] == len(payload)
        assert all(payload in body for body in bodies)

    def test_a_direct_delivery_says_nothing_of_events(self, account):
        webhook = subscribed(account, "*", form="cloudevents")
        actions.deliver(webhook, b'{"n":1}', type="order.created")
        with FakeReceiver() as receiver:
            drain()
        [call] = receiver.requests
        assert call.body == b'{"n":1}'
        assert call.headers["content-type"] == "application/json"
        assert not [name for name in call.headers if name.startswith("webhook-event")]


class TestRepeated:
    def test_the_same_id_and_payload_is_the_first_event(self, account):
        subscribed(account, "*")
        first = actions.publish(account, "a", b"[1]", event_id="one")
        again = actions.publish(account, "a", b"[1]", event_id="one")
        assert (again.pk, again.replayed, first.replayed) == (first.pk, True, False)
        assert Delivery.objects.count() == 1

    @pytest.mark.parametrize(("type", "payload"), [("a", b"[2]"), ("b", b"[1]")])
    def test_another_payload_or_type_is_a_conflict(self, account, type, payload):
        actions.publish(account, "a", b"[1]", event_id="one")
        with pytest.raises(actions.Conflict):
            actions.publish(account, type, payload, event_id="one")

    def test_the_id_is_free_after_a_day_and_still_shown(self, account):
        first = actions.publish(account, "a", b"[1]", event_id="one")
        Event.objects.update(created_at=timezone.now() - timedelta(hours=25))
        second = actions.publish(account, "b", b"[2]", event_id="one")
        assert not second.replayed
        assert set(Event.objects.keyed("one").values_list("pk", flat=True)) == {first.pk, second.pk}
        assert actions.publish(account, "b", b"[2]", event_id="one").pk == second.pk

    def test_another_account_may_use_it(self, account):
        actions.publish(account, "a", 1, event_id="one")
        assert not actions.publish(AccountFactory(), "a", 2, event_id="one").replayed


class TestMany:
    def test_all_are_stored_each_with_its_receivers(self, account):
        orders, all_ = subscribed(account, "order.*"), subscribed(account, "*")
        new = [actions.NewEvent(type=t, payload=t) for t in ("order.paid", "user.new", "order.x")]
        events = actions.publish_many(account, new)
        assert [receivers(event) for event in events] == [
            {orders.pk, all_.pk},
            {all_.pk},
            {orders.pk, all_.pk},
        ]

    def test_none_is_stored_where_one_is_wrong_and_it_is_named(self, account):
        new = [actions.NewEvent(type=type, payload=1) for type in ("a", "no good", "b", "")]
        with pytest.raises(actions.Invalid) as raised:
            actions.publish_many(account, new)
        assert set(raised.value.details["events"]) == {"1", "3"}
        assert not Event.objects.exists()

    def test_an_id_twice_is_one_event(self, account):
        subscribed(account, "*")
        new = actions.NewEvent(type="a", payload=1, event_id="one")
        first, second = actions.publish_many(account, [new, new])
        assert (second.pk, first.replayed, second.replayed) == (first.pk, False, True)
        assert Delivery.objects.count() == 1

    def test_an_id_twice_with_other_payloads_stores_nothing(self, account):
        new = [actions.NewEvent(type="a", payload=n, event_id="one") for n in (1, 2)]
        with pytest.raises(actions.Conflict):
            actions.publish_many(account, new)
        assert not Event.objects.exists()

    @pytest.mark.once
    @pytest.mark.parametrize("number", [0, 1001])
    def test_1_to_1000_at_once(self, account, number):
        with pytest.raises(actions.Invalid):
            actions.publish_many(account, [actions.NewEvent(type="a", payload=1)] * number)


class TestLater:
    def test_it_is_not_sent_before_its_time_and_can_be_taken_back(self, account):
        subscribed(account, "*")
        event = actions.publish(account, "a", 1, deliver_at=timezone.now() + timedelta(hours=2))
        with FakeReceiver():
            assert drain() == 0
            assert actions.cancel_event(event, by="shop") == 1
        assert Delivery.objects.get().state == "cancelled"
        assert Delivery.objects.get().reason == "cancelled by shop"

    def test_a_time_that_is_over_is_now(self, account):
        subscribed(account, "*")
        actions.publish(account, "a", 1, deliver_at=timezone.now() - timedelta(hours=2))
        with FakeReceiver():
            assert drain() == 1

    def test_at_most_30_days_ahead(self, account):
        with pytest.raises(actions.Invalid) as raised:
            actions.publish(account, "a", 1, deliver_at=timezone.now() + timedelta(days=31))
        assert "deliverAt" in raised.value.details

    def test_to_take_it_back_leaves_what_was_sent(self, account):
        subscribed(account, "*")
        event = actions.publish(account, "a", 1)
        with FakeReceiver():
            drain()
        assert actions.cancel_event(event) == 0
        assert Delivery.objects.get().state == "delivered"


BAD = {
    "type": {"type": "no good"},
    "payload": {"payload": b"{"},
    "eventId": {"event_id": "é"},
    "channels": {"channels": ["a b"]},
    "orderingKey": {"ordering_key": "x" * 129},
    "subject": {"subject": "\0"},
    "reference": {"reference": 1},
}


@pytest.mark.once
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_as_in_the_api(account, name):
    with pytest.raises(actions.Invalid) as raised:
        actions.publish(account, **{"type": "a", "payload": 1, **BAD[name]})
    assert set(raised.value.details) == {name}


class TestDeclared:
    @pytest.fixture(autouse=True)
    def _declared(self, settings):
        settings.WEBHOOKS_EVENT_TYPES = "declared"

    def test_an_undeclared_type_is_refused_with_the_nearest(self, account):
        actions.declare_event_type(account, "order.created")
        assert actions.publish(account, "order.created", 1)
        with pytest.raises(actions.Invalid) as raised:
            actions.publish(account, "order.craeted", 1)
        assert "did you mean order.created?" in raised.value.details["type"][0]

    def test_of_many_undeclared_types_only_the_first_are_compared_with_the_others(self, account):
        actions.declare_event_type(account, "order.created")
        wrong = [actions.NewEvent(type=f"order.craeted{n}", payload=1) for n in range(1000)]
        with pytest.raises(actions.Invalid) as raised:
            actions.publish_many(account, wrong)
        told = [place["type"][0] for place in raised.value.details["events"].values()]
        assert len(told) == 1000
        assert sum("did you mean" in sentence for sentence in told) == 3

    def test_a_type_of_the_site_will_do_and_one_that_was_seen_or_archived_will_not(self, account):
        actions.declare_event_type(None, "site.wide")
        EventType.objects.create(account=account, name="only.seen", seen=True)
        old = actions.declare_event_type(account, "old")
        actions.update_event_type(old, archived=True)
        assert actions.publish(account, "site.wide", 1)
        for type in ("only.seen", "old"):
            with pytest.raises(actions.Invalid):
                actions.publish(account, type, 1)

    def test_one_of_the_site_will_not_once_the_account_has_archived_its_own(self, account):
        actions.declare_event_type(None, "order.paid")
        own = actions.declare_event_type(account, "order.paid")
        actions.publish(account, "order.paid", 1)
        actions.update_event_type(own, archived=True)
        for refused in (
            lambda: actions.publish(account, "order.paid", 1),
            lambda: actions.set_subscriptions(
                WebhookFactory(account=account), [{"types": ["order.paid"]}]
            ),
        ):
            with pytest.raises(actions.Invalid, match="eclared"):
                refused()
        actions.publish(AccountFactory(), "order.paid", 1)

    def test_a_pattern_must_match_a_declared_type(self, account):
        actions.declare_event_type(account, "order.item.added")
        subscribed(account, "order.item.added", "order.*", "order.item.*", "*")
        with pytest.raises(actions.Invalid) as raised:
            subscribed(account, "order.*", "user.*")
        assert raised.value.details == {
            "subscriptions": {"0": {"types": {"1": ["Matches no declared type."]}}}
        }


class TestStatements:
    """However many receivers."""

    @pytest.mark.parametrize("number", [1, 1000])
    @pytest.mark.parametrize("inside", [False, True])
    def test_at_most_8_in_one_transaction(self, account, number, inside, transactional_db):
        webhooks = [
            Webhook(account=account, name="w", url=URL, form=("payload", "thin")[n % 2])
            for n in range(number)
        ]
        Webhook.objects.bulk_create(webhooks)
        Subscription.objects.bulk_create(
            Subscription(
                account=account,
                webhook=webhook,
                number=0,
                pattern="a.*",
                filter='{"n":1}',
                valid_from=timezone.now(),
            )
            for webhook in webhooks
        )
        WorkerFactory(version=__version__)
        with told(connection) as statements:
            if inside:
                with transaction.atomic():
                    actions.publish(account, "a.b", {"n": 1}, event_id="one")
            else:
                actions.publish(account, "a.b", {"n": 1}, event_id="one")
        own = [sql for sql in statements if not re.search(BESIDE, sql)]
        assert Delivery.objects.count() == number
        assert 3 <= len(own) <= 8, [sql[:60] for sql in own]


@pytest.mark.parametrize("ident", [None, "one"])
def test_only_an_event_id_that_may_be_taken_asks_for_a_place_to_come_back_to(account, ident):
    with transaction.atomic(), told(connection) as statements:
        actions.publish(account, "a.b", {}, event_id=ident)
    assert any("SAVEPOINT" in sql for sql in statements) == (ident is not None)


def test_what_ends_and_what_begins_in_its_place_leave_no_gap(account):
    webhook = WebhookFactory(account=account)
    for types in (["order.*"], ["order.*", "invoice.*"]):
        actions.set_subscriptions(webhook, [{"types": types}])
    rows = Subscription.objects.filter(webhook=webhook)
    [ended] = set(rows.filter(valid_until__isnull=False).values_list("valid_until", flat=True))
    [began] = set(rows.present().values_list("valid_from", flat=True))
    assert ended == began


def test_the_helper_for_tests_finds_what_was_published(account):
    event = actions.publish(account, "order.created", {"n": 1})
    assert assert_published("order.created", payload={"n": 1}, times=1) == event
    for options in ({"payload": {"n": 2}}, {"times": 2}):
        with pytest.raises(AssertionError, match=r"order\.created"):
            assert_published("order.created", **options)
    with pytest.raises(AssertionError, match=r"order\.created"):
        assert_published("order.paid")
    assert assert_published("order.paid", times=0) is None
    assert assert_published("order.created", payload={"n": 2}, times=0) is None
    with pytest.raises(AssertionError, match=r"published 1 times"):
        assert_published("order.created", times=0)


def test_the_payload_of_an_event_is_json(account):
    event = actions.publish(account, "a", {"at": timezone.now()})
    assert set(json.loads(event.payload)) == {"at"}


def test_of_keys_that_python_makes_equal_a_filter_reads_the_last(account):
    webhook = WebhookFactory(account=account)
    one = {"types": ["*"], "filter": {"1": "new"}}
    actions.set_subscriptions(webhook, [one])
    event = actions.publish(account, "a", {1: "old", "1": "new"})
    assert (event.matched, event.filtered) == (1, 0)
