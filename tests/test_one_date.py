"""An exchange has one date, whoever shows it: when its outcome was noted, at its end."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.test import Client

from tests.admin.pages import page, text_of, url
from tests.api.conftest import Api
from tests.commands.test_webhooks import run
from tests.factories import DeliveryFactory, UserFactory, WebhookFactory
from webhooks_app.engine import store
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.engine.sending import verdict
from webhooks_app.engine.store import microseconds
from webhooks_app.models import Attempt, HourlyCount, WebhookHealth
from webhooks_app.rules import failures
from webhooks_app.rules.ids import timestamp
from webhooks_app.testing import FakeReceiver

# Begun in one hour, ended in the next.
BEGAN = datetime(2026, 3, 1, 11, 59, 55, 250_000, tzinfo=UTC)
ENDED = BEGAN + timedelta(seconds=10)
LATER = ENDED + timedelta(minutes=5)
DATE, NOT_YET = timestamp(ENDED), timestamp(ENDED + timedelta(milliseconds=1))


@pytest.fixture
def webhook(account):
    with time_machine.travel(BEGAN - timedelta(minutes=1), tick=False):
        return WebhookFactory(account=account)


@pytest.fixture
def delivery(webhook):
    """Failed once, after ten seconds without an answer."""
    with time_machine.travel(BEGAN - timedelta(seconds=1), tick=False):
        delivery = DeliveryFactory(webhook=webhook)
    with time_machine.travel(ENDED, tick=False):
        queue = store.open("default")
        (row,) = queue.claim([store.Want(webhook.pk, 1, None)], ENDED)
        outcome = Outcome(BEGAN, duration_ms=10_000, failure=failures.timeout(10.0))
        queue.finish([verdict(row, webhook.url, outcome, microseconds.of(BEGAN), 1.0)])
    return delivery


@pytest.fixture(autouse=True)
def later():
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def api(secret):
    return Api(secret)


@pytest.fixture
def staff(db):
    client = Client()
    client.force_login(UserFactory(is_superuser=True))
    return client


def test_in_every_answer_of_the_api(api, webhook, delivery):
    hook = f"/webhooks/{webhook.pk}"
    (attempt,) = api.get(f"/deliveries/{delivery.pk}/attempts").json()
    (error,) = api.get(f"{hook}/errors").json()
    assert attempt["startedAt"] == timestamp(BEGAN)
    assert {
        api.get(hook).json()["error"]["date"],
        api.get(f"{hook}/settings").json()["health"]["lastAttemptAt"],
        api.get(f"{hook}/settings").json()["health"]["failingSince"],
        error["date"],
        attempt["date"],
        attempt["error"]["date"],
    } == {DATE}


def test_by_it_the_lists_of_the_api_are_cut(api, webhook, delivery):
    for path in (f"/webhooks/{webhook.pk}/errors", f"/deliveries/{delivery.pk}/attempts"):
        assert len(api.get(f"{path}?since={DATE}").json()) == 1
        assert len(api.get(f"{path}?until={NOT_YET}").json()) == 1
        assert api.get(f"{path}?since={NOT_YET}").json() == []
        assert api.get(f"{path}?until={DATE}").json() == []


@pytest.mark.skipif("config.getoption('--db') == 'postgres'", reason="lists begin a day ago")
def test_on_every_page_of_the_console(staff, webhook, delivery):
    attempt = Attempt.objects.get()
    shown = f'<time datetime="{DATE}"'
    began = f'<time datetime="{timestamp(BEGAN)}" data-form="moment"'
    for place in (
        page(attempt, "attempt"),
        page(attempt, "webhookerror"),
        url("attempt"),
        url("webhookerror"),
        page(webhook),
    ):
        text = text_of(staff.get(place))
        assert shown in text, place
        assert began not in text, place
    tries = text_of(staff.get(page(delivery, "delivery"))).partition("wh-timeline")[2]
    assert shown in tries


def test_by_it_the_lists_of_the_console_are_cut_and_its_numbers_counted(staff, webhook, delivery):
    for model in ("attempt", "webhookerror"):
        assert "1 shown" in text_of(staff.get(url(model) + f"?since={DATE}&until={NOT_YET}"))
        assert "1 shown" not in text_of(staff.get(url(model) + f"?until={DATE}"))
    assert HourlyCount.objects.get().hour == ENDED.replace(minute=0, second=0, microsecond=0)


def test_in_the_commands(webhook, delivery):
    told = json.loads(run("explain", delivery.pk, "--json"))
    assert [attempt["date"] for attempt in told["attempts"]] == [DATE]
    assert DATE in run("explain", delivery.pk)


@pytest.mark.parametrize("call", ["interactions", "test"])
@pytest.mark.django_db(transaction=True)
def test_in_the_answer_to_a_call(api, webhook, call):
    """What the caller is told is what the history says."""
    with FakeReceiver(503):
        answer = api.post(f"/webhooks/{webhook.pk}/{call}", {}).json()
    told = answer["status"]["details"] if call == "interactions" else answer["error"]
    attempt = Attempt.objects.get()
    assert attempt.duration_ms > 0
    assert told["date"] == timestamp(attempt.ended_at)
    assert told["date"] == api.get(f"/webhooks/{webhook.pk}").json()["error"]["date"]
    assert told["date"] == api.get(f"/webhooks/{webhook.pk}/errors").json()[0]["date"]


def test_a_restored_history_says_it_too(webhook, delivery):
    from webhooks_app.engine.maintenance import recount

    WebhookHealth.objects.update(last_error_at=None, failing_since=None)
    for _ in recount.rebuild():
        pass
    health = WebhookHealth.objects.get(pk=webhook.pk)
    assert health.last_error_at == health.failing_since == ENDED
