"""Events in the console: the list, who got one, who did not and why, subscriptions tried there."""

import json
import re
from itertools import cycle

import pytest

from tests.admin.conftest import VIEW, log_in
from tests.admin.pages import forms, page, text_of, url
from tests.factories import AccountFactory, WebhookFactory
from tests.test_events import subscribed
from webhooks_app import actions
from webhooks_app.models import AuditEntry, Delivery, Event, EventType

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return AccountFactory(name="shop")


@pytest.fixture
def viewer():
    return log_in(*VIEW, "view_event", "view_eventtype")


@pytest.fixture
def editor():
    return log_in(*VIEW, "view_event", "change_webhook")


def event_page(event):
    return page(event, "event")


class TestList:
    @pytest.mark.parametrize("by", ["pk", "reference", "subject", "key"])
    def test_is_searched_by_what_people_know(self, viewer, account, by):
        words = {"reference": "order 4711", "subject": "ada", "event_id": "o-4711"}
        found = actions.publish(account, "order.paid", 1, **words)
        actions.publish(account, "order.late", 1)
        Event.objects.update(created_at="2020-01-01T00:00:00Z")
        text = text_of(viewer.get(url("event"), {"q": getattr(found, by)}))
        assert "1 shown" in text
        assert "order.paid" in text
        assert "order.late" not in text

    def test_finds_the_reference_in_any_account(self, viewer, account):
        for owner in (account, AccountFactory()):
            actions.publish(owner, "a", 1, reference="order 4711")
        assert "2 shown" in text_of(viewer.get(url("event"), {"q": "order 4711"}))

    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ({"account": "shop"}, 2),
            ({"type": "a.b"}, 1),
            ({"reference": "r1"}, 1),
            ({"subject": "s1"}, 1),
            ({"channel": "eu"}, 1),
            ({"since": "2020-01-01"}, 3),
            ({"until": "2020-01-01", "created": "any"}, 0),
        ],
    )
    def test_is_filtered(self, viewer, account, query, shown):
        words = {"reference": "r1", "subject": "s1", "channels": ["eu", "us"]}
        actions.publish(account, "a.b", 1, **words)
        actions.publish(account, "a", 1)
        actions.publish(AccountFactory(), "a", 1)
        text = text_of(viewer.get(url("event"), query))
        assert f"{shown} shown" in text if shown else "Nothing here matches" in text

    def test_says_how_many_got_it(self, viewer, account):
        for wanted in ({}, {}, {"n": 5}):
            subscribed(account, "*", filter=wanted)
        actions.publish(account, "a", {"n": 1})
        text = text_of(viewer.get(url("event")))
        assert '<span class="wh-num">2</span>' in text
        assert "1 filtered out" in text

    @pytest.mark.once
    def test_nonsense_in_the_query_is_never_an_error(self, viewer, account):
        values = cycle(["%00", "x", "-1", "9" * 30, "%F0%9F%98%80"])
        names = ("before", "account", "created", "q", "p", "type", "channel", "since", "webhook")
        event = actions.publish(account, "a", 1)
        for place in (url("event"), event_page(event), url("eventtype")):
            for name in (*names, "after", "raw", "state"):
                query = f"?{name}={next(values)}"
                assert viewer.get(f"{place}{query}").status_code in (200, 400), query

    def test_only_who_may_look_at_events_sees_them(self, account):
        event = actions.publish(account, "a", 1)
        stranger = log_in(*VIEW)
        for place in (url("event"), event_page(event), url("eventtype")):
            assert stranger.get(place).status_code == 403


