"""What staff do when a customer writes "your webhook does not arrive"."""

import re
from datetime import UTC, timedelta

import pytest
from django.utils import timezone

from tests.e2e.world import PASSWORD
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    HourlyCountFactory,
    UserFactory,
    WebhookFactory,
    WorkerFactory,
)
from tests.receivers import Answer, Receiver
from webhooks_app.models import Job, Webhook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("loopback")]

HEADERS = [("X-Tenant", "acme"), ("X-Api-Key", "key-4711"), ("X-Trace", "on")]


@pytest.fixture
def receiver():
    with Receiver(challenge=True, answer=500) as receiver:
        yield receiver


@pytest.fixture
def orders(transactional_db, receiver):
    """A webhook that has been failing for an hour and a half, with two deliveries given up."""
    now = timezone.now()
    WorkerFactory(seen_at=now + timedelta(hours=1))
    webhook = WebhookFactory(
        account=AccountFactory(name="acme"),
        name="Orders to ERP",
        url=receiver.url,
        headers=HEADERS,
        health={
            "failures_in_row": 7,
            "failing_since": now - timedelta(minutes=90),
            "last_error_at": now,
            "last_error_kind": "http_500",
            "last_error_message": "Request failed with status code 500",
        },
    )
    HourlyCountFactory(webhook=webhook, delivered=40, failed=2)
    for _ in range(2):
        delivery = DeliveryFactory(webhook=webhook, state="failed", finished_at=now, tries=8)
        AttemptFactory(webhook=webhook, delivery=delivery, kind="http_500", status=500)
    return webhook


@pytest.fixture
def home(live_server, page, orders):
    """The home page, logged in."""
    UserFactory(username="mira", is_superuser=True)
    page.goto(f"{live_server.url}/admin/")
    page.fill("#id_username", "mira")
    page.fill("#id_password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#verdict")
    return page


def shown(page):
    return int(re.search(r"(\d+) shown", page.inner_text(".wh-pager"))[1])


