"""A list as CSV: what it shows, all pages, by whoever may see it, and noted."""

import csv
import io
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.conftest import log_in
from tests.admin.pages import text_of, url
from tests.factories import AccountFactory, AttemptFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.admin import export
from webhooks_app.models import AuditEntry, Delivery

ANY_TIME = ("delivery", "attempt", "webhookerror", "event")  # else a list begins with one day
LISTS = ("webhook", "delivery", "attempt", "webhookerror", "event", "account", "accesstoken")


def table(response):
    """The file as rows, each a dict by the heads."""
    assert response.status_code == 200, response.content[:200]
    assert response["Content-Type"].startswith("text/csv")
    text = b"".join(response.streaming_content).decode("utf-8")
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


@pytest.fixture
def everything(orders):
    actions.publish(orders.account, "order.paid", {"order": 4711})
    actions.issue_token(orders.account, name="chat bot")
    return orders


@pytest.mark.parametrize("model", LISTS)
def test_each_list_is_taken_by_who_may_see_it_and_noted(everything, model):
    client = log_in(f"view_{model}")
    query = "?created=any" if model in ANY_TIME else ""
    assert 'form="wh-export"' in text_of(client.get(url(model) + query))
    rows = table(client.post(url(model, "export") + query))
    assert rows
    entry = AuditEntry.objects.latest("pk")
    assert entry.by == client.user.get_username()
    chosen = ", chosen by created." if query else "."
    assert entry.action.endswith(f"as CSV: {len(rows)} rows{chosen}")
    other = log_in("view_attempt" if model == "webhook" else "view_webhook")
    assert other.post(url(model, "export")).status_code == 403


def test_the_audit_log_is_taken_too(boss, everything):
    actions.pause(everything, note="=cmd", by="mira")
    rows = table(boss.post(url("auditentry", "export") + "?did=paused"))
    assert [row["Did"] for row in rows] == ["Paused: =cmd"]


def test_what_waits_says_why_in_the_words_of_the_list(boss, account):
    held = WebhookFactory(account=account, name="Paused", stopped="paused")
    ordered = WebhookFactory(account=account, name="In order", order="webhook")
    free = WebhookFactory(account=account, name="Free")
    head, behind = actions.deliver_many([(ordered, {}), (ordered, {})])
    Delivery.objects.filter(pk=head.pk).update(tries=1, due_at=timezone.now() + timedelta(hours=1))
    known = {
        DeliveryFactory(webhook=held): "paused",
        DeliveryFactory(webhook=free, reason="unrecorded"): "unrecorded",
        behind: "order",
        head: "",
        DeliveryFactory(webhook=free): "",
        DeliveryFactory(webhook=held, state="delivered", finished_at=timezone.now()): "",
    }
    rows = {row["Id"]: row for row in table(boss.post(url("delivery", "export")))}
    assert {pk: row["Held"] for pk, row in rows.items()} == {
        delivery.pk: reason for delivery, reason in known.items()
    }
    goes_out = {pk for pk, row in rows.items() if row["Next try, UTC"]}
    ends = [pk for pk, row in rows.items() if row["State"] == "Delivered"]
    assert goes_out == {pk for pk, row in rows.items() if not row["Held"]} - set(ends)
    shown = text_of(boss.get(url("delivery")))
    for reason in ("paused", "unrecorded", "order"):
        assert f"held: {reason}" in shown


@pytest.mark.once
def test_looking_takes_nothing(boss, everything):
    before = AuditEntry.objects.count()
    answer = boss.get(url("webhook", "export") + "?state=failing")
    assert (answer.status_code, answer["Location"]) == (302, url("webhook"))
    assert AuditEntry.objects.count() == before


@pytest.mark.once
def test_what_strangers_wrote_is_no_formula(boss, everything):
    WebhookFactory(account=everything.account, name='=HYPERLINK("https://evil.example")')
    DeliveryFactory(webhook=everything, reference="-1+1", type="@now")
    AttemptFactory(webhook=everything, kind="http_500", message="+1\r\n=2")
    for model in ("webhook", "delivery", "webhookerror"):
        query = "" if model == "webhook" else "?created=any"
        for row in table(boss.post(url(model, "export") + query)):
            for text in row.values():
                assert text[:1] not in tuple("=+-@\t\r"), (model, text)


def test_it_holds_what_the_filters_leave_on_all_pages_in_the_order_of_the_list(boss, account):
    for number in range(60):
        WebhookFactory(account=account, name=f"number {number:02}")
    WebhookFactory(account=AccountFactory(name="other"))
    rows = table(boss.post(url("webhook", "export") + "?account=acme&before=n50&sort=name"))
    assert [row["Name"] for row in rows] == [f"number {number:02}" for number in range(60)]
    place = rows[30]["Id"]
    assert len(table(boss.post(url("webhook", "export") + f"?account=acme&before={place}"))) == 60


@pytest.mark.once
def test_no_secret_and_no_path_of_a_url_is_in_it(boss, everything):
    WebhookFactory(account=everything.account, url="https://erp.example.com/hush?key=hush")
    text = str(table(boss.post(url("webhook", "export"))))
    assert "erp.example.com" in text
    for secret in ("hush", "Ämpel"):
        assert secret not in text


def test_of_very_many_the_first_are_taken_and_it_says_so(boss, account, monkeypatch):
    monkeypatch.setattr(export, "ROWS_MOST", 7)
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)
    made = [WebhookFactory(account=account).pk for _ in range(9)]
    rows = table(boss.post(url("webhook", "export")))
    assert [row["Id"] for row in rows] == sorted(made, reverse=True)[:7]
    assert "the first 7 rows" in AuditEntry.objects.latest("pk").action


def test_rows_cost_no_queries_of_their_own(boss, account, django_assert_max_num_queries):
    for _ in range(40):
        DeliveryFactory(webhook=WebhookFactory(account=account))
    for model in ("webhook", "delivery"):
        with django_assert_max_num_queries(20):
            assert len(table(boss.post(url(model, "export")))) == 40


@pytest.mark.once
def test_what_was_typed_is_not_in_the_audit_log(boss, everything):
    table(boss.post(url("delivery", "export") + "?q=hush&payload=hush&created=any"))
    action = AuditEntry.objects.latest("pk").action
    assert "hush" not in action
    assert "chosen by created, payload, search" in action
