"""Very many receivers in steps; old workers; what the worker notes and purges; bodies read once."""

from datetime import timedelta
from unittest.mock import patch

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import (
    AccountFactory,
    CounterFactory,
    DeliveryFactory,
    WebhookFactory,
    WorkerFactory,
)
from tests.statements import told
from webhooks_app import __version__, actions
from webhooks_app.engine import bodies, fanout, store, subscribers
from webhooks_app.engine.maintenance import catalogue, pruner
from webhooks_app.models import (
    Counter,
    Delivery,
    Event,
    EventBody,
    EventType,
    Subscription,
    Webhook,
)
from webhooks_app.rules.ids import new_id
from webhooks_app.testing import FakeReceiver, drain

pytestmark = pytest.mark.django_db
URL = "https://receiver.example.com/hook"


@pytest.fixture(autouse=True)
def a_worker_has_been_here(db):
    """One that reads payloads of events where they are stored once."""
    CounterFactory(name="accepted", slot=0)


def subscribed(account, number, *, filter="", form="payload", pattern="*"):
    now = timezone.now()
    webhooks = Webhook.objects.bulk_create(
        Webhook(account=account, name="w", url=URL, form=form, verified_at=now)
        for _ in range(number)
    )
    Subscription.objects.bulk_create(
        Subscription(
            account=account, webhook=w, number=0, pattern=pattern, filter=filter, valid_from=now
        )
        for w in webhooks
    )
    return {webhook.pk for webhook in webhooks}


def receivers(event):
    return sorted(Delivery.objects.filter(event=event).values_list("webhook_id", flat=True))


