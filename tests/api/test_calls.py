"""Interactions, verification and test through a real receiver."""

import gzip
from datetime import timedelta

import pytest

from tests.api.conftest import Api, problem
from tests.factories import AccountFactory, WebhookFactory
from tests.receivers import Answer, Receiver, closed_port
from webhooks_app.engine import calls
from webhooks_app.models import AccessToken, Attempt, AuditEntry, Webhook
from webhooks_app.rules import failures
from webhooks_app.testing import FakeReceiver

pytestmark = pytest.mark.django_db(transaction=True)


GZIP = gzip.compress(b'{"responses": []}')


@pytest.fixture
def receiver(loopback):
    with Receiver(answer={"responses": []}, challenge=True) as running:
        yield running


@pytest.fixture
def webhook(account, receiver):
    return WebhookFactory(account=account, url=receiver.url, token="t!")


def test_an_interaction_is_answered_with_what_the_receiver_said(api, webhook, receiver):
    responses = [{"type": "text", "delay": 1000, "message": "Have a great day!"}]
    receiver.answer = {"responses": responses, "attributes": {"foo": "bar"}, "more": 1}
    sent = {"chatId": "c", "attributes": {"Full name": "x"}, "extra": [1]}
    response = api.post(f"/webhooks/{webhook.id}/interactions", sent)
    assert response.status_code == 200, response.content
    assert response.json() == {"responses": responses, "attributes": {"foo": "bar"}}
    body = receiver.requests[0].json
    assert (body["chatId"], body["extra"]) == ("c", [1])
    assert body["node"]["webhookId"] == webhook.id
    assert receiver.requests[0].query["token"] == ["t!"]


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        (503, 502, "http_502"),
        (401, 502, "http_401"),
        (410, 502, "gone"),
        (Answer(301, headers=(("Location", "http://127.0.0.1:1/"),)), 502, "redirect"),
        ("<html>", 502, "bad_json"),
        (Answer(200, GZIP, headers=(("Content-Encoding", "gzip"),)), 502, "encoded"),
        (Answer(200, GZIP), 502, "encoded"),
        (Answer(200, b"\x1b\x0f", headers=(("Content-Encoding", "br"),)), 502, "encoded"),
        (Answer(200, delay=60), 504, "timeout"),
    ],
)
def test_a_receiver_that_fails_is_502_or_504_with_the_recorded_message(
    api, webhook, receiver, answer, status, kind
):
    receiver.answer = answer
    if kind == "timeout":
        Webhook.objects.update(timeout=0.3)
    response = api.post(f"/webhooks/{webhook.id}/interactions", {})
    found = problem(response, status)
    recorded = Attempt.objects.get()
    assert (found["message"], recorded.kind) == (recorded.message, kind)
    assert set(found["details"]) == {"date", "kind", "advice"}
    assert found["details"]["advice"] == recorded.advice
    assert api.get(f"/webhooks/{webhook.id}").json()["error"]["message"] == recorded.message


def test_a_name_server_that_hangs_is_a_timeout_too(api, webhook):
    with FakeReceiver(failures.timeout(10000, resolving=True)):
        response = api.post(f"/webhooks/{webhook.id}/interactions", {})
    found = problem(response, 504)
    assert found["message"] == "timeout of 10000ms exceeded"
    assert found["details"]["kind"] == "dns_timeout"


@pytest.mark.parametrize("field", ["attributes", "userAttributes"])
def test_attributes_that_are_no_object_are_400(api, webhook, receiver, field):
    response = api.post(f"/webhooks/{webhook.id}/interactions", {field: []})
    assert field in problem(response, 400)["details"]
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("state", "status", "reason"),
    [
        ({"stopped": "paused"}, 409, "paused"),
        ({"stopped": "failing"}, 409, "failing"),
        ({"verified_at": None}, 409, "unverified"),
        ({"health": {"breaker_until": "2999-01-01T00:00:00Z"}}, 503, "breaker"),
    ],
)
def test_a_webhook_that_is_not_callable_says_why(api, account, receiver, state, status, reason):
    webhook = WebhookFactory(account=account, url=receiver.url, **state)
    response = api.post(f"/webhooks/{webhook.id}/interactions", {})
    assert problem(response, status)["details"] == {"reason": reason}
    assert ("Retry-After" in response) == (status == 503)
    assert receiver.requests == []


