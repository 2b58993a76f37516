"""Interactions through the door of Django's views and through the fast one, where those that come
at once are judged, sent and recorded together."""

import asyncio
import threading
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError
from django.utils import timezone

from project.door_requests import Interaction
from tests.api.conftest import problem
from tests.api.doors import SiteApi, together, told
from tests.factories import WebhookFactory
from tests.receivers import Answer, Receiver, closed_port
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.actions import interactions
from webhooks_app.engine.http import bridge
from webhooks_app.models import AccessToken, Attempt, SigningKey, Webhook, WebhookHealth
from webhooks_app.models.webhook import BREAKER_AFTER
from webhooks_app.rules import signing

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def receiver(loopback):
    with Receiver(answer={"responses": []}) as running:
        yield running


@pytest.fixture
def webhook(account, receiver):
    return WebhookFactory(account=account, url=receiver.url, token="t!", timeout=30)


@pytest.fixture
def path(webhook):
    return f"/webhooks/{webhook.id}/interactions"


@pytest.fixture
def fast(open_site, secret):
    return SiteApi(open_site, secret)


def call_at(webhook, url):
    """Whoever is there is called, verified or not."""
    Webhook.objects.filter(pk=webhook.pk).update(url=url, verified_at=timezone.now())


# --- one ------------------------------------------------------------------------------------------


def test_an_interaction_is_answered_with_what_the_receiver_said_and_recorded(
    api, webhook, path, receiver
):
    responses = [{"type": "text", "delay": 1000, "message": "Have a \u2028 day!"}]
    receiver.answer = {"responses": responses, "attributes": {"foo": "bar"}, "more": 1}
    response = api.post(path, {"chatId": "c", "extra": [1]})
    assert response.status_code == 200, response.content
    assert response.json() == {"responses": responses, "attributes": {"foo": "bar"}}
    [request] = receiver.requests
    assert (request.json["chatId"], request.json["extra"]) == ("c", [1])
    assert request.json["node"]["webhookId"] == webhook.id
    assert request.query["token"] == ["t!"]
    attempt = Attempt.objects.get()
    assert (attempt.webhook_id, attempt.exchange, attempt.status) == (
        *(webhook.id, "interaction", 200),
    )
    assert attempt.request_id == request.header("webhook-id")
    health = WebhookHealth.objects.get(pk=webhook.id)
    assert (health.last_success_at, health.failures_in_row) == (attempt.ended_at, 0)


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        (503, 502, "http_502"),
        (410, 502, "gone"),
        ("<html>", 502, "bad_json"),
        (Answer(200, delay=60), 504, "timeout"),
    ],
)
def test_a_receiver_that_fails_is_502_or_504_with_the_recorded_message(
    api, webhook, path, receiver, answer, status, kind
):
    receiver.answer = answer
    if kind == "timeout":
        Webhook.objects.update(timeout=0.3)
    found = problem(api.post(path, {}), status)
    recorded = Attempt.objects.get()
    assert (found["message"], recorded.kind) == (recorded.message, kind)
    assert found["details"]["advice"] == recorded.advice
    webhook.refresh_from_db()
    assert webhook.stopped == ("gone" if kind == "gone" else "")


@pytest.mark.parametrize(
    ("state", "status", "reason"),
    [
        ({"stopped": "paused"}, 409, "paused"),
        ({"verified_at": None}, 409, "unverified"),
        ({"health": {"breaker_until": "2999-01-01T00:00:00Z"}}, 503, "breaker"),
    ],
)
def test_a_webhook_that_may_not_be_called_says_why(api, account, receiver, state, status, reason):
    hook = WebhookFactory(account=account, url=receiver.url, **state)
    response = api.post(f"/webhooks/{hook.id}/interactions", {})
    assert problem(response, status)["details"] == {"reason": reason}
    assert ("Retry-After" in response) == (status == 503)
    assert receiver.requests == []


def test_nobody_is_called_while_the_site_is_held(api, path, receiver):
    actions.hold_all()
    found = problem(api.post(path, {}), 503)
    assert found["details"] == {"reason": "site"}
    actions.release_all()
    assert api.post(path, {}).status_code == 200
    assert len(receiver.requests) == 1


def test_what_cannot_be_made_a_request_is_told_and_recorded(api, webhook, path):
    call_at(webhook, "http://10.0.0.1/hook")  # past the validators
    found = problem(api.post(path, {}), 502)
    assert found["details"]["kind"] == Attempt.objects.get().kind == "blocked"


