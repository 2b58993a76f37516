"""A customer says that an order never reached him; all that staff know is its number."""

import pytest

from tests.browser import WAIT
from tests.e2e.conftest import follow, press, said
from tests.factories import AccountFactory, UserFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.models import Subscription

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LARGE = '{"total": {"$gte": 100}}'


@pytest.fixture
def customer(transactional_db):
    """One of three webhooks of an account: it wants large orders only."""
    account = AccountFactory(name="shop")
    for name, new in (
        ("Warehouse", [{"types": ["order.*"]}]),
        ("Customer X", [{"types": ["order.*"], "filter": {"total": {"$gte": 100}}}]),
        ("Customer Y", []),
    ):
        webhook = WebhookFactory(account=account, name=name)
        actions.set_subscriptions(webhook, new)
        if name == "Customer X":
            wanted = webhook
    Subscription.objects.update(valid_from="2026-01-01T00:00:00Z")
    for number, total in ((4710, 500), (4711, 99), (4712, 250)):
        body = {"order": number, "total": total}
        actions.publish(account, "order.paid", body, reference=f"order {number}")
    return wanted


def test_from_an_order_number_to_why_and_to_a_filter_that_takes_it(
    page, sign_in, live_server, customer
):
    sign_in(UserFactory(is_superuser=True))
    page.goto(f"{live_server.url}/admin/")
    follow(page.locator("#nav-sidebar").get_by_role("link", name="Events", exact=True))
    page.fill("#searchbar", "order 4711")
    with page.expect_navigation():
        page.press("#searchbar", "Enter")
    follow(page.get_by_role("link", name="order.paid"))
    without = page.locator("#why-not")
    [line] = without.locator("tr", has_text="Customer X").all()
    assert "Filtered out" in line.inner_text()
    assert "Its filter does not hold at /total/$gte" in line.inner_text()
    assert "Warehouse" not in without.inner_text()
    assert "Warehouse" in page.locator("#deliveries").inner_text()
    event = page.inner_text("#event-id")

    follow(line.get_by_role("link", name="Customer X"))
    panel = page.locator("#subscriptions")
    assert "$gte" in panel.locator("table").first.inner_text()
    panel.locator("summary").click()
    panel.locator("[name=subscriptions-0-filter]").fill('{"total": {"$gte": 90}}')
    panel.locator("[name=event]").fill(event)
    panel.locator("[name=history]").check()
    press(page, "Try")
    trial = page.locator("#trial").inner_text()
    assert "It would get this event, by subscription 1" in trial
    assert "Of the last 3 events it would have got 3." in trial
    assert actions.subscriptions(customer)[0]["filter"] == {"total": {"$gte": 100}}
    press(page, "Save subscriptions")
    assert "Saved: subscriptions." in said(page)
    assert actions.subscriptions(customer)[0]["filter"] == {"total": {"$gte": 90}}
    assert page.troubles == []


def test_subscriptions_are_tried_and_saved_without_a_script(
    chromium, page, sign_in, live_server, customer
):
    sign_in(UserFactory(is_superuser=True))
    context = chromium.new_context(java_script_enabled=False)
    context.set_default_timeout(WAIT)
    context.add_cookies(page.context.cookies())
    plain = context.new_page()
    plain.goto(f"{live_server.url}/admin/webhooks_app/webhook/{customer.pk}/change/")
    plain.click("#subscriptions summary")
    plain.fill("[name=type]", "order.paid")
    plain.fill("[name=payload]", '{"total": 5}')
    press(plain, "Try")
    assert "It would not get this event" in plain.inner_text("#trial")
    assert "Subscription 1: filter /total/$gte" in plain.inner_text("#trial")
    plain.fill("[name=subscriptions-1-types]", "invoice.*")
    press(plain, "Save subscriptions")
    types = [one["types"] for one in actions.subscriptions(customer)]
    assert types == [["order.*"], ["invoice.*"]]
    context.close()