class TestSteps:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        monkeypatch.setattr(subscribers, "STEP", 10)

    def test_a_worker_goes_on_where_the_call_ended(self, account):
        webhooks = subscribed(account, 25)
        event = actions.publish(account, "a", 1)
        assert (event.matched, event.fan_out) == (10, "running")
        assert fanout.turn() == 15
        event.refresh_from_db()
        assert (event.matched, event.fan_out) == (25, "done")
        assert receivers(event) == sorted(webhooks)
        assert fanout.turn() == 0

    def test_who_subscribes_meanwhile_gets_nothing_and_who_ends_it_gets_it(self, account):
        early = subscribed(account, 25)
        event = actions.publish(account, "a", 1)
        subscribed(account, 3)
        last = max(early)
        actions.set_subscriptions(Webhook.objects.get(pk=last), [])
        fanout.turn()
        assert receivers(event) == sorted(early)

    def test_a_step_that_another_worker_has_done_does_nothing(self, account):
        subscribed(account, 25)
        event = actions.publish(account, "a", 1)
        place = event.fanned_out_to
        assert fanout.step(event.pk, place)[0] == 10
        assert fanout.step(event.pk, place) == (0, None)

    def test_a_deleted_webhook_is_left_out(self, account):
        webhooks = subscribed(account, 25)
        event = actions.publish(account, "a", 1)
        Webhook.objects.filter(pk=max(webhooks)).update(deleted_at=timezone.now())
        fanout.turn()
        assert len(receivers(event)) == 24

    def test_many_events_share_the_room_of_a_call(self, account):
        subscribed(account, 7)
        events = actions.publish_many(
            account, [actions.NewEvent(type="a", payload=n) for n in "abc"]
        )
        assert [event.fan_out for event in events] == ["done", "running", "running"]
        fanout.turn()
        assert {len(receivers(event)) for event in events} == {7}

    def test_one_that_is_taken_back_goes_no_further(self, account):
        subscribed(account, 25)
        event = actions.publish(account, "a", 1)
        assert actions.cancel_event(event) == 10
        assert fanout.turn() == 0
        assert set(Delivery.objects.values_list("state", flat=True)) == {"cancelled"}

    def test_nobody_waits_until_anothers_many_receivers_have_theirs(self, account, monkeypatch):
        subscribed(account, 95)
        other = AccountFactory()
        subscribed(other, 15)
        first, second = (actions.publish(account, "a", n) for n in range(2))
        small = actions.publish(other, "a", 1)
        steps, step = [], fanout.step

        def noted(ident, place):
            steps.append(ident)
            return step(ident, place)

        monkeypatch.setattr(fanout, "step", noted)
        while fanout.turn():
            pass
        assert steps.index(small.pk) < 2
        steps.remove(small.pk)
        assert steps == [first.pk] * 9 + [second.pk] * 9

    def test_one_that_fails_keeps_no_other_from_its_receivers(self, account, monkeypatch):
        webhooks = subscribed(account, 15, form="standard")
        bad, good = (actions.publish(account, "a", n) for n in range(2))
        told = fanout.told

        def odd(event):
            if event.pk == bad.pk:
                raise RuntimeError("an odd event")
            return told(event)

        monkeypatch.setattr(fanout, "told", odd)
        with pytest.raises(RuntimeError, match="odd"):
            fanout.turn()
        assert receivers(good) == sorted(webhooks)
        assert len(receivers(bad)) == 10

    def test_it_is_cut_also_where_filters_look_at_very_much(self, account, monkeypatch):
        monkeypatch.setattr(subscribers, "STEP", 10_000)
        monkeypatch.setattr(subscribers, "FILTERS", 3)
        for n in range(8):
            subscribed(account, 1, filter=f'{{"n":{n}}}')
        event = actions.publish(account, "a", {"n": 7})
        assert event.fan_out == "running"
        fanout.turn()
        event.refresh_from_db()
        assert (event.fan_out, event.matched, event.filtered) == ("done", 1, 7)

    def test_what_filters_look_at_is_shared_by_the_events_of_a_call(self, account, monkeypatch):
        monkeypatch.setattr(subscribers, "STEP", 10_000)
        monkeypatch.setattr(subscribers, "VISITS", 100)
        webhooks = subscribed(account, 2, filter='{"a":60}')
        new = actions.NewEvent(type="a", payload={"a": list(range(61))})
        events = actions.publish_many(account, [new] * 5)
        assert [event.fan_out for event in events] == ["done"] * 2 + ["running"] * 3
        fanout.turn()
        assert [receivers(event) for event in events] == [sorted(webhooks)] * 5

    def test_it_is_cut_where_there_are_more_subscriptions_than_are_read(self, account, monkeypatch):
        monkeypatch.setattr(subscribers, "STEP", 10_000)
        monkeypatch.setattr(subscribers, "READ_MOST", 4)
        webhooks = subscribed(account, 11)
        event = actions.publish(account, "a", 1)
        assert event.fan_out == "running"
        fanout.turn()
        assert receivers(event) == sorted(webhooks)


class TestOldWorkers:
    @pytest.mark.parametrize("version", ["", "0.1.0", "odd"])
    def test_beside_one_each_delivery_has_a_copy_in_its_form(self, account, version):
        WorkerFactory(version=version)
        subscribed(account, 1)
        subscribed(account, 1, form="standard")
        event = actions.publish(account, "a", b"[1 ]")
        bodies = {
            form: bytes(body) for form, body in Delivery.objects.values_list("form", "payload")
        }
        assert bodies["payload"] == b"[1 ]"
        assert bodies["standard"] == bytes(EventBody.objects.get(event=event).payload)
        with FakeReceiver() as receiver:
            drain()
        posts = [call for call in receiver.requests if call.method == "POST"]
        assert {call.headers["webhook-event-id"] for call in posts} == {event.pk}

    @pytest.mark.parametrize("version", [__version__, "0.2.1", "1.0"])
    def test_beside_one_that_knows_events_it_has_none(self, account, version):
        WorkerFactory(version=version)
        subscribed(account, 1)
        actions.publish(account, "a", 1)
        assert bytes(Delivery.objects.get().payload) == b""

    def test_where_none_has_been_yet_an_old_one_may_be_coming_back(self, account):
        Counter.objects.all().delete()
        subscribed(account, 1)
        actions.publish(account, "a", 1)
        assert bytes(Delivery.objects.get().payload) == b"1"
        with FakeReceiver():
            drain()
        event = actions.publish(account, "a", 2)
        assert bytes(Delivery.objects.get(event=event).payload) == b""


