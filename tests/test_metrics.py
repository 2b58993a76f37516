"""/metrics: numbers for Prometheus, for whoever has its token."""

from datetime import timedelta

import pytest
import time_machine
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from tests.factories import CounterFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.api import metrics
from webhooks_app.models import FailedAuthentication, Worker, states

TOKEN = "metrics-s3cret"


@pytest.fixture(autouse=True)
def opened(settings, db):
    settings.WEBHOOKS_METRICS_TOKEN = TOKEN


def scrape(authorization=f"Bearer {TOKEN}"):
    extra = {"HTTP_AUTHORIZATION": authorization} if authorization else {}
    return Client().get("/metrics", **extra)


def numbers():
    text = scrape().content.decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_empty_site_has_numbers_too():
    found = numbers()
    assert found["webhooks_deliveries_due",] == 0
    assert found["webhooks_attempts_total", "delivery", "success"] == 0
    assert found["webhooks_failures_total", "timeout"] == 0
    for name in ("accepted", "given_up"):
        assert found[f"webhooks_deliveries_{name}_total",] == 0


@time_machine.travel(timezone.now(), tick=False)
def test_what_is_due_who_sends_and_how_it_went(account, monkeypatch):
    monkeypatch.setattr("webhooks_app.api.metrics.db_now", timezone.now)
    now = timezone.now()
    webhook = WebhookFactory(account=account, name="secret name", health={"failures_in_row": 7})
    for minutes in (-10, -5, 5):
        DeliveryFactory(webhook=webhook, due_at=now + timedelta(minutes=minutes))
    Worker.objects.create(id="a", host="h", pid=1, in_flight=3)
    Worker.objects.create(id="b", host="h", pid=2, in_flight=4, version="0.2.0")
    Worker.objects.create(id="c", host="h", pid=3, standby=True)
    Worker.objects.create(id="d", host="h", pid=4, in_flight=9, seen_at=now - timedelta(hours=1))
    for kind, slot in (("", 1), ("", 2), ("timeout", 1), ("refused", 2)):
        CounterFactory(name="delivery", kind=kind, slot=slot, count=10)
    CounterFactory(name="interaction", kind="timeout", slot=1, count=5)
    CounterFactory(name="given_up", kind="timeout", slot=1, count=2)
    CounterFactory(name="given_up", kind="refused", slot=1, count=1)
    found = numbers()
    assert found["webhooks_deliveries_due",] == 2
    assert found["webhooks_oldest_due_seconds",] == 600
    assert found["webhooks_failing",] == 1
    assert found["webhooks_workers",] == 2
    assert found["webhooks_workers_standby",] == 1
    assert found["webhooks_worker_versions",] == 2
    assert found["webhooks_in_flight",] == 7
    assert found["webhooks_attempts_total", "delivery", "success"] == 20
    assert found["webhooks_attempts_total", "delivery", "failure"] == 20
    assert found["webhooks_attempts_total", "failure", "interaction"] == 5
    assert found["webhooks_failures_total", "timeout"] == 15
    assert found["webhooks_deliveries_given_up_total",] == 3
    assert found["webhooks_deliveries_accepted_total",] == 3
    text = scrape().content.decode()
    assert not [word for word in ("secret name", webhook.pk, "acme", TOKEN) if word in text]


