"""Events as they are listed, shown and taken back; subscriptions and event types. How they are
published: `doors/`."""

import json
import re
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.api.conftest import problem
from tests.factories import AccountFactory, UserFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.models import Delivery, Event
from webhooks_app.rules.ids import timestamp

pytestmark = pytest.mark.django_db
ORDER = {"type": "order.created", "payload": {"order": 4711}}


@pytest.fixture
def webhook(account):
    webhook = WebhookFactory(account=account)
    actions.set_subscriptions(webhook, [{"types": ["*"]}])
    return webhook


class TestRead:
    def test_the_list_is_newest_first_without_payloads(self, api, account):
        events = [actions.publish(account, "a", n) for n in range(3)]
        listed = api.get("/events").json()
        assert {each["id"] for each in listed} == {event.pk for event in events}
        assert [each["id"] for each in listed] == sorted((e.pk for e in events), reverse=True)
        assert not {"payload", "deliveries"} & set(listed[0])

    def test_it_pages(self, api, account):
        for n in range(5):
            actions.publish(account, "a", n)
        first = api.get("/events?limit=2")
        assert 'rel="next"' in first["Link"]
        second = api.get(f"/events?limit=2&after={first.json()[-1]['id']}").json()
        assert len(second) == 2
        assert second[0]["id"] < first.json()[-1]["id"]

    def test_what_it_is_filtered_by(self, api, account):
        wanted = actions.publish(
            account,
            "order.paid",
            1,
            event_id="o-1",
            channels=["eu", "vip"],
            subject="customer 7",
            reference="4711",
        )
        actions.publish(account, "order.created", 1, channels=["eu-2"])
        actions.publish(account, "order.created", 1, channels=["EU"])
        since = timestamp(timezone.now() - timedelta(hours=1))
        for query in (
            "type=order.paid",
            "eventId=o-1",
            "subject=customer%207",
            "reference=4711",
            f"channel=eu&since={since}",
            f"type=order.paid&since={since}",
        ):
            assert [each["id"] for each in api.get(f"/events?{query}").json()] == [wanted.pk], query
        assert api.get(f"/events?until={since}").json() == []

    def test_by_channel_only_within_7_days(self, api):
        long_ago = timestamp(timezone.now() - timedelta(days=8))
        for query in ("channel=eu", f"channel=eu&since={long_ago}", "channel=a%20b"):
            assert set(problem(api.get(f"/events?{query}"), 400)["details"]) == {"channel"}

    def test_by_channel_so_many_are_looked_through_for_a_page(self, api, account):
        wanted = actions.publish(account, "a", 1, channels=["eu"])
        after = int(wanted.pk[:8], 16) + 1
        ids = [f"{after:08x}{number:016x}" for number in range(5000)]
        Event.objects.bulk_create(
            Event(pk=pk, account=account, type="a", payload=b"1", channels=("us",)) for pk in ids
        )
        since = timestamp(timezone.now() - timedelta(hours=1))
        first = api.get(f"/events?channel=eu&since={since}&limit=10")
        assert first.json() == []
        [address] = re.findall(r'<http://[^/]+(.*)>; rel="next"', first["Link"])
        second = api.get(address)
        assert [each["id"] for each in second.json()] == [wanted.pk]
        assert "Link" not in second

    def test_one_with_its_payload_and_first_100_deliveries(self, api, account, webhook):
        event = actions.publish(account, "a", {"n": 1})
        shown = api.get(f"/events/{event.pk}").json()
        assert shown["payload"] == {"n": 1}
        assert [each["webhookId"] for each in shown["deliveries"]] == [webhook.pk]

    def test_a_webhooks_deliveries_say_whose_they_are(self, api, account, webhook):
        event = actions.publish(account, "a", 1)
        plain = actions.deliver(webhook, 1)
        listed = {each["id"]: each for each in api.get(f"/webhooks/{webhook.pk}/deliveries").json()}
        assert listed.pop(plain.pk)["eventId"] is None
        [delivery] = listed.values()
        assert (delivery["eventId"], delivery["form"]) == (event.pk, "payload")
        path = f"/webhooks/{webhook.pk}/deliveries?eventId={event.pk}"
        assert [each["id"] for each in api.get(path).json()] == [delivery["id"]]


def test_delete_gives_up_what_waits_and_the_event_stays(api, account, webhook):
    event = actions.publish(account, "a", 1, deliver_at=timezone.now() + timedelta(days=1))
    assert api.delete(f"/events/{event.pk}").json()["id"] == event.pk
    assert Delivery.objects.get().state == "cancelled"
    assert api.get(f"/events/{event.pk}").status_code == 200


