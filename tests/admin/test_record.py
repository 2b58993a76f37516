"""The record of a delivery: what a customer is given as proof."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.admin.conftest import log_in
from tests.admin.pages import page, text_of, url
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.models import AuditEntry, Delivery
from webhooks_app.presentation import record as records

MADE = datetime(2026, 11, 29, 21, 22, 44, 731000, tzinfo=UTC)
BODY = '{"order": 4711, "für": "Ada"}'.encode()


@pytest.fixture
def delivery(account):
    """Accepted of a token, refused once, then taken over TLS."""
    webhook = WebhookFactory(
        account=account, name="Orders", token="tok-Ämpel", headers=[("X-Key", "val-Ämpel")]
    )
    delivery = DeliveryFactory(
        webhook=webhook,
        type="order.created",
        reference="order-6301",
        payload=BODY,
        state="delivered",
        created_at=MADE,
        finished_at=MADE + timedelta(seconds=6),
        created_by="acme live",
        tries=2,
        last_status=200,
    )
    common = {"webhook": webhook, "delivery": delivery, "url": "https://erp.example.com/hooks"}
    AttemptFactory(
        **common,
        number=1,
        kind="refused",
        message="connect ECONNREFUSED 198.51.100.7:443",
        connect_ms=3,
        ended_at=MADE + timedelta(seconds=1),
    )
    AttemptFactory(
        **common,
        number=2,
        status=200,
        address="198.51.100.7:443",
        tls_ms=21,
        tls_version="TLSv1.3",
        wait_ms=5,
        duration_ms=30,
        answer='{"erp_id": "A-99812"}',
        ended_at=MADE + timedelta(seconds=6),
    )
    return delivery


@pytest.fixture
def reader(db):
    return log_in("view_delivery")


def taken(client, delivery, form):
    response = client.post(url("delivery", delivery.pk, "record"), {"as": form})
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return response


def test_the_json_says_who_what_where_and_each_try(reader, delivery):
    response = taken(reader, delivery, "json")
    assert f'filename="delivery-{delivery.pk}.json"' in response["Content-Disposition"]
    record = json.loads(response.content)
    assert record["recordOf"] == delivery.pk
    assert record["account"] == "acme"
    assert record["reference"] == "order-6301"
    assert record["accepted"]["at"] == "2026-11-29T21:22:44.731Z"
    assert record["accepted"]["by"] == "acme live"
    assert record["body"] == {
        "bytes": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(),
        "contentType": "application/json",
    }
    assert record["delivered"]["at"] == "2026-11-29T21:22:50.731Z"
    assert record["delivered"]["address"] == "198.51.100.7:443"
    assert record["delivered"]["tls"] == (
        "TLSv1.3, certificate and host name checked, handshake in 21 ms"
    )
    first, second = record["attempts"]
    assert (first["number"], first["error"]["kind"], first["tls"]) == (
        *(1, "refused"),
        "no session came about",
    )
    assert (second["status"], second["ok"], second["error"]) == (200, True, None)


def test_text_and_page_say_the_same_with_whole_dates_and_their_zone(reader, delivery):
    text = taken(reader, delivery, "text").content.decode()
    shown = text_of(taken(reader, delivery, "page"))
    for words in (
        "2026-11-29 21:22:44.731 UTC, from “acme live”",
        "2026-11-29 21:22:50.731 UTC, try 2",
        hashlib.sha256(BODY).hexdigest(),
        "198.51.100.7:443, HTTP 200 in 30 ms, TLS: TLSv1.3, certificate and host name checked",
        "POST https://erp.example.com/hooks",
        "connect ECONNREFUSED 198.51.100.7:443",
        "All times are UTC.",
    ):
        assert words in text
        assert words in shown
    assert "<time" not in shown.partition('id="record"')[2].partition("<footer")[0]


def test_no_secret_is_in_it(reader, delivery):
    for form in ("json", "text", "page"):
        assert "Ämpel" not in taken(reader, delivery, form).content.decode()


def test_who_took_it_is_noted_and_looking_takes_nothing(reader, delivery):
    taken(reader, delivery, "text")
    entry = AuditEntry.objects.get()
    assert (entry.by, entry.action) == (reader.user.get_username(), "Took the record as text.")
    assert (entry.kind, entry.target) == ("delivery", delivery.pk)
    answer = reader.get(url("delivery", delivery.pk, "record"))
    assert (answer.status_code, answer["Location"]) == (302, page(delivery, "delivery"))
    assert AuditEntry.objects.count() == 1
    assert 'id="do-record"' in text_of(reader.get(page(delivery, "delivery")))


def test_who_may_not_see_deliveries_gets_no_record(delivery):
    client = log_in("view_webhook")
    assert client.post(url("delivery", delivery.pk, "record")).status_code == 403


def test_of_an_event_the_bytes_of_its_form_are_told(boss, account):
    webhook = WebhookFactory(account=account, form="standard")
    actions.set_subscriptions(webhook, [{"types": ["order.*"]}])
    event = actions.publish(account, "order.paid", {"order": 4711})
    delivery = Delivery.objects.of_event(event.pk).get()
    _, body = delivery.body()
    record = json.loads(taken(boss, delivery, "json").content)
    assert record["body"]["sha256"] == hashlib.sha256(body).hexdigest()
    assert record["delivered"] is None
    assert record["attempts"] == []
    assert "not been tried" in text_of(taken(boss, delivery, "page"))


def test_of_very_many_tries_the_last_are_told_and_it_says_so(boss, delivery, monkeypatch):
    monkeypatch.setattr(records, "ATTEMPTS_MOST", 1)
    record = json.loads(taken(boss, delivery, "json").content)
    assert [attempt["number"] for attempt in record["attempts"]] == [2]
    assert record["olderAttemptsLeftOut"]
    assert "Attempts before the last 1" in taken(boss, delivery, "text").content.decode()


def test_of_attempts_from_before_it_was_kept_no_version_is_told(boss, account):
    delivery = DeliveryFactory(webhook=WebhookFactory(account=account))
    AttemptFactory(webhook=delivery.webhook, delivery=delivery, status=200, connect_ms=3, tls_ms=9)
    record = json.loads(taken(boss, delivery, "json").content)
    assert record["delivered"]["tls"] == "certificate and host name checked, handshake in 9 ms"


def test_over_plain_http_it_says_that_nothing_was_checked(boss, account):
    delivery = DeliveryFactory(webhook=WebhookFactory(account=account))
    AttemptFactory(
        webhook=delivery.webhook, delivery=delivery, url="http://erp.example.com/", status=200
    )
    record = json.loads(taken(boss, delivery, "json").content)
    assert record["delivered"]["tls"] == "none: the address is http"


def test_what_a_customer_wrote_commands_no_terminal(boss, account):
    webhook = WebhookFactory(account=account, name="Orders\x1b[2J\u202e")
    delivery = DeliveryFactory(webhook=webhook, type="a\x9bm", reference="4711\x07")
    text = taken(boss, delivery, "text").content.decode()
    assert "Orders\\u001b[2J\\u202e" in text
    assert all(sign.isprintable() or sign == "\n" for sign in text)


def test_before_the_first_try_the_address_is_told_without_its_token_too(boss, account):
    webhook = WebhookFactory(account=account, url="https://erp.example.com/h?token=s3cret&a=1")
    taken_as = [taken(boss, DeliveryFactory(webhook=webhook), form) for form in ("json", "text")]
    assert all(b"s3cret" not in response.content for response in taken_as)
    assert json.loads(taken_as[0].content)["delivered"] is None