class TestCatalogue:
    @pytest.fixture(autouse=True)
    def _anew(self, monkeypatch):
        monkeypatch.setattr(catalogue, "_place", "")

    def test_new_types_are_noted_as_seen_once(self, account):
        actions.declare_event_type(account, "order.paid")
        actions.declare_event_type(None, "site.wide")
        for type in ("order.paid", "order.new", "order.new", "site.wide"):
            actions.publish(account, type, 1)
        assert catalogue.turn() == 1
        assert catalogue.turn() == 0
        assert list(EventType.objects.filter(seen=True).values_list("name", "account")) == [
            ("order.new", account.pk)
        ]

    def test_at_most_1000_of_an_account(self, account, monkeypatch):
        monkeypatch.setattr(catalogue, "TYPES_MOST", 2)
        for n in range(4):
            actions.publish(account, f"t{n}", 1)
        catalogue.turn()
        assert EventType.objects.count() == 2

    def test_none_where_types_are_declared(self, account, settings):
        actions.publish(account, "a", 1)
        settings.WEBHOOKS_EVENT_TYPES = "declared"
        assert catalogue.turn() == 0


class TestPurge:
    def test_an_event_goes_with_its_last_delivery_and_its_bodies(self, account):
        old = timezone.now() - timedelta(days=40)
        unheard, heard = (
            Event.objects.create(
                id=new_id(old.timestamp()), account=account, type="a", payload=b"1"
            )
            for _ in range(2)
        )
        new = actions.publish(account, "a", 1)
        EventBody.objects.create(event=heard, form="thin", content_type="x", payload=b"1")
        delivery = DeliveryFactory(event=heard, form="thin", payload=b"", created_at=old)
        assert pruner.purge(timedelta(days=30), dry_run=True)["events"] == 1
        assert pruner.purge(timedelta(days=30))["events"] == 1
        assert not Event.objects.filter(pk=unheard.pk).exists()
        assert EventBody.objects.exists()  # it may still be sent
        Delivery.objects.filter(pk=delivery.pk).update(state="failed", finished_at=old)
        assert pruner.purge(timedelta(days=30), dry_run=True)["events"] == 1
        assert pruner.purge(timedelta(days=30))["events"] == 1
        assert list(Event.objects.all()) == [new]
        assert not EventBody.objects.exists()

    def test_a_subscription_that_ended_stays_while_an_event_is_kept_that_it_explains(self, account):
        webhook = WebhookFactory(account=account)
        actions.set_subscriptions(webhook, [{"types": ["a"]}])
        actions.set_subscriptions(webhook, [{"types": ["b"]}])
        old = timezone.now() - timedelta(days=40)
        ended = Subscription.objects.filter(pattern="a")
        ended.update(valid_from=old, valid_until=old + timedelta(days=1))
        event = actions.publish(account, "a", 1, deliver_at=timezone.now())
        Event.objects.filter(pk=event.pk).update(id=new_id(old.timestamp()), fanned_out_to="0" * 24)
        pruner.purge(timedelta(days=30))
        assert ended.exists()
        Event.objects.update(fanned_out_to=None)
        pruner.purge(timedelta(days=30))
        assert not ended.exists()
        assert Subscription.objects.filter(pattern="b").exists()