class TestScopes:
    def test_send_publishes_and_reads_without_payload(self, api_for, account):
        api = api_for(account, "send")
        ident = api.post("/events", ORDER).json()["id"]
        assert "payload" not in api.get(f"/events/{ident}").json()
        assert api.get("/events").status_code == 200
        problem(api.delete(f"/events/{ident}"), 403)

    def test_read_reads_and_publishes_nothing(self, api_for, account):
        event = actions.publish(account, "a", 1)
        api = api_for(account, "read")
        assert api.get(f"/events/{event.pk}").json()["payload"] == 1
        for path in ("/events", "/events/bulk"):
            problem(api.post(path, ORDER), 403)

    def test_another_accounts_event_is_nobodys(self, api):
        event = actions.publish(AccountFactory(), "a", 1)
        problem(api.get(f"/events/{event.pk}"), 404)
        problem(api.delete(f"/events/{event.pk}"), 404)
        assert api.get("/events").json() == []


class TestSettings:
    ONE = {"types": ["order.*"], "channels": ["eu"], "filter": {"total": {"$gte": 100}}}

    def test_subscriptions_and_form_are_set_and_shown(self, api, webhook):
        path = f"/webhooks/{webhook.pk}/settings"
        shown = api.patch(path, {"subscriptions": [self.ONE, {"types": ["*"]}], "form": "thin"})
        assert shown.status_code == 200, shown.content
        everything = {"types": ["*"], "channels": [], "filter": {}}
        assert shown.json()["subscriptions"] == [self.ONE, everything]
        assert shown.json()["form"] == "thin"
        assert api.get(path).json()["subscriptions"] == [self.ONE, everything]
        assert api.patch(path, api.get(path).json()).status_code == 200

    @pytest.mark.parametrize(
        ("new", "at"),
        [
            ("x", None),
            ([{"types": []}], ["0", "types"]),
            ([{"types": ["a*"]}], ["0", "types", "0"]),
            ([{"types": ["*"], "channels": ["a b"]}], ["0", "channels", "0"]),
            (
                [{"types": ["*"], "filter": {"total": {"$gte": None}}}],
                ["0", "filter", "/total/$gte"],
            ),
            ([{"types": ["*"], "filtre": {}}], ["0", "filtre"]),
            ([{"types": ["*"], "filter": []}], ["0", "filter", ""]),
            ([1], ["0"]),
            ([{"types": ["*"]}] * 21, None),
            ([{"types": [f"t{n}" for n in range(60)]}] * 20, None),
        ],
    )
    def test_what_is_wrong_is_pointed_at(self, api, webhook, new, at):
        told = problem(api.patch(f"/webhooks/{webhook.pk}/settings", {"subscriptions": new}), 400)
        found = told["details"]["subscriptions"]
        for step in at or ():
            found = found[step]
        assert isinstance(found, list)
        assert actions.subscriptions(webhook) == [{"types": ["*"], "channels": [], "filter": {}}]

    def test_of_very_many_unknown_fields_ten_are_answered_for(self, api, webhook):
        strange = {"types": ["*"]} | {f"strange{n}": n for n in range(1000)}
        sent = {"subscriptions": [strange]}
        told = problem(api.patch(f"/webhooks/{webhook.pk}/settings", sent), 400)
        assert len(told["details"]["subscriptions"]["0"]) == 10

    def test_a_content_type_of_ones_own_goes_with_the_payload_only(self, api, account):
        webhook = WebhookFactory(account=account, headers=[("Content-Type", "application/x")])
        path = f"/webhooks/{webhook.pk}"
        assert "form" in problem(api.patch(f"{path}/settings", {"form": "thin"}), 400)["details"]
        api.patch(path, {"headers": []})
        assert api.patch(f"{path}/settings", {"form": "thin"}).status_code == 200
        own = [{"name": "content-type", "value": "application/x"}]
        problem(api.patch(path, {"headers": own}), 400)

    def test_a_session_needs_the_permission_to_change_webhooks(self, client, account, webhook):
        user = UserFactory(password="x")
        account.members.add(user)
        client.force_login(user)
        answer = client.patch(
            f"/webhooks/{webhook.pk}/settings",
            json.dumps({"subscriptions": []}),
            content_type="application/json",
        )
        assert answer.status_code == 403


