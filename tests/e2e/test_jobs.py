"""A job says what became of the deliveries, not only that they were queued."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.e2e.conftest import follow, page_of, press
from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory, WorkerFactory
from webhooks_app import actions
from webhooks_app.engine.maintenance import jobs
from webhooks_app.models import Delivery, Job

pytestmark = [pytest.mark.browser, pytest.mark.slow]

REFUSED = "Request failed with status code 422"


@pytest.fixture
def webhook(transactional_db):
    """Failing, with nine deliveries that gave up in the last hours, one an hour."""
    now = timezone.now()
    WorkerFactory(seen_at=now + timedelta(hours=1))
    webhook = WebhookFactory(
        name="Fraud check",
        health={
            "failures_in_row": 9,
            "failing_since": now - timedelta(hours=3),
            "last_attempt_at": now - timedelta(hours=2),
            "last_error_at": now,
            "last_error_kind": "http_400",
            "last_error_message": REFUSED,
        },
    )
    for hours in range(9):
        ended = now - timedelta(hours=hours, minutes=1)
        DeliveryFactory(
            webhook=webhook, state="failed", finished_at=ended, tries=8, last_error=REFUSED
        )
    return webhook


@pytest.fixture
def job(webhook):
    """Done: all nine were queued again."""
    job = actions.create_job("retry", {"webhook": webhook.pk, "state": "failed"}, by="mira")
    jobs.step(job, timezone.now())
    job.refresh_from_db()
    assert (job.state, job.done) == ("done", 9)
    return job


def became(job, *states):
    """What became of the first deliveries of the job, as the worker writes it down."""
    for delivery, state in zip(Delivery.objects.order_by("pk"), states, strict=False):
        kind = "" if state == "delivered" else "http_400"
        AttemptFactory(
            webhook=delivery.webhook, delivery=delivery, kind=kind, requested_by=job.signature
        )
        Delivery.objects.filter(pk=delivery.pk).update(
            state=state,
            requested_by="",
            last_error=REFUSED if kind else "",
            finished_at=timezone.now(),
        )


def outcomes(page):
    """Each number of the outcome, with how many rows its list has."""
    found = {}
    for link in page.locator("#outcome a").all():
        count, words = link.inner_text().split(" ", 1)
        found[words] = int(count), link.get_attribute("href")
    for words, (count, place) in found.items():
        page.goto(page.url.split("/admin/")[0] + place)
        shown = page.locator(".wh-pager").count() and page.inner_text(".wh-pager")
        assert shown == 0 if not count else f"{count} shown" in shown, words
        page.go_back()
    return {words: count for words, (count, _) in found.items()}


class TestWhatAJobCameTo:
    def test_is_bad_when_all_gave_up_again(self, mira, live_server, job):
        became(job, *["failed"] * 9)
        mira.goto(page_of(live_server, job))
        assert mira.inner_text("#verdict") == "Replayed: none of 9 arrived"
        assert mira.locator("#job.wh-t-bad").count()
        assert REFUSED in mira.inner_text("#recorded")
        assert outcomes(mira) == {"delivered": 0, "under way": 0, "gave up again": 9, "skipped": 0}
        assert mira.title().startswith("Gave up again: Replay")
        mira.goto(f"{live_server.url}/admin/webhooks_app/job/")
        assert mira.locator("#result_list .wh-ok").count() == 0, "done is not yet good"

    def test_is_told_as_it_comes(self, mira, live_server, job):
        became(job, *["delivered"] * 3)
        mira.goto(page_of(live_server, job))
        assert mira.inner_text("#verdict") == "Replayed: 3 of 9 arrived, the others are under way"
        became(job, *["delivered"] * 9)
        mira.wait_for_selector("#verdict:text-is('Replayed: all 9 arrived')")
        assert mira.locator("#job.wh-t-ok").count()
        assert mira.troubles == []

    def test_names_what_it_skipped(self, mira, live_server, webhook):
        for _ in range(2):
            DeliveryFactory(webhook=webhook, state="delivered", finished_at=timezone.now())
        job = actions.create_job("retry", {"webhook": webhook.pk}, by="mira")
        Job.objects.filter(pk=job.pk).update(last="f" * 24)
        job.refresh_from_db()
        jobs.step(job, timezone.now())
        job.refresh_from_db()
        became(job, *["delivered"] * 3, *["failed"] * 6)
        mira.goto(page_of(live_server, job))
        assert mira.inner_text("#verdict") == "Replayed: 3 of 9 arrived"
        assert outcomes(mira) == {"delivered": 3, "under way": 0, "gave up again": 6, "skipped": 2}


class TestBeforeAReplay:
    def place(self, live_server, webhook):
        query = f"verb=retry&webhook={webhook.pk}&state=failed"
        return f"{live_server.url}/admin/webhooks_app/job/add/?{query}"

    def test_what_still_fails_is_named_first(self, mira, live_server, webhook):
        mira.goto(self.place(live_server, webhook))
        says = mira.inner_text("#content")
        assert "Fraud check is failing, last call 2 h ago." in says
        assert says.index(REFUSED) < says.index("9 deliveries")
        assert mira.locator("#content .wh-btn-1").count() == 0
        assert mira.get_by_role("button", name="Replay 9 all the same").count()
        press(mira, "Send a test first")
        assert mira.url.startswith(page_of(live_server, webhook))

    def test_what_works_is_not(self, mira, live_server, webhook):
        type(webhook.health).objects.update(failures_in_row=0, last_success_at=timezone.now())
        mira.goto(self.place(live_server, webhook))
        assert "most likely" not in mira.inner_text("#content")
        assert mira.get_by_role("button", name="Replay 9", exact=True).count()

    def test_it_has_from_and_until_in_the_zone_of_the_reader(self, mira, live_server, webhook):
        mira.goto(self.place(live_server, webhook))
        assert "Asia/" in mira.inner_text(".wh-since")
        ahead = timedelta(hours=5, minutes=30)  # Asia/Kolkata
        now = timezone.now() + ahead
        mira.fill("#from", f"{now - timedelta(hours=4):%Y-%m-%dT%H:%M}")
        mira.fill("#until", f"{now - timedelta(hours=2):%Y-%m-%dT%H:%M}")
        press(mira, "Count")
        assert mira.inner_text("section:not(.wh-t-bad) > div > #verdict") == "2 deliveries"
        follow(mira.get_by_role("link", name="Look at them first"))
        assert "2 shown" in mira.inner_text(".wh-pager")
        mira.go_back()
        press(mira, "Replay 2 all the same")
        job = Job.objects.get()
        assert {"failed_since", "failed_until"} <= set(job.selection)
        jobs.step(job, timezone.now())
        job.refresh_from_db()
        assert job.done == 2
        assert mira.troubles == []
