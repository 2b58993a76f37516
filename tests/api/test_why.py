"""`GET /events/:id/webhooks` and `POST /webhooks/:id/subscriptions/test`."""

import json

import pytest

from tests.api.conftest import problem
from tests.factories import WebhookFactory
from tests.test_events import subscribed
from webhooks_app import actions
from webhooks_app.actions import trial
from webhooks_app.models import Delivery, Subscription

pytestmark = pytest.mark.django_db
LARGE = {"types": ["order.*"], "filter": {"total": {"$gte": 100}}}


class TestWhy:
    def test_every_webhook_of_the_account_with_verdict_and_reason(self, api, account):
        gets = subscribed(account, "order.*")
        filtered = subscribed(account, "*", filter={"total": {"$gte": 100}})
        other = WebhookFactory(account=account)
        WebhookFactory()
        event = actions.publish(account, "order.paid", {"total": 5})
        answer = api.get(f"/events/{event.pk}/webhooks")
        assert answer.status_code == 200
        delivery = Delivery.objects.get().pk
        found = {line["webhookId"]: line for line in answer.json()}
        assert set(found) == {gets.pk, filtered.pk, other.pk}
        assert found[gets.pk]["verdict"] == "pending"
        assert found[gets.pk]["deliveryId"] == delivery
        assert found[filtered.pk]["verdict"] == "filtered"
        assert found[filtered.pk]["deliveryId"] is None
        assert "/total/$gte" in found[filtered.pk]["because"]
        assert found[other.pk]["verdict"] == "not-subscribed"

    def test_pages_lead_on(self, api, account):
        made = {WebhookFactory(account=account).pk for _ in range(5)}
        event = actions.publish(account, "a", 1)
        place, found = f"/events/{event.pk}/webhooks?limit=2", []
        while place:
            answer = api.get(place)
            found += [line["webhookId"] for line in answer.json()]
            place = answer.get("Link", "").partition(">")[0].removeprefix("<http://testserver")
        assert found == sorted(made)

    def test_any_scope_may_ask_and_no_payload_shows(self, api_for, account):
        subscribed(account, "*", filter={"card": "4711"})
        event = actions.publish(account, "a", {"card": "hush-hush"})
        for scope in ("send", "read", "manage"):
            answer = api_for(account, scope=scope).get(f"/events/{event.pk}/webhooks")
            assert answer.status_code == 200
            assert b"hush" not in answer.content

    def test_another_accounts_event_is_not_there(self, api, account):
        event = actions.publish(WebhookFactory().account, "a", 1)
        problem(api.get(f"/events/{event.pk}/webhooks"), 404)


class TestTrialOfSaved:
    def test_types_that_are_declared_no_more_are_tried(self, api, account, settings):
        webhook = subscribed(account, "order.*")
        settings.WEBHOOKS_EVENT_TYPES = "declared"
        path = f"/webhooks/{webhook.pk}/subscriptions/test"
        answer = api.post(path, {"type": "order.paid", "payload": {}})
        assert (answer.status_code, answer.json()["matches"]) == (200, True)
        sent = {"type": "a", "payload": {}, "subscriptions": [{"types": ["order.*"]}]}
        problem(api.post(path, sent), 400)

    def test_a_filter_of_a_newer_version_takes_nothing_and_is_said_not_to_be_read(
        self, api, account
    ):
        webhook = subscribed(account, "*", filter={"a": 1})
        Subscription.objects.filter(webhook=webhook).update(filter='{"a":{"$newer":1}}')
        path = f"/webhooks/{webhook.pk}/subscriptions/test"
        actions.publish(account, "x", {"a": 1})
        answer = api.post(f"{path}?history=10", {"type": "x", "payload": {"a": 1}}).json()
        assert answer["matches"] is False
        checks = {one["pointer"]: one["holds"] for one in answer["checks"]}
        assert checks == {"/0/types": True, "/0/filter": None}
        assert (answer["history"]["looked"], answer["history"]["matched"]) == (1, [])