@pytest.mark.once
class TestPage:
    def test_says_who_got_it_and_who_did_not_and_why(self, viewer, account):
        subscribed(account, "order.*", name="ERP")
        subscribed(account, "*", name="Large ones", filter={"total": {"$gte": 100}})
        WebhookFactory(account=account, name="Nobody told")
        WebhookFactory(name="Of others")
        event = actions.publish(account, "order.paid", {"total": 5}, reference="order 4711")
        text = text_of(viewer.get(event_page(event)))
        got, without = text.split('id="why-not"')
        assert "ERP" in got
        assert "ERP" not in without
        assert re.search(r"Filtered out.*Large ones.*/total/\$gte", without, re.DOTALL)
        assert re.search(r"Not subscribed.*Nobody told.*no subscriptions", without, re.DOTALL)
        assert "Of others" not in text
        assert "order 4711" in text
        assert "&quot;total&quot;: 5" in text

    def test_looks_one_webhook_up(self, viewer, account):
        wanted = WebhookFactory(account=account, name="Customer X")
        WebhookFactory(account=account, name="Customer Y")
        event = actions.publish(account, "a", 1)
        for asked in ("Customer X", wanted.pk):
            text = text_of(viewer.get(event_page(event), {"webhook": asked}))
            assert "Customer X</bdi>" in text
            assert "Customer Y</bdi>" not in text
        assert "No webhook of shop" in text_of(viewer.get(event_page(event), {"webhook": "Z"}))

    def test_goes_on_behind_many(self, viewer, account):
        for _ in range(30):
            WebhookFactory(account=account)
        event = actions.publish(account, "a", 1)
        first = text_of(viewer.get(event_page(event)))
        assert first.count("Not subscribed") == 25
        place = re.search(r"\?after=(\w+)#why-not", first)[1]
        second = text_of(viewer.get(event_page(event), {"after": place}))
        assert second.count("Not subscribed") == 5

    def test_its_deliveries_are_a_filter_of_their_list(self, viewer, account):
        for _ in range(12):
            subscribed(account, "*")
        event, other = (actions.publish(account, "a", 1) for _ in range(2))
        text = text_of(viewer.get(event_page(event)))
        assert "The first 10 are shown." in text
        listed = text_of(viewer.get(url("delivery"), {"event": event.pk}))
        assert "12 shown" in listed
        assert other.deliveries.first().pk not in listed
        assert "12 shown" in text_of(viewer.get(url("delivery"), {"q": event.pk}))
        assert "cannot be read" in text_of(viewer.get(url("delivery"), {"event": "x"}))

    @pytest.mark.parametrize("form", ["payload", "standard", "cloudevents"])
    def test_a_delivery_shows_what_it_sends_and_leads_back(self, viewer, account, form):
        subscribed(account, "order.*", form=form)
        event = actions.publish(account, "order.paid", {"total": 4711})
        delivery = Delivery.objects.get()
        text = text_of(viewer.get(page(delivery, "delivery")))
        assert "4711" in text.split('id="request-body"')[1].split("</pre>")[0]
        assert event_page(event) in text
        assert "webhook-event-id" in text
        assert ("application/cloudevents+json" in text) is (form == "cloudevents")
        assert ("1 shown" in text_of(viewer.get(url("delivery"), {"q": "4711"}))) is True

    def test_needs_at_most_twelve_queries(self, viewer, account, django_assert_max_num_queries):
        for n in range(12):
            subscribed(account, "*", filter={"n": n} if n % 2 else {})
            WebhookFactory(account=account)
        event = actions.publish(account, "a", {"n": 1}, reference="r")
        EventType.objects.create(account=account, name="a", seen=True)
        for place in (
            event_page(event),
            url("event"),
            f"{url('event')}?q=r",
            url("eventtype"),
            page(EventType.objects.get(), "eventtype"),
            page(Delivery.objects.first(), "delivery"),
        ):
            viewer.get(place)  # content types are cached
            with django_assert_max_num_queries(12):
                assert viewer.get(place).status_code == 200, place


