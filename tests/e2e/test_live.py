"""Parts of a page that are fetched anew: what came of a verb, a verification, a job, new rows."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.e2e.conftest import follow, page_of, press, said
from tests.e2e.world import PASSWORD
from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    UserFactory,
    WebhookFactory,
    WorkerFactory,
)
from tests.receivers import Receiver
from tests.waiting import until
from webhooks_app import actions
from webhooks_app.models import Webhook, Worker

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("loopback")]


@pytest.fixture
def worker(transactional_db):
    return WorkerFactory(seen_at=timezone.now() + timedelta(hours=1))


@pytest.fixture
def receiver():
    with Receiver(challenge=True, answer={"responses": []}) as receiver:
        yield receiver


@pytest.fixture
def webhook(worker, receiver):
    return WebhookFactory(name="Orders", url=receiver.url, verified_at=None)


@pytest.fixture
def orders(mira, live_server, webhook):
    """Its page, with a name that was typed and not saved yet."""
    mira.goto(page_of(live_server, webhook))
    mira.fill("#id_name", "typed and not saved yet")
    return mira


def told(page, words, place="#busy"):
    page.wait_for_function(
        "([place, words]) => document.querySelector(place)?.textContent.includes(words)",
        arg=[place, words],
    )
    return page.inner_text(place)


def nothing_is_lost(page):
    assert "null" not in page.inner_text("body")
    assert page.input_value("#id_name") == "typed and not saved yet"
    assert page.get_by_role("button", name="Send test").is_enabled()
    assert not [words for words in page.troubles if not words.startswith("Failed to load")]


class TestAVerbWithoutItsAnswer:
    @pytest.mark.parametrize("verb", ["Send test", "Verify"])
    def test_a_session_that_ended_is_said_and_one_goes_on_after_the_log_in(
        self, orders, sign_in, webhook, verb
    ):
        orders.context.clear_cookies()
        orders.get_by_role("button", name=verb, exact=True).click()
        told(orders, "Your session has ended. Log in again in another tab")
        nothing_is_lost(orders)

        with orders.context.expect_page() as opened:
            orders.get_by_role("link", name="Log in again").click()
        other = opened.value
        other.fill("#id_username", "mira")
        other.fill("#id_password", PASSWORD)
        press(other, "Log in")
        assert "Settings" in other.inner_text("#head"), "the log-in leads to the page of it"
        orders.get_by_role("button", name=verb, exact=True).click()
        orders.wait_for_selector("#answer")
        assert "HTTP 200" in orders.inner_text("#answer")
        nothing_is_lost(orders)

    def test_a_webhook_that_was_deleted(self, orders, webhook):
        actions.delete_webhook(webhook)
        orders.get_by_role("button", name="Send test").click()
        told(orders, "It is not there any more: somebody has deleted it.")
        nothing_is_lost(orders)

    def test_a_permission_that_was_taken(self, orders, webhook):
        UserFactory._meta.model.objects.update(is_superuser=False)
        orders.get_by_role("button", name="Send test").click()
        told(orders, "You may not do this, or not any more.")
        nothing_is_lost(orders)

    @pytest.mark.parametrize("status", [502, 200])
    def test_an_answer_that_is_no_page_of_ours(self, orders, webhook, status):
        bad = {"status": status, "body": "<h1>Bad gateway</h1>", "content_type": "text/html"}
        orders.route("**/test/", lambda route: route.fulfill(**bad))
        orders.get_by_role("button", name="Send test").click()
        says = told(orders, "Load the page anew to see whether the call was made.")
        assert ("error (502)" in says) == (status == 502)
        nothing_is_lost(orders)

    def test_no_answer_at_all(self, orders):
        orders.route("**/test/", lambda route: route.abort())
        orders.get_by_role("button", name="Send test").click()
        told(orders, "This site gave no answer.")
        nothing_is_lost(orders)


def test_a_verb_in_the_address_leads_to_the_page_of_its_object(mira, live_server, webhook):
    delivery = DeliveryFactory(webhook=webhook)
    for row, verbs in ((webhook, ("test", "verify", "pause", "reveal")), (delivery, ("retry",))):
        for verb in verbs:
            mira.goto(page_of(live_server, row).replace("change", verb))
            assert mira.url == page_of(live_server, row), verb
    mira.goto(page_of(live_server, webhook).replace(webhook.pk, "f" * 24).replace("change", "test"))
    assert "There is nothing under this address" in mira.inner_text("main")


class TestAVerification:
    def add(self, page, live_server, url):
        AccountFactory(name="acme")
        page.goto(f"{live_server.url}/admin/webhooks_app/webhook/add/")
        page.fill("#id_name", "Orders")
        page.fill("#id_url", url)
        press(page, "Save")
        return Webhook.objects.get()

    def test_its_outcome_shows_by_itself(self, mira, live_server, worker, receiver):
        webhook = self.add(mira, live_server, receiver.url)
        assert "The worker verifies it now; the outcome shows here" in said(mira)
        mira.click("#ask-pause summary")
        mira.fill("#note", "typed meanwhile")
        actions.verify(webhook)  # as the worker does
        mira.wait_for_selector("#verdict:has-text('Nothing delivered yet')")
        assert "not verified" not in mira.inner_text("#head")
        assert mira.title().startswith("Nothing delivered yet: Orders")
        assert mira.locator(".messagelist").count() == 0, "what was said is over"
        assert mira.input_value("#note") == "typed meanwhile"
        assert mira.evaluate("document.activeElement.id") == "note"
        assert mira.troubles == []

    def test_what_was_asked_for_before_a_verb_does_not_take_its_answer_away(
        self, mira, live_server, worker, receiver
    ):
        self.add(mira, live_server, receiver.url)
        held = []
        mira.route("**/change/", lambda route: held.append(route))
        until(lambda: held or mira.wait_for_timeout(20), "the page looks again by itself")
        mira.get_by_role("button", name="Verify", exact=True).click()
        mira.wait_for_selector("#answer")
        with mira.expect_response("**/change/") as late:
            held[0].continue_()
        late.value.finished()
        mira.evaluate("fetch(location.href).then((answer) => answer.text())")
        assert mira.locator("#answer").count() == 1

    def test_so_does_its_failure(self, mira, live_server, worker, receiver):
        receiver.challenge, receiver.answer = False, 404
        webhook = self.add(mira, live_server, receiver.url)
        actions.verify(webhook)
        mira.wait_for_selector("#verdict:has-text('Not verified: no GET handler')")

    def test_nothing_is_promised_where_no_worker_lives(self, mira, live_server, db, receiver):
        self.add(mira, live_server, receiver.url)
        assert "It is verified as soon as a worker runs; none is alive." in said(mira)

    def test_the_line_above_follows_a_verification_by_hand(self, orders, webhook):
        assert "not verified" in orders.inner_text("#head")
        orders.get_by_role("button", name="Verify", exact=True).click()
        orders.wait_for_selector("#answer")
        # Near midnight with its day.
        assert re.search(r"· verified (\d+ \w+ )?[\d:]+", orders.inner_text("#head"))


def test_a_webhook_with_nothing_but_a_test_does_not_work_yet(orders, live_server, webhook):
    Webhook.objects.update(verified_at=timezone.now())
    orders.reload()
    orders.get_by_role("button", name="Send test").click()
    orders.wait_for_selector("#answer")
    assert "HTTP 200" in orders.inner_text("#answer")
    assert "Nothing delivered yet" in orders.inner_text("#verdict")
    assert "tests do not count" in orders.inner_text("#board")
    orders.goto(f"{live_server.url}/admin/")
    assert "work" not in orders.inner_text("#verdict").replace("webhook", "")


def test_the_next_attempt_of_a_delivery_shows_by_itself(mira, live_server, worker):
    webhook = WebhookFactory()
    delivery = DeliveryFactory(webhook=webhook, state="failed", finished_at=timezone.now(), tries=8)
    mira.goto(page_of(live_server, delivery))
    press(mira, "Retry")
    assert "the attempt shows below as soon as it was made" in said(mira)
    AttemptFactory(webhook=webhook, delivery=delivery, status=200)
    type(delivery).objects.update(state="delivered", finished_at=timezone.now(), tries=1)
    mira.wait_for_selector("#verdict:has-text('Delivered')")
    assert mira.locator(".wh-timeline li").count() == 1
    Worker.objects.update(seen_at=timezone.now() - timedelta(hours=1))
    press(mira, "Retry")
    assert "It is sent as soon as a worker runs" in said(mira)
    assert mira.troubles == []


class TestWhatIsFollowed:
    @pytest.fixture
    def job(self, webhook):
        DeliveryFactory(webhook=webhook, state="failed", finished_at=timezone.now())
        words = {"webhook": webhook.pk, "state": "failed"}
        return actions.create_job("retry", words, by="mira")

    def test_a_job_says_that_the_session_ended_until_one_has_logged_in(
        self, mira, live_server, job, sign_in
    ):
        for place in (page_of(live_server, job), f"{live_server.url}/admin/webhooks_app/delivery/"):
            mira.goto(place)
            mira.context.clear_cookies()
            lost = mira.wait_for_selector(".wh-lost")
            assert "Your session has ended." in lost.inner_text()
            assert "may be old" in lost.inner_text()
            sign_in(UserFactory._meta.model.objects.get(username="mira"))
            mira.wait_for_selector(".wh-lost", state="detached")

    def test_so_does_a_list_that_is_followed(self, mira, live_server, webhook):
        DeliveryFactory(webhook=webhook)
        mira.goto(f"{live_server.url}/admin/webhooks_app/delivery/")
        mira.check("#follow")
        mira.context.clear_cookies()
        assert "Your session has ended." in mira.wait_for_selector(".wh-lost").inner_text()
        mira.uncheck("#follow")
        mira.wait_for_selector(".wh-lost", state="detached")

    def test_a_name_is_typed_as_a_whole_where_none_can_be_looked_up(
        self, mira, live_server, worker
    ):
        AccountFactory(name="acme")
        mira.goto(f"{live_server.url}/admin/webhooks_app/webhook/")
        mira.context.clear_cookies()
        with mira.expect_response("**/autocomplete/**"):
            mira.fill("#account-filter", "acme")
        follow(mira.get_by_role("link", name="Webhooks", exact=True).first)
        assert not [words for words in mira.troubles if not words.startswith("Failed to load")]