ODD = {
    "a good one": {},
    "a slash at the end": {"path": "{path}/"},
    "PUT": {"method": "PUT"},
    "no body": {"body": b""},
    "a list": {"body": b"[]"},
    "broken JSON": {"body": b"{"},
    "a name twice": {"body": b'{"a":1,"a":2}'},
    "attributes that are no object": {"body": {"attributes": []}},
    "a number for a text": {"body": {"chatId": 5}},
    "no content type": {"content_type": ""},
    "an encoded body": {"HTTP_CONTENT_ENCODING": "gzip"},
    "an unknown parameter": {"path": "{path}?typ=x"},
    "its own account": {"path": "{path}?account=acme"},
    "another account": {"path": "{path}?account=other"},
    "a browser's Accept": {"HTTP_ACCEPT": "text/html"},
    "a foreign host": {"HTTP_HOST": "evil.example.com"},
    "a cookie": {"HTTP_COOKIE": "sessionid=x"},
    "an unknown webhook": {"path": "/webhooks/000000000000000000000000/interactions"},
    "no id": {"path": "/webhooks/x/interactions"},
    "a wrong token": {"HTTP_AUTHORIZATION": "Bearer whk_x"},
}


@pytest.mark.parametrize("scope", ["manage", "send", "read"])
def test_both_doors_answer_alike(open_sites, account, path, scope):
    """Status, every header and every word, but times."""
    secret = AccessToken.issue(account, scope=scope)[1]
    for name, odd in ODD.items():
        request = {"method": "POST", "path": "{path}", "body": {"chatId": "c"}} | odd
        request = {"content_type": "application/json", "HTTP_X_REQUEST_ID": "its-name"} | request
        method, address, body = (request.pop(key) for key in ("method", "path", "body"))
        answers = [
            told(SiteApi(site, secret).send(method, address.format(path=path), body, **request))
            for site in open_sites.values()
        ]
        assert answers[0] == answers[1], name


# --- at once --------------------------------------------------------------------------------------


def test_those_that_come_at_once_are_answered_each_for_itself(
    fast, open_site, account, webhook, path, receiver
):
    failing = WebhookFactory(account=account, url=f"{receiver.url}/down")
    paused = WebhookFactory(account=account, url=receiver.url, stopped="paused")
    foreign = WebhookFactory(url=receiver.url)
    before = open_site.by_django

    def answer(request):
        return 500 if request.path.endswith("/down") else {"attributes": request.json["attributes"]}

    receiver.answer = answer
    answers = together(
        *(fast.asked("POST", path, {"attributes": {"n": n}}) for n in range(20)),
        *(fast.asked("POST", f"/webhooks/{failing.id}/interactions", {}) for _ in range(3)),
        fast.asked("POST", f"/webhooks/{paused.id}/interactions", {}),
        fast.asked("POST", f"/webhooks/{foreign.id}/interactions", {}),
        fast.asked("POST", f"/webhooks/{webhook.id}/deliveries", {}),
    )
    assert [answer.status_code for answer in answers] == [*[200] * 20, *[502] * 3, 409, 404, 202]
    assert [answer.json()["attributes"]["n"] for answer in answers[:20]] == list(range(20))
    assert open_site.by_django == before
    assert Attempt.objects.filter(webhook=webhook, kind="").count() == 20
    assert WebhookHealth.objects.get(pk=failing.id).failures_in_row == 3
    assert not Attempt.objects.filter(webhook__in=[paused, foreign]).exists()


def test_no_more_are_under_way_than_there_are_places_for(fast, path, receiver, settings):
    settings.WEBHOOKS_CONCURRENCY = 9
    free = threading.Event()

    def answer(request):
        assert free.wait(PATIENCE)
        return 200

    receiver.answer = answer

    async def refused_first():
        asked = [asyncio.create_task(fast.asked("POST", path, {})) for _ in range(8)]
        done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 5:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        free.set()
        return [task.result() for task in done], await asyncio.gather(*waiting)

    refused, answered = async_to_sync(refused_first)()
    for response in refused:
        assert "calls of this webhook" in problem(response, 503)["message"]
        assert int(response["Retry-After"]) >= 1
    assert [response.status_code for response in answered] == [200] * 3
    assert Attempt.objects.count() == 3


