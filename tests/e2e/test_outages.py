"""An outage of a receiver, as staff meets it: whom it hits, since when, and everything that is done
about it, from the home page on."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.e2e.conftest import follow, page_of, press, said
from tests.factories import AccountFactory, DeliveryFactory, WebhookFactory, WorkerFactory
from tests.receivers import Receiver
from webhooks_app.models import Delivery, Job, Webhook

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("loopback"),
]


@pytest.fixture
def receiver():
    with Receiver(challenge=True, answer=503) as receiver:
        yield receiver


@pytest.fixture
def outage(transactional_db, receiver):
    """Three customers of one host that has answered 503 for a while."""
    now = timezone.now()
    WorkerFactory(seen_at=now + timedelta(hours=1))
    for name in ("acme", "northwind", "shop"):
        trouble = {
            "failures_in_row": 12,
            "failing_since": now - timedelta(minutes=18),
            "last_error_at": now,
            "last_error_kind": "http_502",
            "last_error_message": "Request failed with status code 503",
            "breaker_until": now + timedelta(minutes=5),
        }
        account = AccountFactory(name=name, contact_email=f"ops@{name}.example")
        webhook = WebhookFactory(
            account=account, name=f"Tickets of {name}", url=receiver.url, health=trouble
        )
        DeliveryFactory(webhook=webhook, reference=f"order-{name}")
        DeliveryFactory(webhook=webhook, state="failed", finished_at=now, reference="order-4711")
    return receiver.url.partition("://")[2].partition("/")[0]


def test_who_is_hit_since_when_and_whether_it_is_back(mira, live_server, outage, receiver):
    mira.goto(f"{live_server.url}/admin/")
    row = mira.locator(".wh-attention tbody tr")
    assert row.count() == 1
    assert "3 webhooks" in row.inner_text()
    follow(row.locator("a.wh-row"))
    assert "Failing: all 3 webhooks, since" in mira.inner_text("#verdict")
    assert "for all 3 customers" in mira.inner_text("#verdict")
    assert "ops@northwind.example" in mira.inner_text("#content")
    receiver.answer = {"responses": []}
    mira.click("#do-try")
    mira.wait_for_selector("#answer")
    assert "HTTP 200" in mira.inner_text("#answer")


def test_what_gave_up_is_replayed_for_all_customers(mira, live_server, outage):
    mira.goto(f"{live_server.url}/admin/")
    follow(mira.locator(".wh-attention").get_by_role("link", name="Replay…"))
    assert "A replay now will most likely not arrive" in mira.inner_text("#content")
    press(mira, "Replay 3 all the same")
    assert "Started: Replay" in said(mira)
    assert Job.objects.get().selection == {"host": outage, "state": "failed"}


def test_all_are_paused_with_a_reason_after_a_question(mira, live_server, outage):
    mira.goto(f"{live_server.url}/admin/webhooks_app/webhook/host/{outage}/")
    follow(mira.locator("#do-close-breakers"))
    press(mira, "Close 3 breakers")
    assert "Breakers closed: 3 webhooks" in said(mira)
    follow(mira.locator("#do-pause-all"))
    assert "Of 3 customers" in mira.inner_text("#content")
    mira.fill("#note", "their 503")
    press(mira, "Pause 3 webhooks")
    assert "Paused: 3 webhooks" in said(mira)
    assert Webhook.objects.filter(stopped_note="their 503").count() == 3


def test_an_order_is_found_from_anywhere_by_a_key(mira, live_server, outage):
    mira.goto(f"{live_server.url}/admin/auth/user/")
    mira.keyboard.press("/")
    mira.keyboard.type("4711")
    with mira.expect_navigation():
        mira.keyboard.press("Enter")
    found = mira.locator(".wh-hits").first
    assert found.get_by_role("link").count() == 3
    assert "shop" in found.inner_text()
    follow(found.get_by_role("link").first)
    assert "Gave up" in mira.inner_text("#verdict")
    mira.fill("#find-all", Delivery.objects.earliest("pk").pk)
    with mira.expect_navigation():
        mira.press("#find-all", "Enter")
    assert mira.url == page_of(live_server, Delivery.objects.earliest("pk"))


def test_our_side_is_one_click_from_home(mira, live_server, outage):
    mira.goto(f"{live_server.url}/admin/")
    follow(mira.locator("#our-side"))
    assert "Healthy: 1 worker alive" in mira.inner_text("#verdict")
    assert mira.locator("#nav-sidebar a").count() > 8