def test_no_count_goes_on_for_ever(account, monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(metrics, "COUNT_LIMIT", 3)
    webhook = WebhookFactory(account=account)
    past = timezone.now() - timedelta(minutes=1)
    for _ in range(6):
        DeliveryFactory(webhook=webhook, due_at=past)
    with django_assert_max_num_queries(36):
        assert numbers()["webhooks_deliveries_due",] == 4


def test_what_is_held_is_not_due(account):
    """A queue that is late is told by its age, and nothing else is."""
    now = timezone.now()
    old = now - timedelta(days=3)
    off = {
        "paused": WebhookFactory(account=account, stopped="paused", verified_at=None),
        "gone": WebhookFactory(account=account, stopped="gone"),
        "failing": WebhookFactory(account=account, stopped="failing"),
        "unverified": WebhookFactory(account=account, verified_at=None),
        "unreadable": WebhookFactory(account=account, health={"unreadable_since": old}),
        "breaker": WebhookFactory(
            account=account, health={"breaker_until": now + timedelta(hours=1)}
        ),
        "rate": WebhookFactory(account=account, health={"rests_until": now + timedelta(hours=1)}),
    }
    for webhook in off.values():
        DeliveryFactory(webhook=webhook, due_at=old)
    working = WebhookFactory(account=account)
    DeliveryFactory(webhook=working, due_at=now + timedelta(hours=1))
    DeliveryFactory(webhook=working, reason="unrecorded", due_at=states.FAR_AHEAD)
    found = numbers()
    assert (found["webhooks_deliveries_due",], found["webhooks_oldest_due_seconds",]) == (0, 0)
    assert found["webhooks_deliveries_later",] == 1
    assert found["webhooks_deliveries_unrecorded",] == 1
    assert found["webhooks_breakers_open",] == 1
    for reason in off:
        assert found["webhooks_deliveries_held", reason] == 1, reason
        assert found["webhooks_held", reason] == 1, reason


def test_of_a_held_site_nothing_is_late(account):
    ago = timezone.now() - timedelta(hours=1)
    DeliveryFactory(webhook=WebhookFactory(account=account), due_at=ago)
    assert (numbers()["webhooks_site_held",], numbers()["webhooks_deliveries_due",]) == (0, 1)
    actions.hold_all(note="restored")
    try:
        found = numbers()
        assert (found["webhooks_site_held",], found["webhooks_deliveries_due",]) == (1, 0)
        assert found["webhooks_deliveries_held", "site"] == 1
    finally:
        actions.release_all()


def test_a_deleted_webhook_is_not_among_those_that_fail_or_are_held(account):
    health = {"failures_in_row": 9, "unreadable_since": timezone.now()}
    WebhookFactory(account=account, stopped="paused", deleted_at=timezone.now(), health=health)
    found = numbers()
    assert found["webhooks_failing",] == 0
    assert not [key for key in found if key[0] == "webhooks_held" and found[key]]


@pytest.mark.parametrize(
    "wrong", ["", f"Basic {TOKEN}", "Bearer", "Bearer x", "Bearer é\xff", TOKEN]
)
def test_without_its_token_it_says_nothing(wrong):
    response = scrape(wrong)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert b"webhooks_" not in response.content


def test_the_token_is_not_taken_from_the_query():
    assert Client().get(f"/metrics?token={TOKEN}").status_code == 401


def test_wrong_tokens_are_counted(settings):
    settings.WEBHOOKS_FAILED_AUTHENTICATIONS = 1
    assert [scrape("Bearer x").status_code for _ in range(2)] == [401, 429]
    assert FailedAuthentication.objects.get().count == 1


def test_without_the_setting_there_is_no_such_page(settings):
    settings.WEBHOOKS_METRICS_TOKEN = ""
    assert scrape("Bearer ").status_code == 404
    assert scrape().status_code == 404


@pytest.mark.parametrize(
    ("path", "status"), [("/webhooks", 503), ("/readyz", 503), ("/metrics", 503), ("/admin/", 500)]
)
def test_errors_that_web_processes_meet_are_told_once_the_database_answers(
    admin_client, secret, path, status
):
    def away(*_):
        raise OperationalError("connection refused")

    before = numbers()["webhooks_database_errors_total",]
    admin_client.raise_request_exception = False
    headers = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN if path == '/metrics' else secret}"}
    with connection.execute_wrapper(away):
        for _ in range(2):
            assert admin_client.get(path, **headers).status_code == status
    assert admin_client.get("/readyz").status_code == 200
    assert numbers()["webhooks_database_errors_total",] == before + 2


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_without_the_database_it_is_503_and_no_traceback(monkeypatch, caplog, error):
    def gone(*_):
        raise error("connection refused")

    monkeypatch.setattr(metrics.Collector, "collect", gone)
    response = scrape()
    assert response.status_code == 503
    assert response.json()["status"]["message"] == "The database does not answer."
    assert not [record for record in caplog.records if record.exc_info]
