"""Lists for work, notes, and the record of a delivery, as staff use them."""

import csv
import json
import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone

from tests.e2e.conftest import follow, page_of, press, said
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    WebhookFactory,
    WorkerFactory,
)
from webhooks_app.models import AuditEntry, Note, Webhook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

REASON = "their server moves"


@pytest.fixture
def webhooks(transactional_db):
    """Alive, and of two customers; one has a name that a spreadsheet would run."""
    WorkerFactory(seen_at=timezone.now() + timedelta(hours=1))
    acme, shop = AccountFactory(name="acme"), AccountFactory(name="shop")
    return [
        WebhookFactory(account=acme, name="Zebra"),
        WebhookFactory(account=acme, name='=HYPERLINK("https://evil.example")'),
        WebhookFactory(account=shop, name="Ant"),
    ]


@pytest.fixture
def listed(mira, live_server, webhooks):
    mira.goto(f"{live_server.url}/admin/webhooks_app/webhook/")
    return mira


def names(page):
    return page.locator("#result_list .field-webhook_ a.wh-row").all_inner_texts()


def test_several_are_paused_with_a_reason_that_the_audit_log_keeps(listed, live_server, webhooks):
    listed.check("#action-toggle")
    listed.select_option("select[name=action]", label="Pause…")
    press(listed, "Go")
    assert listed.inner_text("#content h1") == "Pause 3 webhooks?"
    listed.fill("#note", REASON)
    press(listed, "Pause 3 webhooks")
    assert "Paused: 3 webhooks" in said(listed)
    assert set(Webhook.objects.values_list("stopped_note", flat=True)) == {REASON}
    listed.goto(f"{live_server.url}/admin/webhooks_app/auditentry/?did=paused")
    assert listed.inner_text("#result_list").count(f"Paused: {REASON}") == 3


def test_the_order_stands_in_the_address_and_goes_with_the_filters(listed):
    follow(listed.locator("#result_list thead").get_by_role("link", name="Webhook"))
    assert names(listed)[1:] == ["Ant", "Zebra"]
    assert listed.locator("th[aria-sort=ascending]").inner_text().startswith("Webhook")
    listed.fill("#account-filter", "acme")
    with listed.expect_navigation():
        listed.press("#account-filter", "Enter")
    words = parse_qs(urlsplit(listed.url).query)
    assert (words["sort"], words["account"]) == (["name"], ["acme"])
    assert names(listed)[1:] == ["Zebra"]
    listed.click(".wh-filter summary:has-text('Order')")
    follow(listed.get_by_role("link", name="newest first"))
    assert "sort" not in listed.url
    assert names(listed)[1:] == ["Zebra"]


def test_what_is_shown_is_taken_as_csv_of_text_alone(listed, tmp_path):
    with listed.expect_download() as started:
        listed.get_by_role("button", name="CSV of all pages").click()
    file = started.value
    assert re.fullmatch(r"webhooks-webhooks-[0-9-]+\.csv", file.suggested_filename)
    file.save_as(tmp_path / "list.csv")
    with (tmp_path / "list.csv").open(encoding="utf-8-sig", newline="") as text:
        rows = list(csv.DictReader(text))
    assert {row["Name"] for row in rows} == {
        *("Zebra", "Ant", '\'=HYPERLINK("https://evil.example")')
    }
    assert AuditEntry.objects.get().action == "Took webhooks as CSV: 3 rows."


def test_a_note_is_written_and_struck_out(mira, live_server, webhooks):
    mira.goto(page_of(live_server, webhooks[0]))
    mira.click("#notes summary")
    mira.fill("#note-text", "Their owner is on leave until Monday.")
    press(mira, "Note it")
    assert "on leave until Monday" in mira.inner_text("#notes")
    assert "mira" in mira.inner_text("#notes")
    follow(mira.locator("#notes").get_by_role("button", name=re.compile("Strike out")))
    assert "on leave" not in mira.inner_text("#content")
    assert not Note.objects.exists()


def test_the_record_of_a_delivery_is_printed_saved_and_copied(
    mira, live_server, webhooks, tmp_path
):
    now = timezone.now()
    delivery = DeliveryFactory(
        webhook=webhooks[0], state="delivered", finished_at=now, reference="4711", tries=1
    )
    AttemptFactory(webhook=webhooks[0], delivery=delivery, status=200, address="192.0.2.1:443")
    mira.goto(page_of(live_server, delivery))
    press(mira, "Record")
    assert mira.inner_text("#content h1") == f"Record of delivery {delivery.pk}"
    record = mira.inner_text("#record")
    assert re.search(r"Delivered\s+20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC, try 1", record)

    mira.evaluate("window.print = () => { window.printed = true; }")
    mira.get_by_role("button", name="Print").click()
    assert mira.evaluate("window.printed")
    mira.emulate_media(media="print")
    assert mira.locator("#record").is_visible()
    for gone in ("#header", "#nav-sidebar", ".wh-recordacts", ".breadcrumbs"):
        assert not mira.locator(gone).first.is_visible(), gone
    mira.emulate_media(media="screen")

    mira.get_by_role("button", name="Copy as text").click()
    mira.get_by_role("button", name="Copied").wait_for()
    copied = mira.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"Record of delivery {delivery.pk}\n")
    with mira.expect_download() as started:
        mira.get_by_role("button", name="Save as JSON").click()
    started.value.save_as(tmp_path / "record.json")
    saved = json.loads((tmp_path / "record.json").read_text())
    assert (saved["reference"], saved["delivered"]["status"]) == ("4711", 200)
    assert mira.troubles == []