@pytest.mark.once
class TestSubscriptions:
    @pytest.fixture
    def webhook(self, account):
        return subscribed(account, "order.*", filter={"total": {"$gte": 100}})

    @pytest.fixture
    def send(self, editor, webhook):
        """What the form holds, with changes."""

        def send(**changes):
            fields = forms(editor.get(page(webhook))).forms["subscriptions-form"]
            texts = {
                "subscriptions-0-types": "order.*",
                "subscriptions-0-filter": '{"total": {"$gte": 100}}',
            }
            names = {name.replace("__", "-"): value for name, value in changes.items()}
            return editor.post(url("webhook", webhook.pk, "subscriptions"), fields | texts | names)

        return send

    def test_the_page_shows_them(self, viewer, webhook):
        text = text_of(viewer.get(page(webhook)))
        assert "order.*" in text
        assert "&quot;$gte&quot;: 100" in text
        assert "save-subscriptions" not in text, "a viewer changes nothing"

    def test_are_changed_added_and_taken_away(self, send, webhook):
        answer = send(
            **{
                "subscriptions-0-types": "order.paid, order.sent",
                "subscriptions-0-channels": "eu us",
                "subscriptions-0-filter": "",
                "subscriptions-1-types": "invoice",
            }
        )
        assert answer.status_code == 302
        assert actions.subscriptions(webhook) == [
            {"types": ["order.paid", "order.sent"], "channels": ["eu", "us"], "filter": {}},
            {"types": ["invoice"], "channels": [], "filter": {}},
        ]
        assert AuditEntry.objects.filter(target=webhook.pk, action__startswith="Changed").exists()
        send(
            **{
                "subscriptions-0-types": "",
                "subscriptions-0-channels": "",
                "subscriptions-0-filter": "",
                "subscriptions-1-types": "",
            }
        )
        assert actions.subscriptions(webhook) == []

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            ("filter", "{", "This is no JSON"),
            ("filter", "[]", "Must be an object."),
            ("filter", '{"a": {"$gtee": 1}}', "/a/$gtee There is no such operator"),
            ("types", "a.*.b", "a star stands nowhere else"),
            ("types", "", "Must be 1 to 100"),
            ("channels", "a/b", "Must be 1 to 128 characters"),
        ],
    )
    def test_what_is_wrong_is_said_at_its_field_and_nothing_is_saved(
        self, send, webhook, field, value, said
    ):
        before = actions.subscriptions(webhook)
        text = text_of(send(**{f"subscriptions-0-{field}": value}))
        assert said in text.split('id="subscriptions"')[1]
        assert actions.subscriptions(webhook) == before

    def test_what_somebody_else_saved_meanwhile_is_not_overwritten(self, send, webhook):
        text = text_of(send(version="0"))
        assert "was changed after you had opened this page" in text

    def test_are_tried_on_a_payload_before_they_are_saved(self, send, webhook):
        before = actions.subscriptions(webhook)
        payload = json.dumps({"total": 99})
        text = text_of(send(**{"try": "1", "type": "order.paid", "payload": payload}))
        trial = text.split('id="trial"')[1]
        assert "It would not get this event" in trial
        assert re.search(
            r"Does not hold.*Subscription 1: filter /total/\$gte.*99", trial, re.DOTALL
        )
        new = {"subscriptions-0-filter": '{"total": {"$gte": 50}}'}
        text = text_of(send(**{"try": "1", "type": "order.paid", "payload": payload, **new}))
        assert "It would get this event, by subscription 1" in text
        assert actions.subscriptions(webhook) == before

    def test_are_tried_on_an_event_and_on_the_last_ones(self, send, webhook, account):
        events = [actions.publish(account, "order.paid", {"total": n}) for n in (5, 500, 900)]
        text = text_of(send(**{"try": "1", "event": events[1].pk, "history": "on"}))
        assert "It would get this event" in text
        assert "Of the last 3 events it would have got 2." in text
        assert event_page(events[2]) in text
        foreign = actions.publish(AccountFactory(), "a", 1)
        assert "has no event with this id" in text_of(send(**{"try": "1", "event": foreign.pk}))

    def test_are_tried_on_stored_events_by_those_alone_who_may_see_events(self, webhook, account):
        event = actions.publish(account, "order.paid", {"card": "hush-hush"})
        blind = log_in("view_webhook", "change_webhook")
        fields = forms(blind.get(page(webhook))).forms["subscriptions-form"]
        where = url("webhook", webhook.pk, "subscriptions")
        for more in ({"event": event.pk}, {"history": "on"}):
            assert blind.post(where, {**fields, "try": "1", **more}).status_code == 403
        own = {"try": "1", "type": "order.paid", "payload": "{}"}
        assert blind.post(where, fields | own).status_code == 200

    @pytest.mark.parametrize(
        "more", [{"type": "a..b"}, {"payload": "{"}, {"event_channels": "a/b"}, {"event": "x"}]
    )
    def test_a_trial_that_cannot_be_is_told_why(self, send, more):
        text = text_of(send(**{"try": "1", "type": "order.paid", **more}))
        assert "errorlist" in text.split('id="subscriptions"')[1]
        assert 'id="trial"' not in text

    def test_who_may_not_change_them_does_not(self, viewer, webhook):
        place = url("webhook", webhook.pk, "subscriptions")
        assert viewer.post(place, {"try": "1"}).status_code == 403

    def test_the_form_of_the_settings_still_saves_from_that_page(self, send):
        text = text_of(send(**{"try": "1", "type": "a"}))
        assert '<form action="../change/"' in text or 'action="../change/"' in text

    def test_the_page_needs_at_most_twelve_queries(
        self, editor, webhook, django_assert_max_num_queries
    ):
        editor.get(page(webhook))
        with django_assert_max_num_queries(12):
            assert editor.get(page(webhook)).status_code == 200


