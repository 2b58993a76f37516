"""What we define and nobody knows: 400 that names the nearest known word. Nothing is overheard."""

import json

import pytest
from django.contrib.auth.models import Permission

from tests.api.conftest import DOCUMENTED, FULL, problem
from tests.factories import AccountFactory, DeliveryFactory, UserFactory, WebhookFactory
from webhooks_app.models import Webhook
from webhooks_app.rules.nearest import LOOKED_AT, nearest, unknown
from webhooks_app.testing import FakeReceiver


@pytest.fixture
def webhook(account):
    return WebhookFactory(
        account=account,
        auth_username="user",
        auth_password="pass",
        headers=[("X-Key", "k")],
    )


# Method, path below the webhook, body, path of the details, what was meant.
BODIES = [
    ("POST", None, {**DOCUMENTED, "nmae": "x"}, "nmae", "name"),
    ("POST", None, {**DOCUMENTED, "id": "0" * 24}, "id", ""),
    ("POST", None, {**DOCUMENTED, "error": {}}, "error", ""),
    ("PUT", "", {**FULL, "Headers": []}, "Headers", "headers"),
    ("PUT", "", {**FULL, "more": 1}, "more", ""),
    ("PATCH", "", {"auth": {"user": "u", "pass": "p"}}, "auth.user", "username"),
    ("PATCH", "", {"auth": {"user": "u", "pass": "p"}}, "auth.pass", "password"),
    ("PATCH", "", {"headers": [{"name": "X", "val": "v"}]}, "headers.0.val", "value"),
    ("PATCH", "", {"headers": [{"key": "X", "value": "v"}]}, "headers.0.key", ""),
    ("PATCH", "", {"URL": "https://example.com/"}, "URL", "url"),
    ("PATCH", "/settings", {"maxInflight": 3}, "maxInflight", "maxInFlight"),
    ("POST", "/replay", {"since": "2026-01-01", "untill": "x"}, "untill", ""),
    ("POST", "/replay", {"sicne": "2026-01-01"}, "sicne", "since"),
    ("POST", "/verify", {"url": "x"}, "url", ""),
    ("POST", "/deliveries/bulk", {"delivery": []}, "delivery", "deliveries"),
    (
        *("POST", "/deliveries/bulk", {"deliveries": [{"payload": 1, "idempotencykey": "k"}]}),
        *("deliveries.0.idempotencykey", "idempotencyKey"),
    ),
    ("POST", "/test", {"generatoin": 1}, "generatoin", "generation"),
]


@pytest.mark.parametrize(("method", "path", "body", "place", "meant"), BODIES)
def test_an_unknown_key_is_400_and_names_the_nearest(
    api, webhook, method, path, body, place, meant
):
    address = "/webhooks" if path is None else f"/webhooks/{webhook.pk}{path}"
    before = list(Webhook.objects.values())
    details = problem(api.send(method, address, body), 400)["details"]
    for step in place.split("."):
        details = details[step] if isinstance(details, dict) else details[int(step)]
    [sentence] = details
    assert sentence.startswith("There is no such ")
    assert sentence.endswith(f"did you mean {meant}?" if meant else ".")
    assert [row | {"token": 0, "auth_password": 0} for row in Webhook.objects.values()] == [
        row | {"token": 0, "auth_password": 0} for row in before
    ]
    webhook.refresh_from_db()
    assert (webhook.auth_username, webhook.auth_password) == ("user", "pass")


def test_the_answers_of_get_can_be_sent_back(api, webhook):
    for path in (f"/webhooks/{webhook.pk}", f"/webhooks/{webhook.pk}/settings"):
        shown = api.get(path).json()
        assert api.patch(path, shown).status_code == 200
        assert api.get(path).json() == shown


def test_what_is_wrong_and_what_is_unknown_are_told_together(api):
    details = problem(api.post("/webhooks", {"nmae": "x"}), 400)["details"]
    assert list(details) == ["nmae", "name", "url"]


def test_a_delivery_and_an_interaction_may_hold_what_they_like(api, webhook):
    assert api.post(f"/webhooks/{webhook.pk}/deliveries", {"nmae": 1}).status_code == 202
    with FakeReceiver() as receiver:
        answer = api.post(f"/webhooks/{webhook.pk}/interactions", {"chatID": 1})
    assert answer.status_code == 200
    assert receiver.requests[0].json["chatID"] == 1


def test_a_million_bytes_of_unknown_keys_cost_little(api, webhook, monkeypatch):
    looks = []
    monkeypatch.setattr(
        "webhooks_app.rules.nearest.get_close_matches",
        lambda word, *_, **__: looks.append(word) or [],
    )
    rows = [{"a" * 30: 1, "b": 2}] * 20_000
    problem(api.patch(f"/webhooks/{webhook.pk}", {"headers": rows}), 400)
    assert not looks
    keys = {f"{n}" + "x" * 1000: n for n in range(900)}
    details = problem(api.patch(f"/webhooks/{webhook.pk}", keys), 400)["details"]
    assert len(looks) == 10 == len(details)
    assert max(map(len, looks)) <= LOOKED_AT
    assert max(map(len, details)) <= LOOKED_AT


QUERIES = [
    ("", "limits=3", "limits", "limit"),
    ("", "serach=x", "serach", "search"),
    ("", "state=failed", "state", ""),
    ("", "limit=", "limit", None),
    ("", "limit", "limit", None),
    ("", "=x", "", ""),
    ("/{id}", "search=x", "search", ""),
    ("/{id}/settings", "x=1", "x", ""),
    ("/{id}/deliveries", "status=failed", "status", "state"),
    ("/{id}/deliveries", "type=", "type", None),
    ("/{id}/deliveries", "since=2026-01-01&until=", "until", None),
    ("/{id}/errors", "kidn=reset", "kidn", "kind"),
    ("/{id}/errors", "failing=true", "failing", ""),
]


