"""Whatever a receiver does: an outcome in time, a row in the history, text that harms nobody."""

import json
import re
import subprocess
import sys
import unicodedata
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from tests.admin.pages import url as admin_url
from tests.certificates import client_context
from tests.factories import WebhookFactory
from tests.receivers import Answer, Receiver, StubResolver
from tests.security.evil import EVIL, MARK, playing
from webhooks_app import actions
from webhooks_app.models import Attempt, Delivery, Webhook
from webhooks_app.rules.safe_text import JOINERS

pytestmark = pytest.mark.slow

SHORT = 3.0  # seconds that those get who would take for ever; enough to connect among so many
EARLY, LATE = -0.02, 5.0  # seconds; the timers of uvloop, and a busy machine with all at once


def webhook_of(trick, url, account):
    waits = trick.kind.endswith("timeout")
    return WebhookFactory(
        account=account, name=trick.name, url=url, timeout=SHORT if waits else 20.0
    )


@pytest.fixture
def history(doors, account, loopback, settings):
    """Every trick played on one delivery, together with an honest receiver; the attempts."""
    settings.WEBHOOKS_RETRY_SCHEDULE = "10000"
    doors.use(StubResolver({}), ssl_context=client_context)
    with playing(EVIL) as urls, Receiver(Answer(200, "ok")) as honest:
        webhooks = [webhook_of(trick, urls[trick.name], account) for trick in EVIL]
        good = WebhookFactory(account=account, name="good", url=honest.url)
        tricked = zip(webhooks, [json.loads(trick.payload) for trick in EVIL], strict=True)
        actions.deliver_many([*tricked, *[(good, {"n": n}) for n in range(50)]])
        doors.drain()
    return Attempt.objects.select_related("webhook", "delivery").order_by("id")


def test_every_trick_ends_in_time_is_stored_and_shown_and_harms_nobody(history, boss, api, caplog):
    every_trick_ended_in_time_as_its_kind(history)
    if connection.vendor == "sqlite":  # what is stored is shown the same, wherever it was
        no_page_no_json_and_no_terminal_carries_out_what_was_sent(history, boss, api)
    assert "evil" not in caplog.text


def every_trick_ended_in_time_as_its_kind(history):
    assert len(EVIL) >= 60
    attempts = {attempt.webhook.name: attempt for attempt in history}
    wrong = {
        trick.name: (trick.kind, attempts[trick.name].kind, attempts[trick.name].message)
        for trick in EVIL
        if attempts[trick.name].kind != trick.kind
    }
    assert wrong == {}
    for trick in EVIL:
        if trick.kind.endswith("timeout"):
            attempt = attempts[trick.name]
            assert attempt.message == "timeout of 3000ms exceeded"
            assert EARLY <= attempt.duration_ms / 1000 - SHORT <= LATE, trick.name
    good = history.filter(webhook__name="good")
    assert [(attempt.kind, attempt.status) for attempt in good] == [("", 200)] * 50
    assert history.count() == len(EVIL) + 50, "each was tried once"
    assert Delivery.objects.filter(state="delivered").count() == history.filter(kind="").count()


def harmless_html(response):
    text = response.content.decode()
    assert response.status_code == 200
    assert MARK not in text
    assert "<evil" not in text.lower()


def commands(text):
    """Characters that command a terminal, or turn the direction of what follows."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"}


def harmless_on_the_console(response):
    """There nothing acts unseen either; the API tells exactly what came."""
    harmless_html(response)
    assert not commands(response.content.decode()) - set("\r\t" + JOINERS)


def kept(attempt):
    return attempt.answer + attempt.answer_headers


def could_act(attempt):
    text = kept(attempt) + attempt.message
    return "<" in text or commands(text)


def no_page_no_json_and_no_terminal_carries_out_what_was_sent(history, boss, api):
    for page in ("webhook", "delivery", "attempt", "webhookerror"):
        harmless_on_the_console(boss.get(admin_url(page)))
    telling = [attempt for attempt in history.exclude(webhook__name="good") if kept(attempt)]
    assert len(telling) >= 40
    assert any(commands(attempt.answer_headers) for attempt in telling)
    for attempt in telling:
        path = f"/deliveries/{attempt.delivery_id}/attempts"
        [shown] = api.get(path).json()
        assert shown["answer"] == attempt.answer
        if could_act(attempt):
            harmless_on_the_console(boss.get(admin_url("delivery", attempt.delivery_id, "change")))
            harmless_on_the_console(boss.get(admin_url("attempt", attempt.pk, "change")))
            harmless_html(boss.get(path, headers={"accept": "text/html"}))
            said = StringIO()
            call_command("webhooks", "explain", attempt.delivery_id, stdout=said)
            assert not commands(said.getvalue()), attempt.webhook.name
    for webhook in Webhook.objects.all():
        assert api.get(f"/webhooks/{webhook.pk}/errors").status_code == 200
    assert api.get("/webhooks").status_code == 200


ANSWERED = {"json_list", "json_same_key", "json_html", "json_prototype", "json_many_keys"}


def test_an_interaction_gets_json_or_a_readable_error_whatever_comes_back(
    doors, account, api, boss, loopback
):
    doors.use(StubResolver({}))
    tricks = [trick for trick in EVIL if trick.name.startswith("json_") or "bomb" in trick.name]
    with playing(tricks) as urls:
        for trick in tricks:
            webhook = webhook_of(trick, urls[trick.name], account)
            response = api.post(f"/webhooks/{webhook.pk}/interactions", {})
            status = 200 if trick.name in ANSWERED else 502
            assert response.status_code == status, (trick.name, response.content[:300])
            assert response["Content-Type"] == "application/json"
            answer = response.json()
            if status == 200:
                assert set(answer) == {"responses", "attributes"}
            else:
                assert answer["status"]["message"].startswith("invalid JSON: "), trick.name
        [webhook] = Webhook.objects.filter(name="json_html")
        shown = boss.post(
            f"/webhooks/{webhook.pk}/interactions?account={account.name}",
            b"{}",
            content_type="application/json",
            headers={"accept": "text/html"},
        )
        harmless_html(shown)
    assert Attempt.objects.filter(kind__in=("bad_json", "encoded")).count() == len(tricks) - len(
        ANSWERED
    )


@pytest.mark.once
@pytest.mark.prove
def test_the_memory_of_a_worker_stays_flat_under_all_of_them():
    """In a process of its own, thirty times all tricks at once."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.security.report", "30"],
        capture_output=True,
        text=True,
        timeout=3000,
    )
    sizes = [float(size) for size in re.findall(r"round \d+: ([\d.]+) MiB", told.stderr)]
    assert len(sizes) == 30, told.stderr
    assert sizes[-1] - sizes[3] < 2, sizes
    assert "3,000 of 3,000 delivered" in told.stdout