@pytest.mark.once
class TestEventTypes:
    def test_are_declared_changed_archived_and_removed(self, boss, account):
        new = {"account": "shop", "name": "order.paid", "group": "Orders", "example": '{"n": 1}'}
        assert boss.post(url("eventtype", "add"), new).status_code == 302
        made = EventType.objects.get()
        assert (made.account, made.seen, json.loads(made.example)) == (account, False, {"n": 1})
        change = {"group": "Orders", "description": "It was paid.", "example": ""}
        assert boss.post(page(made, "eventtype"), change).status_code == 302
        made.refresh_from_db()
        assert (made.description, made.example, made.name) == ("It was paid.", "", "order.paid")
        boss.post(url("eventtype", made.pk, "archive"))
        assert "Archived" in text_of(boss.get(page(made, "eventtype")))
        assert "1 shown" in text_of(boss.get(url("eventtype"), {"state": "archived"}))
        boss.post(url("eventtype", made.pk, "unarchive"))
        actions.publish(account, "order.paid", 1)
        answer = boss.post(url("eventtype", made.pk, "delete"), {"post": "yes"}, follow=True)
        assert "There are events of this type." in text_of(answer)
        Event.objects.all().delete()
        boss.post(url("eventtype", made.pk, "delete"), {"post": "yes"})
        assert not EventType.objects.exists()

    @pytest.mark.parametrize(
        "wrong", [{"name": "a..b"}, {"name": ""}, {"example": "{"}, {"account": "nobody"}]
    )
    def test_what_is_wrong_is_said(self, boss, account, wrong):
        text = text_of(boss.post(url("eventtype", "add"), {"name": "order.paid", **wrong}))
        assert "errorlist" in text
        assert not EventType.objects.exists()

    def test_one_that_is_there_already_is_told(self, boss, account):
        for _ in range(2):
            new = {"account": "shop", "name": "a"}
            answer = boss.post(url("eventtype", "add"), new, follow=True)
        assert "is declared already" in text_of(answer)

    def test_a_viewer_looks_only(self, viewer, account):
        row = EventType.objects.create(account=account, name="a", seen=True)
        assert "Seen only" in text_of(viewer.get(page(row, "eventtype")))
        assert viewer.post(url("eventtype", row.pk, "archive")).status_code == 403
