"""The console says what is true, and what helps first."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.e2e.conftest import page_of
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory, WorkerFactory

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOW = timezone.now()


@pytest.fixture
def worker(transactional_db):
    return WorkerFactory(seen_at=timezone.now() + timedelta(hours=1))


def failing(kind, message, minutes=18, **health):
    """The health of a webhook that fails since so many minutes."""
    now = timezone.now()
    return {
        "failures_in_row": 14,
        "failing_since": now - timedelta(minutes=minutes),
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
            "(18 min): certificate expired",
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
