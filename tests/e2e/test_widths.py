"""Any width, no script, paper: everything can be read and reached."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.browser import WAIT
from tests.e2e.conftest import page_of
from tests.e2e.world import World
from tests.factories import (
    AttemptFactory,
    DeliveryFactory,
    UserFactory,
    WebhookFactory,
    WorkerFactory,
)
from webhooks_app.admin.base import ConsoleAdmin

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LISTS = (
    *("webhook", "event", "delivery", "webhookerror", "job"),
    *("eventtype", "accesstoken", "account", "auditentry"),
)
# Cells of a table (not of cards) that are narrower than what stands in them, or than 56 px.
NARROW = """
() => [...document.querySelectorAll("#result_list tbody tr:first-of-type > [class*=field-]")]
  .filter((cell) => getComputedStyle(cell).display === "table-cell")
  .filter((cell) => cell.clientWidth < 56 || cell.scrollWidth > cell.clientWidth + 1)
  .map((cell) => `${cell.className}: ${cell.scrollWidth} of ${cell.clientWidth} px`)
"""
WORDS = "() => document.querySelector('#result_list td.field-webhook_').clientWidth"


# Fields for one line of text that are higher than that.
TALL = """
() => [...document.querySelectorAll("#content input.vTextField")]
  .map((field) => [field.name, field.clientHeight]).filter(([_, height]) => height > 60)
"""
# How much narrower than the page what is told of a webhook is.
SHORT = """
() => document.querySelector("#content-main").clientWidth
  - document.querySelector("#board").clientWidth
"""
# How far below the path above it the first word or button of a page begins.
BELOW = """
() => Math.min(...[...document.querySelectorAll("#content h1, #content .object-tools a")]
  .map((each) => each.getBoundingClientRect().top))
  - document.querySelector(".breadcrumbs").getBoundingClientRect().bottom
"""


@pytest.fixture
def webhook(transactional_db):
    WorkerFactory(seen_at=timezone.now() + timedelta(hours=1))
    return WebhookFactory(name="Orders")


def test_no_column_is_squeezed_beside_the_sidebar(
    page, sign_in, live_server, transactional_db, monkeypatch
):
    monkeypatch.setattr(ConsoleAdmin, "list_per_page", 6)  # a row is like the next
    sign_in(World().mira)
    mira = page
    for model in LISTS:
        mira.goto(f"{live_server.url}/admin/webhooks_app/{model}/")
        assert mira.locator("#result_list tbody tr").count(), model
        for width in (1024, 1100, 1180, 1280):
            mira.set_viewport_size({"width": width, "height": 900})
            assert mira.evaluate(NARROW) == [], (model, width)
            if model == "webhook":
                assert mira.evaluate(WORDS) > 130, width
    mira.goto(f"{live_server.url}/admin/webhooks_app/webhook/")
    mira.set_viewport_size({"width": 1100, "height": 900})
    head = mira.locator("#result_list thead th.column-webhook_")
    assert not head.is_visible(), "with the sidebar there is room for cards"
    mira.click("#toggle-nav-sidebar")
    head.wait_for(state="visible")
    assert mira.evaluate(NARROW) == []


def test_every_page_is_reached_without_a_script(chromium, live_server, webhook, sign_in, page):
    sign_in(UserFactory(is_superuser=True))
    cookies = page.context.cookies()
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900}, java_script_enabled=False
    )
    context.set_default_timeout(WAIT)
    context.add_cookies(cookies)
    plain = context.new_page()
    for place in ("", f"webhooks_app/webhook/{webhook.pk}/change/", "webhooks_app/delivery/"):
        plain.goto(f"{live_server.url}/admin/{place}")
        for name in ("Jobs", "Accounts", "Access tokens", "Audit log"):
            link = plain.locator("#nav-sidebar").get_by_role("link", name=name, exact=True)
            assert link.is_visible(), (place, name)
            box = link.bounding_box()
            assert box["x"] >= 0, (place, name)
    plain.get_by_role("link", name="Audit log", exact=True).click()
    plain.wait_for_url("**/auditentry/")
    context.close()


def test_a_delivery_on_paper_is_whole_and_dated(mira, live_server, webhook):
    now = timezone.now()
    body = b'{"lines": [' + b", ".join(b'"line %d of the order"' % n for n in range(300)) + b"]}"
    delivery = DeliveryFactory(webhook=webhook, payload=body, tries=1)
    AttemptFactory(webhook=webhook, delivery=delivery, ended_at=now - timedelta(minutes=5))
    mira.goto(page_of(live_server, delivery))
    mira.emulate_media(media="print")
    size = "(pre) => [pre.clientHeight + 2, pre.scrollHeight]"
    shown, whole = mira.locator("#request-body").evaluate(size)
    assert shown >= whole > 3000
    after = "(time) => getComputedStyle(time, '::after').content"
    dated = mira.locator("#attempts time").first.evaluate(after)
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", dated)
    for gone in ("#nav-sidebar", "#header", ".wh-acts", ".wh-copy"):
        assert not mira.locator(gone).first.is_visible(), gone
    assert mira.locator("#verdict").is_visible()
    for place in (f"webhook/{webhook.pk}/change/", "delivery/"):
        mira.goto(f"{live_server.url}/admin/webhooks_app/{place}")
        assert not mira.locator("#nav-sidebar").is_visible()


def test_a_long_url_leaves_the_banner_on_a_phone(mira, live_server, transactional_db):
    long = "https://erp.example.com/" + "a-very-long-path/" * 110 + "?tenant=eu"
    webhook = WebhookFactory(name="Long " * 60, url=long)
    mira.set_viewport_size({"width": 390, "height": 844})
    mira.goto(page_of(live_server, webhook))
    assert mira.locator("#verdict").bounding_box()["y"] < 600
    assert mira.input_value("#id_url") == long
    assert mira.evaluate("document.querySelector('#webhook-url').textContent") == long


def test_django_lays_out_our_pages_as_they_are_meant(mira, live_server, webhook):
    """Its own styles are not the same in every version."""
    mira.goto(page_of(live_server, webhook))
    assert mira.evaluate(TALL) == []
    assert mira.evaluate(SHORT) <= 0
    mira.goto(f"{live_server.url}/admin/webhooks_app/webhook/")
    assert mira.evaluate(BELOW) > 0
