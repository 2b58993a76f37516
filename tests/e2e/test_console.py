"""What an operator does in the console, in a real browser against a real server."""

import pytest
from django.contrib.auth import get_user_model

from tests.factories import AccountFactory
from tests.receivers import Receiver
from webhooks_app.models import Webhook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("loopback")]

HEADERS = [("X-Tenant", "acme"), ("X-Api-Key", "key-4711"), ("X-Trace", "on")]
TOKEN = "what! is = this?"


@pytest.fixture
def operator(transactional_db):
    return get_user_model().objects.create_superuser("mira", "", "secret-of-the-tests")


@pytest.fixture
def console(live_server, page, operator):
    """The page, logged in."""
    AccountFactory(name="acme")
    page.goto(f"{live_server.url}/admin/")
    page.fill("#id_username", operator.username)
    page.fill("#id_password", "secret-of-the-tests")
    page.click("input[type=submit]")
    page.wait_for_selector("#user-tools")
    return page


def add_webhook(page, live_server, url, headers=()):
    page.goto(f"{live_server.url}/admin/webhooks_app/webhook/add/")
    page.fill("#id_name", "Orders")
    page.fill("#id_url", url)
    page.fill("#id_new_token", TOKEN)
    for number, (name, value) in enumerate(headers):
        if not page.locator(f"#id_headers-{number}-name").count():
            page.click(".add-row a")
        page.fill(f"#id_headers-{number}-name", name)
        page.fill(f"#id_headers-{number}-new_value", value)


def press(page, name):
    """Press a button of the board and wait for the page that answers."""
    with page.expect_navigation():
        page.get_by_role("button", name=name, exact=True).click()


def test_add_a_webhook_with_three_headers_and_verify_it(console, live_server, shot):
    with Receiver(challenge=True, token=TOKEN) as receiver:
        add_webhook(console, live_server, receiver.url, HEADERS)
        shot("add")
        press(console, "Save and continue editing")
        assert "Not verified" in console.inner_text("#content")
        shot("added")

        press(console, "Verify")

        [asked] = receiver.wait(1)
    assert asked.query["token"] == [TOKEN]
    sent = {name.lower(): value for name, value in asked.headers}
    assert {name: sent[name.lower()] for name, _ in HEADERS} == dict(HEADERS)
    assert "Not verified" not in console.inner_text("#content")
    shot("verified")
    webhook = Webhook.objects.get()
    assert webhook.verified
    assert [(header.name, header.value) for header in webhook.headers.all()] == HEADERS
    assert not [secret for secret in (TOKEN, "key-4711") if secret in console.content()]
    assert console.troubles == []


def test_headers_are_moved_changed_and_removed(console, live_server, shot):
    add_webhook(console, live_server, "http://127.0.0.1:1/", HEADERS)
    press(console, "Save and continue editing")

    rows = console.locator("tr.has_original")
    rows.nth(2).locator("[data-move=up]").click()
    rows.nth(0).locator("input[name$=new_value]").fill("other")
    rows.nth(2).locator("input[name$=DELETE]").check()
    shot("headers")
    press(console, "Save and continue editing")

    headers = [(header.name, header.value) for header in Webhook.objects.get().headers.all()]
    assert headers == [("X-Tenant", "other"), ("X-Trace", "on")]
    assert console.troubles == []


def test_the_error_of_a_failing_webhook_is_seen_with_advice(console, live_server, shot):
    with Receiver(challenge=True, answer=500) as receiver:
        add_webhook(console, live_server, receiver.url)
        press(console, "Save and continue editing")
        press(console, "Verify")
        press(console, "Send test")

    seen = console.inner_text("#content")
    assert "Request failed with status code 500" in seen
    assert "Send the owner the answer, it holds their own error" in seen
    shot("failing")
    console.set_viewport_size({"width": 390, "height": 800})
    shot("failing-narrow")
    assert console.evaluate("document.documentElement.scrollWidth") <= 390
    console.set_viewport_size({"width": 1280, "height": 900})
    console.goto(f"{live_server.url}/admin/webhooks_app/webhook/")
    assert "Orders" in console.inner_text("#result_list")
    shot("list")
    assert console.troubles == []


def test_a_webhook_that_cannot_be_is_refused_beside_the_field(console, live_server, shot):
    add_webhook(console, live_server, "http://10.0.0.1/", [("Host", "other")])
    press(console, "Save")

    assert console.locator(".errorlist").count() >= 2
    shot("refused")
    assert not Webhook.objects.exists()


def test_the_home_page_leads_to_the_console(page, live_server, shot):
    page.goto(live_server.url)
    shot("home")
    page.click("#content >> text=Console")
    assert page.url.startswith(f"{live_server.url}/admin/")
    assert page.troubles == []