def tab_to(page, words, most=60):
    """Go on by the tabulator until what has the focus says these words."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "document.activeElement.ariaLabel || document.activeElement.innerText || ''"
        )
        if focused.strip().startswith(words):
            return
    raise AssertionError(f"{words} cannot be reached by {most} tabulators")


def test_from_the_home_page_to_the_reason_a_test_and_a_replay(home, orders, receiver):
    page = home
    assert "1 webhook is failing, the first since" in page.inner_text("#verdict")
    page.click("text=2 failed")
    assert shown(page) == 2
    page.go_back()
    page.click(".wh-attention a.wh-row")

    assert "Failing since" in page.inner_text("#verdict")
    assert "Send the owner the answer" in page.inner_text("#board")
    kept = page.locator("#id_name")
    kept.fill("typed and not saved yet")
    receiver.answer = Answer(status=200, body={"responses": []}, delay=0.5)
    page.get_by_role("button", name="Send test").click()
    assert re.match(r"Calling 127\.0\.0\.1:\d+, 10 s at most…", page.inner_text("#busy"))
    assert page.get_by_role("button", name="Send test").is_disabled()

    page.wait_for_selector("#answer")
    assert "HTTP 200" in page.inner_text("#answer")
    assert page.evaluate("document.activeElement.id") == "answer"
    assert "Working" in page.inner_text("#verdict")
    assert page.title().startswith("Working: Orders to ERP")
    assert kept.input_value() == "typed and not saved yet", "the form below is left alone"

    page.click("#do-replay")
    assert "2 deliveries" in page.inner_text("#content")
    page.get_by_role("button", name="Send").first.click()
    page.wait_for_selector(".messagelist")
    job = Job.objects.get()
    assert (job.verb, job.expected) == ("retry", 2)
    assert page.troubles == []


def test_pause_with_a_reason_resume_and_copy_as_curl(home, live_server, orders):
    page = home
    page.goto(f"{live_server.url}/admin/webhooks_app/webhook/{orders.pk}/change/")
    page.click("#ask-pause summary")
    page.fill("#note", "shop closed for the move")
    page.get_by_role("button", name="Pause now").click()
    page.wait_for_selector("text=Deliveries are kept and wait.")
    assert "Paused by mira since" in page.inner_text("#verdict")
    assert "“shop closed for the move”" in page.inner_text("#verdict")
    page.get_by_role("button", name="Copy as curl", exact=True).click()
    page.wait_for_selector("text=Copied to the clipboard.")
    curl = page.evaluate("navigator.clipboard.readText()")
    assert curl.startswith("curl --request POST")
    assert "X-Api-Key: ••••••••" in curl
    page.get_by_role("button", name="Resume").click()
    page.wait_for_selector("text=Enabled.")
    assert not Webhook.objects.get().stopped
    assert page.troubles == []


def test_headers_are_dragged_into_another_order(home, live_server, orders):
    page = home
    page.goto(f"{live_server.url}/admin/webhooks_app/webhook/{orders.pk}/change/")
    grips, rows = page.locator("tr.has_original .wh-grip"), page.locator("tr.has_original")
    grips.nth(2).scroll_into_view_if_needed()
    start, goal = grips.nth(2).bounding_box(), rows.nth(0).bounding_box()
    page.mouse.move(start["x"] + 5, start["y"] + 5)
    page.mouse.down()
    page.mouse.move(start["x"] + 5, rows.nth(1).bounding_box()["y"] + 8, steps=3)
    page.mouse.move(start["x"] + 5, goal["y"] + 8, steps=3)
    page.mouse.up()
    assert page.inner_text("#headers-status") == "X-Trace is now 1 of 4"
    page.get_by_role("button", name="Save and continue editing").click()
    page.wait_for_selector(".messagelist")
    saved = [(header.name, header.value) for header in Webhook.objects.get().headers.all()]
    assert saved == [HEADERS[2], HEADERS[0], HEADERS[1]]
    assert page.troubles == []


def test_times_are_those_of_the_reader_with_utc_beside(home, orders):
    at = timezone.now().astimezone(UTC)
    tile = home.locator(".wh-banner .wh-utc time")
    utc = re.search(r"\((\d\d):(\d\d):\d\d UTC\)", tile.inner_text())
    local = re.match(r"(\d\d):(\d\d)", tile.inner_text())
    ahead = (int(local[1]) * 60 + int(local[2])) - (int(utc[1]) * 60 + int(utc[2]))
    assert ahead % (24 * 60) == 330
    assert int(utc[1]) in (at.hour, (at.hour - 1) % 24)
    assert "Asia/" in home.inner_text("#times-zone")
    since = home.locator("[data-l=Since] time").first
    assert "UTC" not in since.inner_text()
    home.get_by_role("button", name="Show UTC beside each").click()
    assert "UTC)" in since.inner_text()
    home.reload()
    assert "UTC)" in since.inner_text(), "the choice is remembered"


def test_by_the_keyboard_alone(home, orders, receiver):
    """From the home page to the failing webhook, a test, a header moved, and saved."""
    page, press = home, home.keyboard.press
    receiver.answer = {"responses": []}
    tab_to(page, "Skip to main content")
    press("Enter")
    tab_to(page, "Orders to ERP", most=15)
    press("Enter")
    page.wait_for_selector("#board")

    tab_to(page, "Skip to main content")
    press("Enter")
    tab_to(page, "Send test", most=6)
    press("Enter")
    page.wait_for_selector("#answer")
    assert "HTTP 200" in page.inner_text("#answer")

    tab_to(page, "Move X-Api-Key up", most=60)
    press("Enter")
    assert page.inner_text("#headers-status") == "X-Api-Key is now 1 of 4"
    assert page.evaluate("document.activeElement.ariaLabel") == "Move X-Api-Key down"
    press("Shift+Tab")  # to the number in the row: Enter in a field saves the form
    press("Enter")
    page.wait_for_selector(".messagelist")
    assert Webhook.objects.get().headers.all()[0].name == "X-Api-Key"
    assert page.troubles == []
