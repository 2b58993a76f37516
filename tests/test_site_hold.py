"""`hold-all` and `release-all`: the whole site calls nobody, and every face says so."""

import json

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Api
from tests.commands.test_webhooks import both, run
from tests.factories import DeliveryFactory, WebhookFactory, WorkerFactory
from webhooks_app import actions
from webhooks_app.models import AuditEntry, Delivery, SiteHold, Webhook, states
from webhooks_app.testing import FakeReceiver, drain


@pytest.fixture
def api(secret):
    return Api(secret)


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account, name="Orders")


@pytest.fixture
def held(db):
    assert actions.hold_all(note="restored from 03:00", by="mira")


def test_a_delivery_is_taken_and_held(held, webhook, api):
    made = api.post(f"/webhooks/{webhook.pk}/deliveries", {"order": 1})
    assert made.status_code == 202
    assert (made.json()["state"], made.json()["reason"]) == ("pending", "site")
    assert api.get(f"/webhooks/{webhook.pk}/settings").json()["health"]["held"] == "site"
    with FakeReceiver() as receiver:
        assert drain() == 0
    assert receiver.requests == []


@pytest.mark.parametrize("call", ["interactions", "verify", "test"])
def test_a_call_that_somebody_waits_for_is_503_with_retry_after(held, webhook, api, call):
    with FakeReceiver() as receiver:
        refused = api.post(f"/webhooks/{webhook.pk}/{call}", {})
        assert receiver.requests == []
        assert (refused.status_code, refused["Retry-After"]) == (503, "60")
        assert refused.json()["status"]["details"] == {"reason": "site"}
        actions.release_all()
        assert api.post(f"/webhooks/{webhook.pk}/{call}", {}).status_code == 200


def test_it_comes_before_what_staff_paused_and_leaves_it_when_it_goes(held, webhook, account):
    paused = WebhookFactory(account=account)
    actions.pause(paused, by="staff")
    for one in (webhook, paused):
        actions.deliver(one, {})
    assert {actions.hold_reason(one) for one in Webhook.objects.all()} == {"site"}
    assert states.hold_reasons(Webhook.objects.get(pk=paused.pk), timezone.now()) == [
        "site",
        "paused",
    ]
    assert actions.release_all()
    assert actions.hold_reason(Webhook.objects.get(pk=paused.pk)) == "paused"
    with FakeReceiver() as receiver:
        drain()
    assert len(receiver.requests) == 1
    assert Delivery.objects.get(webhook=paused).state == "pending"


def test_it_is_noted_who_did_so_and_the_first_note_stays(held):
    assert not actions.hold_all(note="another", by="tom")
    assert SiteHold.objects.get().note == "restored from 03:00"
    assert actions.release_all(by="tom")
    assert not actions.release_all(by="tom")
    assert list(AuditEntry.objects.order_by("id").values_list("by", "action", "kind")) == [
        ("mira", "Held the site: restored from 03:00", "installation"),
        ("tom", "Released the site.", "installation"),
    ]


def test_status_says_what_would_go_out(held, webhook, account):
    paused = WebhookFactory(account=account, stopped="paused")
    for one in (webhook, webhook, paused):
        DeliveryFactory(webhook=one)
    said = run("status", code=1)
    assert "THE SITE IS HELD since" in said
    assert "by mira: restored from 03:00" in said
    assert "2 deliveries would be sent at once, 0 later; still held: 1 paused" in said
    status = json.loads(run("status", "--json", code=1))
    assert status["deliveries"]["held"] == {
        **dict.fromkeys(status["deliveries"]["held"], 0),
        "site": 3,
    }
    assert status["site"]["released"]["due"] == 2
    run("release-all")
    status = json.loads(run("status", "--json", code=1))
    assert (status["site"], status["deliveries"]["due"]) == ({"held": False}, 2)


def test_explain_tells_all_reasons(held, account):
    webhook = WebhookFactory(account=account, stopped="paused")
    said = run("explain", DeliveryFactory(webhook=webhook).pk)
    assert f"It is held: {states.SENTENCES['site']}" in said
    assert f"It is held, too: {states.SENTENCES['paused']}" in said


def test_the_metrics_count_it(held, webhook, settings):
    settings.WEBHOOKS_METRICS_TOKEN = "of-the-metrics"
    DeliveryFactory(webhook=webhook)
    answer = Client().get("/metrics", HTTP_AUTHORIZATION="Bearer of-the-metrics")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }
    assert found["webhooks_deliveries_held", "site"] == found["webhooks_held", "site"] == 1
    assert found["webhooks_deliveries_held", "paused"] == found["webhooks_deliveries_due",] == 0


def test_every_page_of_the_console_says_so(held, webhook, admin_client):
    delivery = DeliveryFactory(webhook=webhook)
    pages = (
        *("/admin/", "/admin/webhooks_app/webhook/", "/admin/webhooks_app/delivery/"),
        f"/admin/webhooks_app/webhook/{webhook.pk}/change/",
        f"/admin/webhooks_app/delivery/{delivery.pk}/change/",
    )
    for page in pages:
        text = admin_client.get(page).content.decode()
        assert "The whole site is held since" in text, page
        assert "restored from 03:00" in text, page
    home, webhooks, deliveries, one, its_delivery = (
        admin_client.get(page).content.decode() for page in pages
    )
    assert "1 webhook is held with the whole site" in home
    assert "1 delivery would go out at once" in home
    assert "Site held" in webhooks
    assert "site held" in deliveries
    assert "Held: the whole site calls nobody" in one
    assert "Held with the whole site" in its_delivery
    actions.release_all()
    assert "The whole site" not in admin_client.get("/admin/").content.decode()


def test_hold_all_names_the_worker_that_does_not_say_so(db):
    WorkerFactory(host="old", pid=7)
    out, err = both("hold-all", "--timeout", "0", code=1)
    assert out == ""
    assert "worker old:7 has not noticed" in err
    out, err = both("hold-all", "--timeout", "0", "--note", "twice", "--json", code=1)
    assert json.loads(out)["new"] is False
    assert "It was held already" in err


def test_without_workers_hold_all_says_at_once_that_nobody_calls(db):
    assert run("hold-all") == "The site is held; no worker has a call under way.\n"
    assert run("release-all") == "The site is released; 0 deliveries are due.\n"
    assert run("release-all") == "The site was not held.\n"
