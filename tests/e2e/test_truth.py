"""The console says what is true, and what helps first."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.e2e.conftest import follow, page_of, press
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory, WorkerFactory

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOW = timezone.now()


@pytest.fixture
def worker(transactional_db):
    return WorkerFactory(seen_at=timezone.now() + timedelta(hours=1))


def failing(kind, message, hours=18, **health):
    """The health of a webhook that fails since so many hours."""
    now = timezone.now()
    return {
        "failures_in_row": 14,
        "failing_since": now - timedelta(hours=hours),
        "last_error_at": now,
        "last_error_kind": kind,
        "last_error_message": message,
        **health,
    }


@pytest.fixture
def tripped(worker):
    """Failing for an expired certificate, its breaker open; one delivery waits."""
    until = timezone.now() + timedelta(minutes=10)
    health = failing("tls_expired", "certificate has expired", breaker_until=until)
    webhook = WebhookFactory(name="CRM sync", health=health)
    AttemptFactory(
        webhook=webhook,
        kind="tls_expired",
        message="certificate has expired",
        answer='{"error": "renew me"}',
    )
    DeliveryFactory(webhook=webhook, tries=1, due_at=timezone.now() + timedelta(minutes=2))
    return webhook


class TestAnOpenBreaker:
    def test_does_not_hide_since_when_why_and_what_to_do(self, mira, live_server, tripped):
        mira.goto(page_of(live_server, tripped))
        says = mira.inner_text(".wh-banner")
        order = [
            "Failing since",
            "(18 h): certificate expired",
            "certificate has expired",
            '{"error": "renew me"}',
            "What to do: Ask the owner to renew it.",
            "14 calls in a row failed, so calls rest until",
            "Send test",
            "Close breaker now",
        ]
        places = [says.find(words) for words in order]
        assert -1 not in places, (says, places)
        assert places == sorted(places)
        assert "Nothing is lost: 1 delivery waits" in says
        assert "Nothing" not in says.replace("Nothing is lost", "")
        assert mira.title().startswith("Failing: CRM sync")
        filled = mira.locator(".wh-banner .wh-btn-1")
        assert filled.all_inner_texts() == ["Send test"]

    def test_says_nothing_is_lost_only_where_nothing_gave_up(self, mira, live_server, tripped):
        DeliveryFactory(webhook=tripped, state="failed", finished_at=timezone.now())
        mira.goto(page_of(live_server, tripped))
        says = mira.inner_text(".wh-banner")
        assert "1 delivery waits and goes out by itself" in says
        assert "1 delivery gave up and is not sent again unless somebody replays it" in says
        assert "Nothing is lost" not in says

    def test_is_failing_in_every_list_and_holds_what_waits(self, mira, live_server, tripped):
        mira.goto(f"{live_server.url}/admin/")
        assert "1 webhook is failing" in mira.inner_text("#verdict")
        mira.goto(f"{live_server.url}/admin/webhooks_app/webhook/?state=failing")
        row = mira.inner_text("#result_list tbody")
        assert "Failing" in row
        assert "rests until" in row
        delivery = tripped.deliveries.get()
        mira.goto(page_of(live_server, delivery))
        assert "calls rest after many failures" in mira.inner_text("#verdict")
        mira.goto(f"{live_server.url}/admin/webhooks_app/delivery/?state=held")
        assert "1 shown" in mira.inner_text(".wh-pager")
        assert mira.troubles == []


class TestTheHomePage:
    def test_counts_all_that_deliver_nothing_and_leads_to_them(self, mira, live_server, worker):
        now = timezone.now()
        for hours in (1, 2):
            WebhookFactory(health=failing("http_500", "status 500", hours))
        WebhookFactory(verified_at=None)
        for days, reason in ((0, "gone"), (40, "failing")):
            WebhookFactory(name=f"Stopped {days}", stopped=reason, stopped_at=now - timedelta(days))
        for _ in range(3):
            WebhookFactory(stopped="paused", stopped_by="mira", stopped_at=now)
        for _ in range(2):
            WebhookFactory(health={"last_success_at": now})
        mira.goto(f"{live_server.url}/admin/")
        assert mira.inner_text("#verdict") == "8 of 10 webhooks deliver nothing"
        says = mira.inner_text(".wh-banner")
        for words in (
            "2 webhooks are failing",
            "1 webhook is not verified",
            "2 webhooks are stopped (1 of them in the last 24 hours)",
            "3 webhooks are paused",
            "2 webhooks work",
            "The first fails since",
        ):
            assert words in says, words
        assert "All others work" not in says
        table = mira.inner_text(".wh-attention")
        assert "Stopped 0" in table
        assert "the receiver says it is gone (410)" in table
        assert "Stopped 40" not in table
        follow(mira.locator("#verdict a"))
        assert "8 shown" in mira.inner_text(".wh-pager")

    def test_says_that_we_are_late_before_that_all_works(self, mira, live_server, worker):
        webhook = WebhookFactory(health={"last_success_at": timezone.now()})
        due = timezone.now() - timedelta(hours=7)
        DeliveryFactory(webhook=webhook, due_at=due)
        mira.goto(f"{live_server.url}/admin/")
        verdict = mira.inner_text("#verdict")
        assert verdict == "1 delivery is late: the oldest should have gone out 7 h ago"
        assert mira.locator(".wh-banner.wh-t-bad").count()
        assert "keeps up" not in mira.inner_text(".wh-banner")

    def test_its_title_holds_no_time_of_another_zone(self, mira, live_server, worker):
        WebhookFactory(health=failing("http_500", "status 500"))
        mira.goto(f"{live_server.url}/admin/")
        assert mira.title() == "1 webhook is failing | Webhooks console"


def test_a_pause_asks_for_its_reason_keeps_it_and_forgets_no_failure(mira, live_server, tripped):
    mira.goto(page_of(live_server, tripped))
    assert mira.get_by_role("button", name="Clear error").count() == 0, "it still fails"
    follow(mira.get_by_role("link", name="Delete", exact=True))
    assert "1 delivery that waits for it is cancelled" in mira.inner_text("#content")

    mira.goto(f"{live_server.url}/admin/webhooks_app/webhook/")
    mira.check("#action-toggle")
    mira.select_option("select[name=action]", "pause_")
    press(mira, "Go")
    tripped.refresh_from_db()
    assert not tripped.stopped, "it is asked first"
    mira.fill("#note", "shop closed for the move")
    press(mira, "Pause 1 webhook")
    tripped.refresh_from_db()
    assert (tripped.stopped, tripped.stopped_note) == ("paused", "shop closed for the move")

    mira.goto(page_of(live_server, tripped))
    press(mira, "Resume")
    assert "Failing since" in mira.inner_text("#verdict")
    assert "(18 h)" in mira.inner_text("#verdict"), "since when it fails"
    mira.goto(f"{live_server.url}/admin/webhooks_app/auditentry/")
    assert "shop closed for the move" in mira.inner_text("#result_list")
    assert mira.troubles == []
