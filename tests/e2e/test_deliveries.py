"""What an operator does with deliveries and jobs, in a real browser."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.e2e.conftest import follow, press, said
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    UserFactory,
    WebhookFactory,
    WorkerFactory,
)
from webhooks_app.engine.maintenance import jobs
from webhooks_app.models import Delivery, Job
from webhooks_app.rules.ids import new_id

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BODY = {"type": "order.cancelled", "data": {"order": {"number": "4711", "customer": "Jörg 😀"}}}
TRIES = (  # try, minutes ago, kind, status, message, phases
    (1, 40, "http_500", 500, "Request failed with status code 500", (2, 11, 38, 861, 1)),
    (2, 35, "timeout", None, "timeout of 10000ms exceeded", (None, None, None, 10000, None)),
    (3, 20, "refused", None, "connect ECONNREFUSED 198.51.100.7:443", (2, 1, None, None, None)),
    (4, 5, "http_500", 500, "Request failed with status code 500", (2, 12, 40, 841, 2)),
)


@pytest.fixture
def webhook(transactional_db):
    WorkerFactory(seen_at=timezone.now() + timedelta(hours=1))
    return WebhookFactory(
        account=AccountFactory(name="shop-prod"),
        name="Cancellations to billing",
        url="https://billing.shop.example/hooks/cancellations",
        token="hush",
        headers=[("X-Api-Key", "hush")],
    )


@pytest.fixture
def delivery(webhook):
    """Retrying after four tries, the last asked for by mira."""
    now = timezone.now()
    made = now - timedelta(minutes=40)
    row = DeliveryFactory(
        id=new_id(made.timestamp()),
        webhook=webhook,
        type="order.cancelled",
        reference="4711",
        payload=json.dumps(BODY).encode(),
        created_at=made,
        created_by="shop-prod live",
        due_at=now + timedelta(minutes=112),
        tries=4,
        last_status=500,
        last_error="Request failed with status code 500",
    )
    for number, ago, kind, status, message, phases in TRIES:
        dns, connect, tls, wait, read = phases
        AttemptFactory(
            webhook=webhook,
            delivery=row,
            number=number,
            ended_at=now - timedelta(minutes=ago),
            kind=kind,
            status=status,
            message=message,
            duration_ms=sum(phase or 0 for phase in phases),
            dns_ms=dns,
            connect_ms=connect,
            tls_ms=tls,
            wait_ms=wait,
            read_ms=read,
            address="198.51.100.7:443",
            requested_by="mira" if number == 4 else "",
            answer="Traceback (most recent call last):\n  <script>alert(1)</script>" * 8,
        )
    return row


@pytest.fixture
def console(page, sign_in, webhook):
    """The page, logged in."""
    sign_in(UserFactory(username="mira", is_superuser=True))
    return page


def test_a_delivery_tells_what_happened_and_is_sent_again_and_cancelled(
    console, live_server, delivery, webhook
):
    after = DeliveryFactory(webhook=webhook, last_error="socket hang up", tries=1)
    console.goto(f"{live_server.url}/admin/webhooks_app/delivery/?q=4711")
    follow(console.locator(f"#result_list a[href*='{delivery.pk}']"))
    assert console.title().startswith("Retrying: order.cancelled")
    seen = console.inner_text("#content")
    for words in (
        "Retrying: 4 of 8 tries failed",
        "broke off while connecting",
        "broke off while waiting for the answer",
        "kept connection",
        "retried by mira",
        "token=••••••••",
    ):
        assert words in seen, words
    assert console.locator("svg.wh-phases").count() == 4
    assert console.locator("rect.wh-ph-end").count() == 2

    follow(console.get_by_role("link", name="Timeout", exact=True))
    assert "Answer to try 2" in console.inner_text("#answer")
    follow(console.get_by_role("link", name="Raw", exact=True))
    assert "\\u00f6rg" in console.inner_text("#request-body")
    console.click("summary:has-text('As curl')")
    assert "--header 'X-Api-Key: ••••••••'" in console.inner_text("#curl")
    assert "hush" not in console.content()

    follow(console.get_by_role("link", name="Next failure ›"))
    assert after.pk in console.url
    follow(console.get_by_role("link", name="‹ Previous failure"))
    press(console, "Retry")
    assert "is due now" in said(console)
    console.click("summary:has-text('Cancel…')")
    press(console, "Cancel now")
    assert "is cancelled and will not be sent" in said(console)
    assert Delivery.objects.get(pk=delivery.pk).state == "cancelled"
    assert console.troubles == []


def test_all_that_match_are_sent_again_by_a_job(console, live_server, delivery, webhook):
    now = timezone.now()
    for number in range(60):
        DeliveryFactory(
            id=new_id(now.timestamp() - 600 + number),
            webhook=webhook,
            type="order.updated",
            state="failed",
            finished_at=now,
            tries=8,
            last_error="connect ECONNREFUSED 198.51.100.7:443",
        )
    console.goto(f"{live_server.url}/admin/webhooks_app/delivery/?webhook={webhook.pk}")
    follow(console.get_by_role("link", name="Gave up", exact=True))
    console.click("summary:has-text('More filters')")
    console.fill("#f-webhook", "cancell")
    found = console.locator("#f-webhook + datalist option")
    found.wait_for(state="attached")
    assert found.get_attribute("value") == webhook.pk
    console.check("#action-toggle")
    console.click("text=Select all that match, on every page")
    console.select_option("select[name=action]", label="Retry…")
    press(console, "Go")
    assert "60 deliveries" in console.inner_text("#content")
    console.fill("#pace", "25")
    press(console, "Replay 60")
    assert "Started: Replay" in said(console)

    job = Job.objects.get()
    assert jobs.step(job, timezone.now()) == 25
    console.wait_for_selector("text=25 of 60 queued again")  # by itself
    console.goto(f"{live_server.url}/admin/webhooks_app/delivery/?created=any")
    assert "25 of 60 queued again" in console.inner_text(".wh-job")
    follow(console.locator(".wh-job h2 a"))
    console.fill("#pace", "77")
    while job.is_open:
        job.refresh_from_db()
        jobs.step(job, timezone.now())
        job.refresh_from_db()
    # By itself: buttons and headline too.
    console.wait_for_selector("#verdict:has-text('0 of 60 arrived, the others are under way')")
    assert "60 of 60 queued again" in console.inner_text(".wh-job-live")
    assert console.get_by_role("button", name="Stop").count() == 0
    follow(console.get_by_role("link", name="Show them"))
    assert "50 shown, more below" in console.inner_text(".paginator")
    assert console.troubles == []


def test_new_ones_are_announced_and_no_row_moves(console, live_server, delivery, webhook):
    console.goto(f"{live_server.url}/admin/webhooks_app/delivery/")
    console.check("#follow")
    before = console.inner_text("#result_list")
    DeliveryFactory(webhook=webhook)
    DeliveryFactory(webhook=webhook)
    console.wait_for_selector("text=2 new")
    assert console.inner_text("#result_list") == before
    follow(console.locator("#follow-new"))
    assert "3 shown" in console.inner_text(".paginator")
    assert console.is_checked("#follow")
    assert console.troubles == []
