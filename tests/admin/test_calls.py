"""The buttons that call out, against a real receiver."""

from datetime import timedelta

import pytest
from django.db import connections

from tests.admin.pages import page, url
from tests.factories import WebhookFactory
from tests.receivers import Answer, Receiver
from webhooks_app.engine import calls
from webhooks_app.models import AuditEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("loopback")]


@pytest.fixture
def receiver():
    with Receiver(challenge=True, answer="<script>alert(1)</script>") as receiver:
        yield receiver


@pytest.fixture
def webhook(account, receiver):
    return WebhookFactory(account=account, url=receiver.url, token="tok", verified_at=None)


def press(client, webhook, verb):
    response = client.post(url("webhook", webhook.pk, verb), follow=True)
    return response.content.decode()


def test_verify_calls_now_and_shows_the_answer(operator, webhook, receiver):
    text = press(operator, webhook, "verify")
    assert "Answer to the verification" in text
    assert "HTTP 200" in text
    webhook.refresh_from_db()
    assert webhook.verified_at
    assert [request.method for request in receiver.requests] == ["GET"]
    assert AuditEntry.objects.get().action == "Sent a verification."


def test_a_test_shows_the_answer_escaped(operator, webhook, receiver):
    receiver.answer = "<script>alert(1)</script>"
    text = press(operator, webhook, "test")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


def test_a_failed_test_says_what_to_do(operator, webhook, receiver):
    receiver.answer = 500
    text = press(operator, webhook, "test")
    assert "Request failed with status code 500" in text
    assert "retry once mended" in text


def test_the_headers_of_a_failed_answer_that_help_are_kept_and_shown(operator, webhook, receiver):
    receiver.answer = Answer(
        429,
        headers=(
            ("Retry-After", "120"),
            ("Server", "<b>busy</b> tok-Ampel"),
            ("Set-Cookie", "session=hush"),
            ("Location", "https://elsewhere.example/hook?key=hush"),
        ),
    )
    type(webhook).objects.filter(pk=webhook.pk).update(token="tok-Ampel")
    text = press(operator, webhook, "test")
    assert '<tr><th scope="row">Retry-After</th><td>120</td></tr>' in text
    assert "&lt;b&gt;busy&lt;/b&gt; ••••••••" in text
    assert "<td>https://elsewhere.example/hook</td>" in text
    assert "hush" not in text
    assert "tok-Ampel" not in text


def test_of_an_answer_that_is_well_no_header_is_kept(operator, webhook, receiver):
    receiver.answer = Answer(200, headers=(("Server", "nginx"),))
    press(operator, webhook, "test")
    assert webhook.attempts.get().answer_headers == ""


def test_pressing_twice_in_a_second_is_refused_in_words(operator, webhook, receiver, monkeypatch):
    monkeypatch.setattr(calls, "MANUAL_CALLS_APART", timedelta(minutes=1))
    press(operator, webhook, "test")
    assert "Only one such call a second" in press(operator, webhook, "test")
    assert len(receiver.requests) == 1


def test_a_few_are_tested_from_the_list(operator, webhook, receiver):
    receiver.answer = {"responses": []}
    data = {"action": "test_", "_selected_action": webhook.pk}
    text = operator.post(url("webhook"), data, follow=True).content.decode()
    assert f'Answered well: <a href="{page(webhook)}">1 webhook</a> of 1.' in text


def test_it_works_in_a_host_that_wraps_requests_in_transactions(
    operator, webhook, receiver, monkeypatch
):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert "Answer to the verification" in press(operator, webhook, "verify")
    data = {"action": "test_", "_selected_action": webhook.pk}
    text = operator.post(url("webhook"), data, follow=True).content.decode()
    assert "Answered well" in text or "Answer is no JSON" in text