class TestBodies:
    def claimed(self):
        now = timezone.now() + timedelta(seconds=1)
        wants = [store.Want(pk, 100, None) for pk in Webhook.objects.values_list("pk", flat=True)]
        return store.open("default").claim(wants, now)

    def test_they_are_read_once_in_one_statement_however_many_share_them(self, account):
        subscribed(account, 20)
        subscribed(account, 5, form="standard")
        for n in range(4):
            actions.publish(account, "a", n)
        rows, kept = self.claimed(), bodies.Bodies(store.open("default"))
        with told(connection) as statements:
            kept.fill(rows)
        assert len(rows) == 100
        assert len(statements) == 1
        again = self.claimed()
        with told(connection) as statements:
            kept.fill(again)
        assert statements == []
        assert [row.body for row in again] == [row.body for row in rows]
        assert sum(row.form == "standard" for row in rows) == 20

    def test_a_large_one_waits_until_it_is_sent_and_is_kept_then(self, account):
        subscribed(account, 3)
        payload = b'"' + b"x" * 100_000 + b'"'
        actions.publish(account, "a", payload)
        rows, kept = self.claimed(), bodies.Bodies(store.open("default"))
        kept.fill(rows)
        assert [row.body for row in rows] == [None] * 3
        with told(connection) as statements:
            assert {kept.payload(row) for row in rows} == {payload}
        assert len(statements) == 1

    def test_what_is_kept_has_an_end(self, account, monkeypatch):
        monkeypatch.setattr(bodies, "KEPT_BYTES", 5_000)
        subscribed(account, 1)
        for n in range(10):
            actions.publish(account, "a", "x" * 1000 + str(n))
        kept = bodies.Bodies(store.open("default"))
        kept.fill(self.claimed())
        again = self.claimed()
        with told(connection) as statements:
            kept.fill(again)
        assert len(statements) == 1  # some were forgotten
        assert all(row.body for row in again)

    def test_of_an_event_that_is_gone_nothing_is_sent(self, account):
        subscribed(account, 1)
        actions.publish(account, "a", 1)
        Event.objects.all()._raw_delete(using="default")
        [row] = self.claimed()
        kept = bodies.Bodies(store.open("default"))
        kept.fill([row])
        assert row.body is None
        with pytest.raises(Event.DoesNotExist):
            kept.payload(row)


def takes(one, payload):
    """What the filters below mean, said otherwise."""
    return {"": True, '{"n":1}': payload["n"] == 1, '{"n":{"$gte":1}}': payload["n"] >= 1}[one]


ONE = st.tuples(
    st.sampled_from(["a.b", "a.*", "*", "a", "c"]),
    st.sampled_from([(), ("eu",), ("us", "eu")]),
    st.sampled_from(["", '{"n":1}', '{"n":{"$gte":1}}']),
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    many=st.lists(st.lists(ONE, max_size=4), max_size=9),
    n=st.integers(0, 2),
    channels=st.sampled_from([(), ("eu",), ("de",)]),
    most=st.sampled_from(
        [("STEP", 2), ("FILTERS", 1), ("READ_MOST", 5), ("LOOKS", 3), ("STEP", 99)]
    ),
)
def test_however_it_is_cut_each_gets_it_once_that_one_of_its_subscriptions_takes_it(
    account, many, n, channels, most
):
    Webhook.objects.all().delete()
    expected, filtered = set(), 0
    for own in many:
        [ident] = subscribed(account, 1, pattern="none")
        hear = [
            filter
            for pattern, wanted, filter in own
            if pattern in ("a.b", "a.*", "*") and (not wanted or set(wanted) & set(channels))
        ]
        if any(takes(filter, {"n": n}) for filter in hear):
            expected.add(ident)
        elif hear:
            filtered += 1
        Subscription.objects.bulk_create(
            Subscription(
                account=account,
                webhook_id=ident,
                number=number,
                pattern=pattern,
                channels=wanted,
                filter=filter,
                valid_from=timezone.now(),
            )
            for number, (pattern, wanted, filter) in enumerate(own, 1)
        )
    with patch.object(subscribers, *most):
        event = actions.publish(account, "a.b", {"n": n}, channels=channels)
        while fanout.turn():
            pass
        while Event.objects.fanning_out().exists():
            fanout.turn()
    event.refresh_from_db()
    assert receivers(event) == sorted(expected)
    assert (event.matched, event.filtered) == (len(expected), filtered)