def test_verify_makes_the_webhook_work(api, account, receiver):
    webhook = WebhookFactory(account=account, url=receiver.url, verified_at=None)
    response = api.post(f"/webhooks/{webhook.id}/verify")
    assert response.status_code == 200
    body = response.json()
    assert list(body) == ["ok", "status", "durationMs", "error"]
    assert (body["ok"], body["status"], body["error"]) == (True, 200, None)
    assert api.get(f"/webhooks/{webhook.id}/settings").json()["verification"] == "passed"


def test_a_verification_that_fails_is_an_exchange_too(api, webhook, receiver):
    receiver.challenge = False
    receiver.answer = 404
    response = api.post(f"/webhooks/{webhook.id}/verify")
    assert response.status_code == 200
    body = response.json()
    assert (body["ok"], body["status"]) == (False, 404)
    assert set(body["error"]) == {"date", "message", "kind", "advice"}
    assert body["error"]["kind"] == "v_404"


def test_a_challenge_that_comes_back_compressed_is_told_as_such(api, webhook, receiver):
    receiver.challenge = False
    receiver.answer = lambda request: Answer(
        200, gzip.compress(request.query["challenge"][0].encode())
    )
    error = api.post(f"/webhooks/{webhook.id}/verify").json()["error"]
    assert error["message"] == "Verification failed: the answer is compressed"
    assert error["kind"] == "encoded"


def test_what_php_and_editors_with_byte_order_marks_write_is_understood(api, webhook, receiver):
    receiver.challenge = False
    receiver.answer = lambda request: b"\xef\xbb\xbf" + request.query["challenge"][0].encode()
    assert api.post(f"/webhooks/{webhook.id}/verify").json()["ok"] is True
    for answer in (b"[]", b'{"responses":[],"attributes":[]}'):
        receiver.answer = answer
        response = api.post(f"/webhooks/{webhook.id}/interactions", {})
        assert response.json() == {"responses": [], "attributes": {}}


def test_a_test_goes_past_pause_and_missing_verification(api, account, receiver):
    webhook = WebhookFactory(account=account, url=receiver.url, verified_at=None, stopped="paused")
    body = api.post(f"/webhooks/{webhook.id}/test").json()
    assert body["ok"] is True
    assert len(receiver.requests) == 1


def test_a_receiver_that_is_down_is_an_outcome_not_an_error(api, account, loopback):
    with closed_port() as port:
        webhook = WebhookFactory(account=account, url=f"http://127.0.0.1:{port}/")
        body = api.post(f"/webhooks/{webhook.id}/test").json()
    assert (body["ok"], body["status"], body["error"]["kind"]) == (False, None, "refused")


@pytest.mark.parametrize("verb", ["verify", "test"])
def test_only_one_a_second_is_made_the_next_is_429(api, webhook, verb, monkeypatch):
    monkeypatch.setattr(calls, "MANUAL_CALLS_APART", timedelta(minutes=1))
    assert api.post(f"/webhooks/{webhook.id}/{verb}").status_code == 200
    response = api.post(f"/webhooks/{webhook.id}/{verb}")
    problem(response, 429)
    assert int(response["Retry-After"]) >= 1


def test_a_breaker_is_closed_by_hand_and_calls_go_on(api, account, receiver):
    until = "2999-01-01T00:00:00Z"
    health = {"breaker_until": until, "breaker_trips": 3}
    webhook = WebhookFactory(account=account, url=receiver.url, health=health)
    path = f"/webhooks/{webhook.id}"
    assert problem(api.post(f"{path}/interactions", {}), 503)["details"] == {"reason": "breaker"}
    response = api.post(f"{path}/close-breaker")
    assert response.status_code == 200
    assert response.json()["id"] == webhook.id
    assert response.json()["status"] == {"code": 200, "type": "success"}
    assert api.post(f"{path}/close-breaker").status_code == 200  # it is closed, as was asked
    assert api.post(f"{path}/interactions", {}).status_code == 200
    assert AuditEntry.objects.filter(action="Closed the breaker.", target=webhook.id).count() == 2


@pytest.mark.parametrize("verb", ["verify", "test", "interactions", "close-breaker"])
def test_another_accounts_webhook_is_never_called(webhook, receiver, verb):
    stranger = Api(AccessToken.issue(AccountFactory())[1])
    problem(stranger.post(f"/webhooks/{webhook.id}/{verb}", {}), 404)
    assert receiver.requests == []
