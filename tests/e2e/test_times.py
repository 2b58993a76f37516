"""Times that are typed and shown: in the zone of the reader, and never silently misread."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from tests.e2e.conftest import follow, page_of, press
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    WebhookFactory,
    WorkerFactory,
)
from webhooks_app import actions
from webhooks_app.models import AccessToken

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LISTS = {"delivery": "created", "attempt": "started", "webhookerror": "started"}


@pytest.fixture
def webhook(transactional_db):
    WorkerFactory(seen_at=timezone.now() + timedelta(hours=1))
    return WebhookFactory(name="Orders", account=AccountFactory(name="acme"))


@pytest.fixture
def made(webhook):
    """Something of 15:45 UTC, 21:15 in the zone of the reader, the day before yesterday."""
    at = (timezone.now() - timedelta(days=2)).replace(hour=15, minute=45, second=0, microsecond=0)
    delivery = DeliveryFactory(webhook=webhook, created_at=at)
    AttemptFactory(webhook=webhook, delivery=delivery, ended_at=at, kind="timeout")
    return at


@pytest.mark.parametrize("model", LISTS)
class TestALimitInTime:
    def test_is_typed_in_the_zone_that_the_list_shows(self, mira, live_server, made, model):
        mira.goto(f"{live_server.url}/admin/webhooks_app/{model}/?created=any")
        mira.click("summary:has-text('More filters')")
        label = mira.inner_text("label[for=f-since]")
        assert re.search(r"from, Asia/\w+$", label), label
        mira.fill("#f-since", f"{made:%Y-%m-%d}T21:10")
        mira.fill("#f-until", f"{made:%Y-%m-%d}T21:20")
        press(mira, "Filter")
        assert f"since={made:%Y-%m-%d}T15%3A40%3A00Z" in mira.url
        assert "1 shown" in mira.inner_text(".wh-pager")
        assert "21:15:00" in mira.inner_text("#result_list")
        assert mira.input_value("#f-since").startswith(f"{made:%Y-%m-%d}T21:10")
        assert "21:10:00" in mira.inner_text(".wh-chip:has-text('Since')")
        mira.fill("#f-until", f"{made:%Y-%m-%d}T21:14")
        press(mira, "Filter")
        assert "Nothing here matches" in mira.inner_text(".wh-empty")
        assert mira.troubles == []


def test_what_cannot_be_read_is_said(mira, live_server, made):
    for model in LISTS:
        for name, nonsense in (("since", "29.11.2026 21:00"), ("until", "yesterday")):
            mira.goto(f"{live_server.url}/admin/webhooks_app/{model}/?{name}={nonsense}&status=abc")
            says = mira.locator("[role=alert]").all_inner_texts()
            said = "\n".join(says)
            assert f"“{nonsense}” is no time that can be read" in said, (model, name)
            assert "2026-11-29T21:00" in said
            assert "abc" in said


def test_the_counts_beside_the_chips_follow_search_and_account(mira, live_server, webhook):
    other = AccountFactory(name="other")
    broken = {"failures_in_row": 7, "failing_since": timezone.now()}
    for account, name in ((webhook.account, "Alpha"), (other, "Beta"), (other, "Gamma")):
        WebhookFactory(account=account, name=name, health=broken)
    deleted = WebhookFactory(account=other, name="Beta, the old one")
    actions.delete_webhook(deleted)

    def chips(query):
        mira.goto(f"{live_server.url}/admin/webhooks_app/webhook/{query}")
        return mira.inner_text(".wh-chips")

    assert "Failing 3" in chips("")
    assert "Failing 2" in chips("?account=other")
    found = chips("?account=other&q=beta")
    assert "Failing 1" in found
    assert "Deleted 1" in found
    assert "Failing 1" in chips("?q=alpha&state=paused")
    assert "Deleted 1" not in chips("?q=alpha")


def test_a_job_speaks_of_times_in_the_zone_of_the_reader(mira, live_server, webhook, made):
    words = {"webhook": webhook.pk, "since": f"{made:%Y-%m-%d}T15:40:00Z"}
    job = actions.create_job("retry", words, by="mira")
    mira.goto(page_of(live_server, job))
    head = mira.inner_text("#content .wh-h1")
    assert "21:10:00" in head
    assert "UTC" not in head
    assert "UTC" not in mira.title()
    follow(mira.get_by_role("link", name=re.compile("^deliveries of Orders")))
    assert "1 shown" in mira.inner_text(".wh-pager")


def test_in_the_last_hours_of_a_year_what_comes_after_them_has_its_time(mira, live_server, webhook):
    at = datetime(timezone.now().year + 1, 1, 1, 0, 10, tzinfo=UTC)
    webhook.stopped, webhook.stopped_at = "paused", at
    webhook.save()
    mira.clock.set_fixed_time(at - timedelta(hours=9))  # half past eight in the zone of the reader
    mira.goto(page_of(live_server, webhook))
    assert mira.locator("#verdict time").first.inner_text().startswith("1 Jan 05:40:00")


def test_a_token_expires_when_the_reader_says(mira, live_server, webhook):
    mira.goto(f"{live_server.url}/admin/webhooks_app/accesstoken/add/")
    mira.fill("#id_name", "shop")
    mira.fill("#id_expires_at", "2030-01-02T03:30")
    assert "Asia/" in mira.inner_text(".field-expires_at")
    press(mira, "Save")
    token = AccessToken.objects.get()
    assert token.expires_at == datetime(2030, 1, 1, 22, 0, tzinfo=UTC)
    assert mira.troubles == []
