"""What staff do when a customer writes "your webhook does not arrive"."""

import re
import threading
from datetime import UTC, timedelta

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from tests.e2e.conftest import follow, page_of, press, said
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
from tests.receivers import Receiver
from tests.waiting import PATIENCE
from webhooks_app.models import AccessToken, Job, Webhook, Worker
from webhooks_app.roles import make_roles

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("loopback")]

HEADERS = [("X-Tenant", "acme"), ("X-Api-Key", "key-4711"), ("X-Trace", "on")]
TOKEN = "what! is = this?"


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
        timeout=60,
        headers=HEADERS,
        health={
            "last_success_at": now - timedelta(minutes=91),
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
    body = b'{"text": "Order for Ada"}'
    found = {"type": "order.created", "reference": "order 4711", "payload": body}
    DeliveryFactory(webhook=webhook, state="delivered", finished_at=now, **found)
    return webhook


@pytest.fixture
def home(live_server, mira, orders):
    mira.goto(f"{live_server.url}/admin/")
    return mira


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
    follow(page.get_by_role("link", name="2 failed"))
    assert shown(page) == 2
    page.go_back()
    follow(page.locator(".wh-attention a.wh-row"))

    assert "Failing since" in page.inner_text("#verdict")
    assert "Send the owner the answer" in page.inner_text("#board")
    follow(page.locator("#see-call"))
    assert "Server error (5xx)" in page.inner_text("#content")
    page.go_back()
    kept = page.locator("#id_name")
    kept.fill("typed and not saved yet")
    looked = threading.Event()
    receiver.answer = lambda request: looked.wait(PATIENCE) and {"responses": []}
    page.get_by_role("button", name="Send test").click()
    assert re.match(r"Calling 127\.0\.0\.1:\d+, 60 s at most…", page.inner_text("#busy"))
    assert page.get_by_role("button", name="Send test").is_disabled()
    looked.set()

    page.wait_for_selector("#answer")
    assert "HTTP 200" in page.inner_text("#answer")
    assert page.evaluate("document.activeElement.id") == "answer"
    assert "Working" in page.inner_text("#verdict")
    assert page.title().startswith("Working: Orders to ERP")
    assert kept.input_value() == "typed and not saved yet", "the form below is left alone"

    follow(page.locator("#do-replay"))
    assert "2 deliveries" in page.inner_text("#content")
    follow(page.get_by_role("link", name="in 24 hours"))
    press(page, "Replay 2")
    job = Job.objects.get()
    assert (job.verb, job.expected) == ("retry", 2)
    assert set(job.selection) == {"webhook", "failed_since"}
    assert page.troubles == []


def test_pause_with_a_reason_resume_and_copy_as_curl(home, live_server, orders):
    page = home
    page.goto(page_of(live_server, orders))
    page.click("#ask-pause summary")
    page.fill("#note", "shop closed for the move")
    press(page, "Pause now")
    assert "Deliveries are kept and wait." in said(page)
    assert "Paused by mira since" in page.inner_text("#verdict")
    assert "“shop closed for the move”" in page.inner_text("#verdict")
    page.get_by_role("button", name="Copy as curl", exact=True).click()
    page.wait_for_selector("text=Copied to the clipboard.")
    curl = page.evaluate("navigator.clipboard.readText()")
    assert curl.startswith("curl --request POST")
    assert "X-Api-Key: ••••••••" in curl
    press(page, "Resume")
    assert "Resumed." in said(page)
    assert not Webhook.objects.get().stopped
    assert page.troubles == []


def test_a_webhook_is_added_verified_and_its_headers_put_in_order(mira, live_server):
    page = mira
    AccountFactory(name="acme")
    WorkerFactory(seen_at=timezone.now() + timedelta(hours=1))
    with Receiver(challenge=True, token=TOKEN) as receiver:
        page.goto(f"{live_server.url}/admin/webhooks_app/webhook/add/")
        page.fill("#id_name", "Orders")
        page.fill("#id_url", receiver.url)
        page.fill("#id_new_token", TOKEN)
        for number, (name, value) in enumerate(HEADERS):
            page.fill(f"#id_headers-{number}-name", name)
            page.fill(f"#id_headers-{number}-new_value", value)
        press(page, "Save")
        assert "The worker verifies it now" in said(page)
        assert "Not verified" in page.inner_text("#verdict")
        page.get_by_role("button", name="Verify", exact=True).click()
        page.wait_for_selector("#answer")
        [asked] = receiver.wait(1)
    assert asked.query["token"] == [TOKEN]
    sent = {name.lower(): value for name, value in asked.headers}
    assert {name: sent[name.lower()] for name, _ in HEADERS} == dict(HEADERS)
    webhook = Webhook.objects.get()
    assert webhook.verified
    assert not [secret for secret in (TOKEN, "key-4711") if secret in page.content()]

    grips, rows = page.locator("tr.has_original .wh-grip"), page.locator("tr.has_original")
    grips.nth(2).scroll_into_view_if_needed()
    start, goal = grips.nth(2).bounding_box(), rows.nth(0).bounding_box()
    page.mouse.move(start["x"] + 5, start["y"] + 5)
    page.mouse.down()
    page.mouse.move(start["x"] + 5, rows.nth(1).bounding_box()["y"] + 8, steps=3)
    page.mouse.move(start["x"] + 5, goal["y"] + 8, steps=3)
    page.mouse.up()
    assert page.inner_text("#headers-status") == "X-Trace is now 1 of 4"
    rows.nth(1).locator("input[name$=new_value]").fill("other")
    rows.nth(2).locator("input[name$=DELETE]").check()
    press(page, "Save")
    assert "Saved: headers." in said(page)
    saved = [(header.name, header.value) for header in webhook.headers.all()]
    assert saved == [HEADERS[2], ("X-Tenant", "other")]
    assert page.troubles == []


def test_a_webhook_that_cannot_be_is_refused_beside_the_field(mira, live_server):
    AccountFactory(name="acme")
    mira.goto(f"{live_server.url}/admin/webhooks_app/webhook/add/")
    mira.fill("#id_name", "Orders")
    mira.fill("#id_url", "http://10.0.0.1/")
    mira.fill("#id_headers-0-name", "Host")
    mira.fill("#id_headers-0-new_value", "other")
    press(mira, "Save")
    assert mira.locator(".form-row.field-url .errorlist, .field-url .errorlist").count()
    assert mira.locator(".errorlist").count() >= 2
    assert not Webhook.objects.exists()


def test_a_token_is_replaced_and_a_secret_is_revealed_with_a_note_in_the_log(
    home, live_server, orders
):
    page = home
    follow(page.get_by_role("link", name="Orders to ERP"))
    page.get_by_role("link", name="Settings", exact=True).click()
    page.fill("#id_new_token", TOKEN)
    press(page, "Save")
    assert "Saved: token. The worker verifies it now" in said(page)
    assert TOKEN not in page.content()
    press(page, "Reveal")
    assert page.input_value("#secret") == TOKEN
    page.goto(f"{live_server.url}/admin/webhooks_app/webhook/{orders.pk}/history/")
    assert "Revealed the token" in page.inner_text("#content")
    assert TOKEN not in page.content()
    assert page.troubles == []


def test_a_deleted_webhook_is_brought_back(home, live_server, orders):
    page = home
    page.goto(page_of(live_server, orders))
    follow(page.get_by_role("link", name="Delete", exact=True))
    assert "it can be brought back" in page.inner_text("#content")
    press(page, "Delete it")
    follow(page.get_by_role("link", name="Undo…").first)
    press(page, "Bring it back")
    assert "Not verified" in page.inner_text("#board") or "Paused" in page.inner_text("#board")
    assert Webhook.objects.live().get() == orders


def test_an_access_token_is_shown_once_copied_and_revoked(mira, live_server):
    page = mira
    AccountFactory(name="acme")
    page.goto(f"{live_server.url}/admin/webhooks_app/accesstoken/add/")
    page.fill("#id_name", "shop")
    press(page, "Save")
    page.get_by_role("button", name="Copy", exact=True).first.click()
    page.wait_for_function("document.querySelector('#copied').textContent")
    secret = page.evaluate("navigator.clipboard.readText()")
    assert AccessToken.objects.for_secret(secret)
    follow(page.get_by_role("link", name="I have stored it"))
    follow(page.get_by_role("link", name="shop"))
    assert secret not in page.content()
    page.click("summary:has-text('Revoke…')")
    press(page, "Revoke now")
    assert "It is refused from now on." in said(page)
    assert AccessToken.objects.get().revoked_at
    assert page.troubles == []


def test_a_viewer_sees_why_and_no_button(page, sign_in, live_server, orders):
    make_roles("default")
    viewer = UserFactory()
    viewer.groups.add(Group.objects.get(name="Webhooks viewer"))
    sign_in(viewer)
    page.goto(page_of(live_server, orders))
    assert "Send the owner the answer" in page.inner_text("#board")
    assert "You may look only" in page.inner_text("#board")
    assert page.locator("#content button:visible:not([data-copy]):not(#times-zone *)").count() == 0
    assert page.locator("#content input[type=submit]").count() == 0


def test_a_certificate_that_ends_soon_and_the_addresses_the_owner_lets_in(
    mira, live_server, transactional_db, settings
):
    page, now = mira, timezone.now()
    settings.WEBHOOKS_EGRESS_ADDRESSES = "203.0.113.7"
    refused = {
        "failures_in_row": 7,
        "failing_since": now,
        "last_error_at": now,
        "last_error_kind": "connect_timeout",
        "last_error_message": "timeout of 10000ms exceeded",
        "certificate_ends_at": now + timedelta(days=9, hours=1),
    }
    webhook = WebhookFactory(name="Orders to ERP", health=refused)
    AttemptFactory(webhook=webhook, kind="connect_timeout")
    page.goto(f"{live_server.url}/admin/")
    ends = page.locator("section:has(#certificates)")
    assert "certificate ends in 9 days" in ends.inner_text()
    follow(ends.get_by_role("link", name="In the list of the webhooks"))
    assert shown(page) == 1
    follow(page.locator("#result_list").get_by_role("link", name="Orders to ERP"))
    assert "Ask the owner to renew it" in page.inner_text("#certificate")
    assert "We call from 203.0.113.7." in page.inner_text(".wh-banner")
    follow(page.locator("#see-call"))
    assert "We call from 203.0.113.7." in page.inner_text("#content")
    assert page.troubles == []


def test_every_page_says_that_no_worker_is_alive(home, live_server):
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    for place in ("", "webhooks_app/webhook/", "webhooks_app/accesstoken/add/", "auth/user/"):
        home.goto(f"{live_server.url}/admin/{place}")
        assert "No worker is alive since" in home.inner_text("[role=alert]"), place


def test_times_are_those_of_the_reader_with_utc_beside(home, orders):
    at = timezone.now().astimezone(UTC)
    tile = home.locator(".wh-banner .wh-utc time")
    # The day stands before it where the reader has another one by then.
    utc = re.search(r"\((?:.+ )?(\d\d):(\d\d):\d\d UTC\)", tile.inner_text())
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


def test_by_the_keyboard_alone(page, live_server, orders, receiver):
    """Log in, see why, test, move a header, save, pause with a reason, resume, replay, find."""
    UserFactory(username="mira", is_superuser=True)
    press, write = page.keyboard.press, page.keyboard.type
    receiver.answer = {"responses": []}

    def enter():
        with page.expect_navigation():
            press("Enter")

    def to_main(words, most=20):
        tab_to(page, "Skip to main content")
        press("Enter")
        tab_to(page, words, most)

    page.goto(f"{live_server.url}/admin/")
    # The browser puts the focus there when it first draws the page.
    page.wait_for_function("document.activeElement.name === 'username'")
    write("mira")
    press("Tab")
    write(PASSWORD)
    enter()
    to_main("Orders to ERP")
    enter()

    to_main("Send test")
    press("Enter")
    page.wait_for_selector("#answer")
    assert "HTTP 200" in page.inner_text("#answer")

    tab_to(page, "Move X-Api-Key up", most=60)
    press("Enter")
    assert page.inner_text("#headers-status") == "X-Api-Key is now 1 of 4"
    assert page.evaluate("document.activeElement.ariaLabel") == "Move X-Api-Key down"
    press("Shift+Tab")  # to the number in the row: Enter in a field saves the form
    enter()
    assert Webhook.objects.get().headers.all()[0].name == "X-Api-Key"

    to_main("Pause…")
    press("Enter")
    press("Tab")
    write("owner told")
    enter()
    assert "“owner told”" in page.inner_text("#verdict")
    to_main("Resume")
    enter()
    to_main("Replay 2 that gave up…")
    enter()
    to_main("in the last hour")
    enter()
    to_main("Replay 2", most=60)  # each part of a typed moment is a stop
    enter()
    assert "Started: Replay" in said(page)

    tab_to(page, "Deliveries")
    enter()
    for _ in range(60):
        press("Tab")
        if page.evaluate("document.activeElement.id") == "searchbar":
            break
    write("order 4711")
    enter()
    tab_to(page, "Skip to the list")
    press("Enter")
    tab_to(page, "order.created", most=30)
    enter()
    assert "Order for Ada" in page.inner_text("#request-body")
    assert page.troubles == []


def test_the_home_page_leads_to_the_console(page, live_server, transactional_db):
    page.goto(live_server.url)
    follow(page.locator("#content").get_by_role("link", name="Console", exact=True))
    assert page.url.startswith(f"{live_server.url}/admin/")
    assert page.troubles == []