def test_failures_that_end_together_open_the_breaker_and_one_probe_closes_it(
    fast, account, webhook, path, receiver
):
    with closed_port() as port:
        call_at(webhook, f"http://127.0.0.1:{port}/")
        answers = together(*(fast.asked("POST", path, {}) for _ in range(BREAKER_AFTER)))
        assert {answer.status_code for answer in answers} == {502}
        assert problem(fast.post(path, {}), 503)["details"] == {"reason": "breaker"}
    health = WebhookHealth.objects.filter(pk=webhook.pk)
    assert health.get().breaker_trips == 1
    call_at(webhook, receiver.url)  # which lets nothing rest any more
    health.update(breaker_trips=1, breaker_until=timezone.now() - timedelta(seconds=1))
    answers = together(*(fast.asked("POST", path, {}) for _ in range(5)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 503, 503, 503, 503]
    assert len(receiver.requests) == 1
    assert (health.get().breaker_trips, health.get().breaker_until) == (0, None)


def test_a_webhook_that_is_removed_while_it_is_called_is_404_and_the_others_are_recorded(
    fast, account, webhook, path, receiver
):
    other = WebhookFactory(account=account, url=f"{receiver.url}/other", timeout=30)
    both = threading.Barrier(2, action=Webhook.objects.filter(pk=webhook.pk).delete)

    def answer(request):
        both.wait(PATIENCE)
        return 200

    receiver.answer = answer
    gone, kept = together(
        fast.asked("POST", path, {}), fast.asked("POST", f"/webhooks/{other.id}/interactions", {})
    )
    problem(gone, 404)
    assert kept.status_code == 200
    assert [attempt.webhook_id for attempt in Attempt.objects.all()] == [other.id]


def test_what_was_recorded_when_the_connection_broke_is_not_recorded_twice(
    fast, webhook, path, receiver, monkeypatch
):
    """The answer to a COMMIT is lost: whether it came through, nobody told."""
    conclude = interactions.conclude

    def committed(ended, **options):
        conclude(ended, **options)
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(interactions, "conclude", committed)
    assert fast.post(path, {}).status_code == 200
    receiver.answer = 500
    problem(fast.post(path, {}), 502)
    assert [attempt.status for attempt in Attempt.objects.order_by("id")] == [200, 500]
    assert WebhookHealth.objects.get(pk=webhook.pk).failures_in_row == 1


# --- nothing that decides is kept -----------------------------------------------------------------


def test_the_next_call_is_made_by_what_the_webhook_is_now(fast, webhook, path, receiver):
    assert fast.post(path, {}).status_code == 200
    headers = [{"name": "X-Api-Key", "value": "k-2"}]
    changed = {"name": "n", "url": receiver.url, "token": "t2", "headers": headers, "auth": {}}
    assert fast.put(f"/webhooks/{webhook.id}", changed).status_code == 200
    Webhook.objects.update(verified_at=timezone.now())
    assert fast.post(path, {}).status_code == 200
    secret = actions.rotate_secret(webhook)
    assert fast.post(path, {}).status_code == 200
    first, second, third = receiver.requests
    assert (first.query["token"], first.header("X-Api-Key")) == (["t!"], None)
    assert (second.query["token"], second.header("X-Api-Key")) == (["t2"], "k-2")
    assert [is_signed(request, secret) for request in (second, third)] == [False, True]


def test_a_key_that_was_made_in_a_transaction_that_failed_signs_nothing(
    fast, webhook, path, receiver, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Interaction, "settle", broken)
        assert fast.post(path, {}).status_code == 200  # Django has made it
    assert fast.post(path, {}).status_code == 200
    key = SigningKey.objects.get(webhook=webhook)
    assert [is_signed(request, key.secret) for request in receiver.requests] == [True, True]


def broken(asked, held):
    raise RuntimeError("a fault of ours")


def is_signed(request, secret):
    ident, at = request.header("webhook-id"), int(request.header("webhook-timestamp"))
    signer = signing.signer(signing.key_of(secret), float("inf"))
    expected = signing.signature((signer,), ident.encode(), at, request.body).decode()
    return expected in request.header("webhook-signature").split()


def test_who_waits_when_the_loop_ends_is_told(fast, path, receiver):
    """There is no memory for a callback, say; the next one finds another loop."""
    before = bridge.replace(None)
    try:
        engine = bridge.engine()

        def answer(request):
            engine._loop.call_soon_threadsafe(engine._loop.stop)
            return Answer(200, delay=60)

        receiver.answer = answer
        problem(fast.post(path, {}), 503)
        receiver.answer = 200
        assert fast.post(path, {}).status_code == 200
        bridge.engine().close()
    finally:
        bridge.replace(before)