@pytest.mark.parametrize(("path", "asked", "name", "meant"), QUERIES)
def test_an_unknown_or_empty_parameter_is_400(api, webhook, path, asked, name, meant):
    address = "/webhooks" + path.format(id=webhook.pk)
    [sentence] = problem(api.get(f"{address}?{asked}"), 400)["details"][name]
    if meant is None:
        assert sentence == "Must not be empty; leave it out instead."
    else:
        assert sentence.endswith(f"did you mean {meant}?" if meant else "no such parameter.")


@pytest.mark.parametrize("verb", ["interactions", "deliveries", "replay", "verify", "test"])
def test_an_unknown_parameter_of_what_writes_is_400_and_nothing_is_done(api, webhook, verb):
    with FakeReceiver() as receiver:
        body = {"since": "2026-01-01"} if verb == "replay" else {}
        problem(api.post(f"/webhooks/{webhook.pk}/{verb}?idempotencyKey=x", body), 400)
    assert not receiver.requests
    assert not webhook.deliveries.exists()
    delivery = DeliveryFactory(webhook=webhook)
    for step in ("retry", "cancel"):
        problem(api.post(f"/deliveries/{delivery.pk}/{step}?force=1"), 400)
    problem(api.get(f"/deliveries/{delivery.pk}/attempts?exchange=test"), 400)
    problem(api.delete(f"/webhooks/{webhook.pk}?cascade=1"), 400)
    assert Webhook.objects.live().filter(pk=webhook.pk).exists()


def test_who_may_not_is_told_so_before_the_parameters_are_judged(api_for, webhook, account):
    problem(api_for(account, scope="read").delete(f"/webhooks/{webhook.pk}?x=1"), 403)
    problem(api_for(AccountFactory()).get(f"/webhooks/{webhook.pk}?x=1"), 404)


def test_the_sites_own_pages_take_any_parameter(client, db):
    for path in ("/healthz", "/readyz", "/schema", "/docs"):
        assert client.get(f"{path}?probe=1&x=").status_code == 200


def test_the_account_of_a_token_is_its_own_or_404(api, webhook, account):
    other = AccountFactory(name="other")
    theirs = WebhookFactory(account=other)
    for path in ("/webhooks", f"/webhooks/{webhook.pk}", f"/webhooks/{webhook.pk}/settings"):
        assert api.get(f"{path}?account={account.name}").status_code == 200
        for name in ("other", "nobody", "ACME", ""):
            problem(api.get(f"{path}?account={name}"), 404)
    problem(api.post("/webhooks?account=other", DOCUMENTED), 404)
    assert list(Webhook.objects.filter(account=other)) == [theirs]
    assert api.post("/webhooks?account=acme", DOCUMENTED).status_code == 200


def test_a_session_may_say_its_account_and_its_format_everywhere(client, webhook, account):
    user = UserFactory()
    user.user_permissions.add(Permission.objects.get(codename="view_webhook"))
    account.members.add(user)
    client.force_login(user)
    path = f"/webhooks/{webhook.pk}/settings?account=acme&format=json"
    assert json.loads(client.get(path, HTTP_ACCEPT="text/html").content)["enabled"] is True


class TestTest:
    def asked(self, api, webhook, body):
        with FakeReceiver() as receiver:
            answer = api.post(f"/webhooks/{webhook.pk}/test", body)
        assert answer.status_code == 200, answer.content
        assert answer.json()["ok"]
        return receiver.requests[0].json

    @pytest.mark.parametrize("body", [None, {}, {"generation": 2}])
    def test_sends_the_second_generation_unless_told_otherwise(self, api, webhook, body):
        sent = self.asked(api, webhook, body)
        assert "result" not in sent
        assert sent["node"]["webhookId"] == webhook.pk

    def test_sends_the_first_generation(self, api, webhook):
        sent = self.asked(api, webhook, {"generation": 1})
        assert sent["result"]["interaction"]["name"] == "Test"
        assert isinstance(sent["sessionId"], str)
        assert sent["status"] == {"code": 200, "type": "success"}
        assert sent["timestamp"]

    def test_sends_an_interaction_of_the_callers_own(self, api, webhook):
        own = {"chatId": "c", "attributes": {"a": "b"}, "mine": [1]}
        sent = self.asked(api, webhook, {"interaction": own})
        assert own.items() <= sent.items()

    @pytest.mark.parametrize(
        ("body", "place"),
        [
            ({"generation": 3}, "generation"),
            ({"generation": True}, "generation"),
            ({"generation": "1"}, "generation"),
            ({"generation": 1, "interaction": {}}, "generation"),
            ({"interaction": {"attributes": []}}, "interaction"),
            ({"interaction": [1]}, "interaction"),
        ],
    )
    def test_what_cannot_be_meant_is_400_and_calls_nobody(self, api, webhook, body, place):
        with FakeReceiver() as receiver:
            details = problem(api.post(f"/webhooks/{webhook.pk}/test", body), 400)["details"]
        assert list(details) == [place]
        assert not receiver.requests


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("user", ["username", "password"], "username"),
        ("PASS", ["username", "password"], "password"),
        ("zzz", ["username", "password"], ""),
        ("", ["username"], ""),
        ("maxinflight", ["maxInFlight"], "maxInFlight"),
        ("x" * 10_000, ["x"], ""),
    ],
)
def test_the_nearest_word(word, known, meant):
    assert nearest(word, known) == meant
    assert meant in unknown(word, known, "field")
