"""Why a webhook got an event or did not: exactly, also long after subscriptions were changed."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests import test_events
from tests.factories import AccountFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.actions import reasons
from webhooks_app.engine import fanout, subscribers
from webhooks_app.models import Delivery, Event, Subscription, Webhook

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(days=3)


def subscribed(account, *types, **values):
    """A webhook that has been so for long."""
    webhook = test_events.subscribed(account, *types, **values)
    aged(webhook.subscriptions, Webhook.objects.filter(pk=webhook.pk))
    return webhook


def verdicts(event):
    lines, place = actions.why(Event.objects.get(pk=event.pk))
    assert place == ""
    return {line.webhook.pk: (line.verdict, line.because) for line in lines}


def only(event):
    [found] = verdicts(event).values()
    return found


MOMENTS = ("valid_from", "valid_until", "judged_at", "created_at")


def aged(*sets):
    """Everything that was done so far was done three days ago."""
    for rows in sets or (Subscription.objects, Event.objects, Webhook.objects):
        for row in rows.all():
            moments = {f: getattr(row, f) - LONG_AGO for f in MOMENTS if getattr(row, f, None)}
            rows.filter(pk=row.pk).update(**moments)


@pytest.fixture
def account():
    return AccountFactory()


class TestOfWhoGotIt:
    @pytest.mark.parametrize(
        ("state", "verdict", "because"),
        [
            ({"state": "delivered", "tries": 2}, "delivered", "at try 2"),
            ({}, "pending", "It is due at 20"),
            ({"tries": 3, "last_error": "reset"}, "pending", "3 of 8 tries failed"),
            ({"state": "failed", "tries": 8, "last_error": "reset"}, "failed", "reset"),
            ({"state": "cancelled", "reason": "cancelled by mira"}, "cancelled", "by mira"),
        ],
    )
    def test_its_delivery_is_the_verdict(self, account, state, verdict, because):
        webhook = subscribed(account, "*")
        event = actions.publish(account, "a", 1)
        ended = {"finished_at": timezone.now()} if "state" in state else {}
        Delivery.objects.filter(event=event).update(**state, **ended)
        said = verdicts(event)[webhook.pk]
        assert said[0] == verdict
        assert because in said[1]

    def test_what_waits_for_its_webhook_says_for_what(self, account):
        subscribed(account, "*", stopped="paused")
        assert only(actions.publish(account, "a", 1)) == ("held", "The webhook is paused.")

    def test_the_line_has_the_delivery(self, account):
        subscribed(account, "*")
        event = actions.publish(account, "a", 1)
        [line], _ = actions.why(event)
        assert line.delivery == Delivery.objects.get(event=event)


class TestOfWhoDidNot:
    def test_no_subscription(self, account):
        WebhookFactory(account=account)
        event = actions.publish(account, "order.paid", 1)
        assert only(event) == ("not-subscribed", "It has no subscriptions.")

    def test_none_to_this_type(self, account):
        subscribed(account, "invoice.*", "order")
        said = only(actions.publish(account, "order.paid", 1))
        assert said == ("not-subscribed", "None of its subscriptions covers order.paid.")

    def test_other_channels(self, account):
        subscribed(account, "*", channels=["eu", "us"])
        said = only(actions.publish(account, "a", 1, channels=["asia"]))
        assert said == ("not-subscribed", "It subscribed to other channels: eu, us.")

    def test_a_filter_and_which_condition_of_it(self, account):
        subscribed(account, "order.*", filter={"total": {"$gte": 100}, "state": "paid"})
        said = only(actions.publish(account, "order.paid", {"total": 5, "state": "paid"}))
        assert said == ("filtered", "Its filter does not hold at /total/$gte (subscription 1).")

    def test_a_filter_that_looks_into_a_list_as_a_whole(self, account):
        subscribed(account, "order.*", filter={"total": 100})
        said = only(actions.publish(account, "order.paid", [{"total": 5}]))
        assert said == ("filtered", "Its filter does not hold at the root (subscription 1).")

    def test_each_of_several_filters(self, account):
        webhook = WebhookFactory(account=account)
        new = [{"types": ["*"], "filter": {"a": 1}}, {"types": ["x"], "filter": {"b": {"$gt": 2}}}]
        actions.set_subscriptions(webhook, new)
        aged()
        verdict, because = only(actions.publish(account, "x", {}))
        assert verdict == "filtered"
        assert "/a (subscription 1)" in because
        assert "/b/$gt (subscription 2)" in because

    def test_a_filter_that_would_look_at_too_much(self, account):
        many = {"$or": [{"$eq": [str(n)]} for n in range(60)]}
        subscribed(account, "*", filter={"list": many})
        verdict, because = only(actions.publish(account, "a", {"list": [["x"]] * 9000}))
        assert verdict == "filtered"
        assert because.startswith("filter-too-costly: ")

    def test_a_webhook_that_is_younger(self, account):
        event = actions.publish(account, "a", 1)
        aged()
        test_events.subscribed(account, "*")
        assert only(event) == ("too-late", "The webhook was made after the event.")

    def test_a_subscription_that_is_younger(self, account):
        webhook = subscribed(account, "b")
        event = actions.publish(account, "a", 1)
        aged()
        actions.set_subscriptions(webhook, [{"types": ["a"]}])
        verdict, because = only(event)
        assert verdict == "too-late"
        assert because.startswith("It subscribed after the event, at 20")

    def test_what_was_changed_since_is_judged_as_it_was(self, account):
        webhook = subscribed(account, "a", filter={"n": {"$gt": 5}})
        event = actions.publish(account, "a", {"n": 1})
        aged()
        actions.set_subscriptions(webhook, [{"types": ["a"]}])
        assert only(event) == ("filtered", "Its filter does not hold at /n/$gt (subscription 1).")
        actions.set_subscriptions(webhook, [])
        assert only(event)[0] == "filtered"

    def test_a_change_at_that_moment_is_said(self, account):
        webhook = subscribed(account, "a", filter={"n": 1})
        event = actions.publish(account, "a", {"n": 2})
        aged()
        Subscription.objects.filter(webhook=webhook).update(
            valid_from=Event.objects.get().judged_at - timedelta(milliseconds=300)
        )
        assert only(event)[1].endswith("Its subscriptions changed at that moment.")

    def test_a_delivery_that_was_removed_since(self, account):
        subscribed(account, "*")
        event = actions.publish(account, "a", 1)
        Delivery.objects.all().delete()
        assert only(event)[0] == "not-kept"

    def test_one_that_the_worker_has_not_come_to_yet(self, account):
        first, second = (subscribed(account, "*") for _ in range(2))
        event = actions.publish(account, "a", 1)
        Delivery.objects.filter(webhook=second).delete()
        Event.objects.update(fanned_out_to=first.pk)
        verdict, because = verdicts(event)[second.pk]
        assert verdict == "pending"
        assert "handed out" in because

    def test_one_that_it_was_cancelled_before(self, account, monkeypatch):
        monkeypatch.setattr(subscribers, "STEP", 2)
        webhooks = sorted(subscribed(account, "*").pk for _ in range(3))
        event = actions.publish(account, "a", 1)
        actions.cancel_event(event, by="mira")
        assert fanout.turn() == 0
        said = verdicts(event)
        assert [said[webhook] for webhook in webhooks] == [
            *[("cancelled", "cancelled by mira")] * 2,
            ("cancelled", "The event was cancelled before it was handed out to this one."),
        ]
        actions.cancel_event(event)
        Delivery.objects.all().delete()
        said = verdicts(event)
        assert [said[webhook][0] for webhook in webhooks] == ["not-kept", "not-kept", "cancelled"]


class TestPages:
    def test_each_webhook_once_in_the_order_of_their_ids(self, account):
        made = sorted(WebhookFactory(account=account).pk for _ in range(5))
        WebhookFactory()
        event = actions.publish(account, "a", 1)
        found, place = [], ""
        while True:
            lines, place = actions.why(event, after=place, limit=2)
            assert len(lines) <= 2
            found += [line.webhook.pk for line in lines]
            if not place:
                break
        assert found == made

    def test_where_filters_cost_very_much_a_page_ends_early_and_nothing_is_left_out(
        self, account, monkeypatch
    ):
        monkeypatch.setattr(reasons, "VISITS_AT_ONCE", 20_000)
        for n in range(4):
            subscribed(account, "*", filter={"list": n})
        event = actions.publish(account, "a", {"list": [9] * 9000})
        found, place = [], ""
        while True:
            lines, place = actions.why(event, after=place)
            assert 1 <= len(lines) < 4
            found += [line.verdict for line in lines]
            if not place:
                break
        assert found == ["filtered"] * 4

    def test_those_without_it_alone(self, account):
        got, other, third = (
            subscribed(account, "*"),
            *(WebhookFactory(account=account) for _ in "ab"),
        )
        event = actions.publish(account, "a", 1)
        first = actions.why_not(event, limit=1)
        assert [line.webhook for line in first.lines] == [min(other, third, key=lambda w: w.pk)]
        rest = actions.why_not(event, after=first.place)
        assert [line.webhook for line in rest.lines] == [max(other, third, key=lambda w: w.pk)]
        assert rest.place == ""
        for asked in (third.pk, third.name):
            [line] = actions.why_not(event, webhook=asked).lines
            assert line.webhook == third
        assert actions.why_not(event, webhook=got.pk).lines == []


class TestMatch:
    def test_who_would_get_an_event_and_why_others_would_not(self, account):
        gets = subscribed(account, "order.*", filter={"total": {"$gte": 100}})
        waits = subscribed(account, "*", stopped="paused")
        filtered = subscribed(account, "*", filter={"total": {"$lt": 1}})
        other = subscribed(account, "invoice")
        lines, place = actions.match(account, "order.paid", {"total": 500})
        found = {line.webhook.pk: (line.verdict, line.because) for line in lines}
        assert place == ""
        assert found[gets.pk] == ("matches", "Subscription 1 covers it, by order.*.")
        assert found[waits.pk][0] == "held"
        assert found[waits.pk][1].endswith("It would wait: The webhook is paused.")
        assert found[filtered.pk][0] == "filtered"
        assert found[other.pk][0] == "not-subscribed"
        assert not Event.objects.exists()

    def test_bad_types_and_channels_are_invalid(self, account):
        with pytest.raises(actions.Invalid) as invalid:
            actions.match(account, "a..b", {}, channels=["a b"])
        assert set(invalid.value.details) == {"type", "channels"}