class TestTrial:
    @pytest.fixture
    def webhook(self, account):
        return subscribed(account, "order.*", channels=["eu"], filter={"total": {"$gte": 100}})

    @pytest.fixture
    def tried(self, api, webhook):
        def post(body, query=""):
            return api.post(f"/webhooks/{webhook.pk}/subscriptions/test{query}", body)

        return post

    def test_the_saved_ones_on_a_payload(self, tried):
        answer = tried({"type": "order.paid", "channels": ["eu"], "payload": {"total": 99}})
        assert answer.json() == {
            "matches": False,
            "by": None,
            "checks": [
                {"pointer": "/0/types", "holds": True, "value": "order.paid"},
                {"pointer": "/0/channels", "holds": True, "value": ["eu"]},
                {"pointer": "/0/filter/total/$gte", "holds": False, "value": 99},
            ],
            "history": None,
        }

    def test_others_that_are_not_saved(self, tried, webhook):
        before = actions.subscriptions(webhook)
        body = {"type": "order.paid", "payload": {"total": 120}}
        answer = tried({**body, "subscriptions": [{"types": ["invoice"]}, LARGE]}).json()
        assert (answer["matches"], answer["by"]) == (True, 1)
        assert actions.subscriptions(webhook) == before

    def test_on_an_event_by_our_id_or_its_own(self, tried, account):
        event = actions.publish(account, "order.paid", {"total": 500}, event_id="o-1")
        for ident in (event.pk, "o-1"):
            answer = tried({"eventId": ident, "subscriptions": [LARGE]}).json()
            assert answer["matches"]
        problem(tried({"eventId": "o-2"}), 400)
        foreign = actions.publish(WebhookFactory().account, "a", 1)
        assert "eventId" in problem(tried({"eventId": foreign.pk}), 400)["details"]

    def test_what_is_not_there_has_no_value(self, tried):
        body = {"type": "order.paid", "payload": {"note": None}}
        new = [{"types": ["*"], "filter": {"total": 5, "note": None}}]
        checks = tried({**body, "subscriptions": new}).json()["checks"]
        assert checks[1:] == [
            {"pointer": "/0/filter/total", "holds": False},
            {"pointer": "/0/filter/note", "holds": True, "value": None},
        ]

    def test_values_only_for_who_may_read_payloads(self, api_for, account, webhook):
        event = actions.publish(account, "order.paid", {"total": "hush-hush"})
        for scope, shows in (("send", False), ("read", True)):
            answer = api_for(account, scope=scope).post(
                f"/webhooks/{webhook.pk}/subscriptions/test", {"eventId": event.pk}
            )
            assert (b"hush" in answer.content) is shows

    def test_filters_of_ones_own_tell_nobody_a_payload_that_it_may_not_read(
        self, api_for, account, webhook
    ):
        event = actions.publish(account, "order.paid", {"card": "4711"})
        path = f"/webhooks/{webhook.pk}/subscriptions/test"
        guess = {"subscriptions": [{"types": ["*"], "filter": {"card": {"$startsWith": "4"}}}]}
        sends, reads = (api_for(account, scope=scope) for scope in ("send", "read"))
        for query, body in (("", {"eventId": event.pk}), ("?history=9", {})):
            problem(sends.post(path + query, body | guess), 403)
            assert sends.post(path + query, body).status_code == 200
            assert reads.post(path + query, body | guess).status_code == 200
        own = {"type": "order.paid", "payload": {"card": "4711"}}
        assert sends.post(path, own | guess).json()["matches"]

    def test_a_payload_is_tried_as_it_is_sent_however_much_longer_python_writes_it(
        self, api, webhook
    ):
        sent = b'{"type": "order.paid", "payload": [%b]}' % b",".join([b"1e15"] * 100_000)
        path = f"/webhooks/{webhook.pk}/subscriptions/test"
        assert api.post(path, sent, content_type="application/json").status_code == 200

    def test_long_values_are_shortened(self, tried):
        body = {"type": "a", "payload": {"a": ["x" * 1000] * 900, "b": {"c": {"d": {"e": 1}}}}}
        new = [{"types": ["*"], "filter": {"a": {"b": 1}, "b": {"$eq": 1}}}]
        answer = tried({**body, "subscriptions": new})
        assert len(answer.content) < 2000

    @pytest.mark.once
    @pytest.mark.parametrize("number", [10**4200, 10**130 - 1, -(7**5000)])
    def test_a_long_number_is_shown_by_its_first_signs(self, tried, number):
        new = [{"types": ["*"], "filter": {"a": 1}}]
        answer = tried({"type": "a", "payload": {"a": number}, "subscriptions": new}).json()
        assert answer["checks"][1]["value"] == str(number)[:100] + "…"

    def test_a_filter_past_its_budget_takes_nothing_and_says_so(self, tried):
        body = {"type": "a", "payload": {"list": [0] * 30_000}}
        answer = tried({**body, "subscriptions": [{"types": ["*"], "filter": {"list": 1}}]}).json()
        assert answer["matches"] is False
        assert {check["holds"] for check in answer["checks"][1:]} == {None}

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "type"),
            ({"payload": 1}, "type"),
            ({"type": "a"}, "payload"),
            ({"type": "a..b", "payload": 1}, "type"),
            ({"type": 5, "payload": 1}, "type"),
            ({"type": "a", "payload": 1, "channels": "eu"}, "channels"),
            ({"type": "a", "payload": 1, "channels": [5]}, "channels"),
            ({"type": "a", "payload": 1, "eventId": "x"}, "type"),
            ({"eventId": 5}, "eventId"),
            ({"type": "a", "payload": 1, "subscriptions": "x"}, "subscriptions"),
            ({"type": "a", "payload": 1, "subscriptions": [{"types": []}]}, "subscriptions"),
            ({"type": "a", "payload": 1, "filters": []}, "filters"),
        ],
    )
    def test_what_cannot_be_tried_is_refused_at_its_field(self, tried, body, field):
        assert field in problem(tried(body), 400)["details"]

    def test_a_bad_filter_is_refused_at_its_place(self, tried):
        new = [LARGE, {"types": ["*"], "filter": {"total": {"$gtee": 5}}}]
        body = {"type": "a", "payload": 1, "subscriptions": new}
        details = problem(tried(body), 400)["details"]
        sentence = "There is no such operator; did you mean $gte?"
        assert details == {"subscriptions": {"1": {"filter": {"/total/$gtee": [sentence]}}}}

    def test_history_says_which_of_the_last_events_would_match(self, tried, account, webhook):
        totals = (5, 100, 99, 250)
        events = [actions.publish(account, "order.paid", {"total": n}) for n in totals]
        actions.publish(account, "invoice", {"total": 900})
        actions.publish(WebhookFactory().account, "order.paid", {"total": 900})
        answer = tried({"subscriptions": [LARGE]}, "?history=1000").json()
        assert answer == {
            "matches": None,
            "by": None,
            "checks": [],
            "history": {"looked": 5, "matched": [events[3].pk, events[1].pk], "cut": ""},
        }
        assert tried({"subscriptions": [LARGE]}, "?history=2").json()["history"]["looked"] == 2

    def test_history_reads_so_many_bytes_and_no_more(self, tried, account, monkeypatch):
        monkeypatch.setattr(trial, "HISTORY_BYTES", 2500)
        monkeypatch.setattr(trial, "READ_AT_ONCE", 1200)
        for _ in range(5):
            actions.publish(account, "order.paid", {"pad": "x" * 900, "total": 500})
        history = tried({"subscriptions": [LARGE]}, "?history=1000").json()["history"]
        assert (history["looked"], len(history["matched"]), history["cut"]) == (2, 2, "size")
        free = tried({"subscriptions": [{"types": ["*"]}]}, "?history=1000").json()["history"]
        assert (free["looked"], free["cut"]) == (5, ""), "without a filter no payload is read"

    def test_history_ends_in_time(self, tried, account, monkeypatch):
        monkeypatch.setattr(trial, "HISTORY_SECONDS", 0)
        actions.publish(account, "order.paid", {"total": 500})
        history = tried({"subscriptions": [LARGE]}, "?history=1000").json()["history"]
        assert history == {"looked": 0, "matched": [], "cut": "time"}

    @pytest.mark.once
    @pytest.mark.parametrize("query", ["?history=0", "?history=1001", "?history=x", "?histroy=5"])
    def test_a_history_of_another_length_is_refused(self, tried, query):
        problem(tried({"type": "a", "payload": 1}, query), 400)

    def test_nothing_is_stored_or_sent(self, tried):
        tried({"type": "order.paid", "channels": ["eu"], "payload": {"total": 500}})
        assert not Delivery.objects.exists()

    def test_a_payload_stays_as_it_was_written(self, tried):
        body = b'{"type": "a", "payload": {"n": 1.0}, "subscriptions": [{"types": ["*"],'
        body += b'"filter": {"n": 1}}]}'
        assert tried(body).json()["matches"]
        assert json.loads(body)