class TestEventTypes:
    NEW = {
        "name": "order.created",
        "group": "Orders",
        "description": "Placed.",
        "example": {"n": 1},
    }

    def test_they_are_declared_shown_changed_archived_and_removed(self, api):
        made = api.post("/event-types", self.NEW)
        assert made.status_code == 200, made.content
        whole = {**self.NEW, "archived": False, "seen": False, "site": False}
        assert made.json() == whole
        path = "/event-types/order.created"
        assert api.get(path).json() == whole
        assert api.put(path, whole).json() == whole
        assert api.patch(path, {"group": "Sales"}).json() == {**whole, "group": "Sales"}
        assert api.put(path, {}).json()["description"] == ""
        assert api.delete(path).status_code == 200
        assert api.get(path).json()["archived"] is True
        assert api.get("/event-types?archived=false").json() == []
        assert api.patch(path, {"archived": False}).json()["archived"] is False
        assert api.delete(f"{path}?expunge=true").status_code == 200
        problem(api.get(path), 404)

    def test_one_twice_is_a_conflict_and_one_that_was_seen_is_declared(self, api, account):
        from webhooks_app.models import EventType

        EventType.objects.create(account=account, name="order.created", seen=True)
        assert api.get("/event-types").json()[0]["seen"] is True
        assert api.post("/event-types", self.NEW).json()["seen"] is False
        problem(api.post("/event-types", self.NEW), 409)

    def test_an_account_declares_10000_at_most(self, api, account):
        from webhooks_app.models import EventType

        full = [EventType(account=account, name=f"type.{n}") for n in range(9_999)]
        EventType.objects.bulk_create(full)
        assert api.post("/event-types", self.NEW).status_code == 200
        error = problem(api.post("/event-types", self.NEW | {"name": "order.paid"}), 400)
        assert error["details"] == {"name": ["There are 10,000 types, and no more may be."]}
        assert api.delete("/event-types/type.1?expunge=true").status_code == 200
        assert api.post("/event-types", self.NEW | {"name": "order.paid"}).status_code == 200

    def test_whoever_acts_for_several_accounts_pages_through_the_types_of_all(
        self, browser, account
    ):
        accounts = [account, *AccountFactory.create_batch(3)]
        for own in accounts:
            own.members.add(account.members.get())
            for name in ("order.created", "order.paid"):
                actions.declare_event_type(own, name, group=own.name)
        seen, path = [], "/event-types?limit=3"
        while path:
            answer = browser.get(path)
            seen += [(each["name"], each["group"]) for each in answer.json()]
            path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
        assert len(seen) == len(set(seen)) == 8

    def test_what_one_account_has_of_its_own_another_one_takes_of_the_site(self, browser, account):
        other = AccountFactory()
        other.members.add(account.members.get())
        actions.declare_event_type(None, "order.created", group="site")
        actions.declare_event_type(account, "order.created", group="own")

        def groups(path):
            return [each["group"] for each in browser.get(path).json()]

        assert sorted(groups("/event-types")) == ["own", "site"]
        assert groups(f"/event-types?account={account.name}") == ["own"]
        assert groups(f"/event-types?account={other.name}") == ["site"]

    def test_what_is_referred_to_is_not_removed(self, api, account, webhook):
        api.post("/event-types", self.NEW)
        path = "/event-types/order.created?expunge=true"
        actions.set_subscriptions(webhook, [{"types": ["order.created"]}])
        problem(api.delete(path), 409)
        actions.set_subscriptions(webhook, [])
        actions.publish(account, "order.created", 1)
        problem(api.delete(path), 409)

    def test_the_sites_are_shown_and_left_alone_and_ones_own_win(self, api, account):
        actions.declare_event_type(None, "order.created", group="site")
        assert [(t["group"], t["site"]) for t in api.get("/event-types").json()] == [("site", True)]
        problem(api.patch("/event-types/order.created", {"group": "x"}), 409)
        api.post("/event-types", self.NEW)
        assert [t["group"] for t in api.get("/event-types").json()] == ["Orders"]
        assert api.get("/event-types/order.created").json()["group"] == "Orders"

    @pytest.mark.parametrize(
        ("body", "at"),
        [
            ({}, "name"),
            ({"name": "a*"}, "name"),
            ({"name": "a", "group": 1}, "group"),
            ({"name": "a", "description": "x" * 4001}, "description"),
            ({"name": "a", "example": "x" * 70_000}, "example"),
            ({"name": "a", "schema": {}}, "schema"),
        ],
    )
    def test_bad_input_is_400_and_says_where(self, api, body, at):
        assert set(problem(api.post("/event-types", body), 400)["details"]) == {at}
