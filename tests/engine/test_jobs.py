"""Jobs: one verb for many deliveries, in bounded steps that a kill cannot repeat or skip."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.engine.maintenance import jobs, upkeep
from webhooks_app.models import Delivery, Job, Webhook
from webhooks_app.models.delivery_filters import CONDITIONS, select
from webhooks_app.models.states import deliveries_in
from webhooks_app.rules.ids import new_id

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account)


def failed(webhook, count=1, **more):
    values = {"state": "failed", "finished_at": NOW, "tries": 8, "last_error": "x", **more}
    return [DeliveryFactory(webhook=webhook, **values) for _ in range(count)]


def run(job, rounds=50):
    """Steps until the job has ended, without waiting for its pace."""
    for _ in range(rounds):
        job.refresh_from_db()
        if not job.is_open:
            return
        jobs.step(job, timezone.now())
    raise AssertionError("the job does not end")


def job_for(verb="retry", delivered_too=False, pace=200, **words):
    # What is made in this very moment belongs to the job too.
    job = actions.create_job(verb, words, delivered_too=delivered_too, pace=pace, by="mira")
    Job.objects.filter(pk=job.pk).update(last="f" * 24)
    job.refresh_from_db()
    return job


def states():
    return sorted(Delivery.objects.values_list("state", flat=True))


class TestSteps:
    def test_a_job_sends_again_all_that_its_selection_holds(self, webhook):
        chosen = failed(webhook, 5)
        failed(WebhookFactory(), 2)
        job = job_for(webhook=webhook.pk, state="failed", pace=2)
        assert job.expected == 5
        run(job)
        assert (job.state, job.done, job.skipped) == ("done", 5, 0)
        assert job.finished_at
        again = Delivery.objects.filter(state="pending")
        assert {row.pk for row in again} == {row.pk for row in chosen}
        assert {(row.tries, row.requested_by) for row in again} == {(0, f"mira, job {job.pk}")}

    def test_a_step_does_no_more_than_a_second_of_its_pace(self, webhook):
        failed(webhook, 7)
        job = job_for(state="failed", pace=3)
        before = timezone.now()
        assert jobs.step(job, before) == 3
        job.refresh_from_db()
        assert (job.done, job.state) == (3, "running")
        assert 0.4 < job.share < 0.5
        assert job.step_at >= before + timedelta(seconds=1)
        # As long as its second is not over, however long that is on this machine.
        Job.objects.update(step_at=F("step_at") + timedelta(hours=1))
        assert jobs.turn() == 0

    def test_a_step_looks_at_so_many_however_few_match(self, webhook, monkeypatch):
        monkeypatch.setattr(jobs, "LOOK_AT", 4)
        failed(webhook, 1, id=new_id(0))
        for second in range(1, 10):
            DeliveryFactory(id=new_id(second), webhook=webhook)
        failed(webhook, 1)
        job = job_for(state="failed")
        assert jobs.step(job, timezone.now()) == 1
        job.refresh_from_db()
        assert job.place == sorted(Delivery.objects.values_list("pk", flat=True))[3]
        run(job)
        assert job.done == 2

    def test_what_is_older_than_all_that_it_holds_is_not_looked_at(self, webhook, monkeypatch):
        monkeypatch.setattr(jobs, "LOOK_AT", 4)
        for second in range(10):
            DeliveryFactory(id=new_id(second), webhook=webhook)
        failed(webhook, 1)
        job = job_for(state="failed")
        assert jobs.step(job, timezone.now()) == 1

    def test_delivered_ones_stay_unless_asked_for(self, webhook):
        DeliveryFactory(webhook=webhook, state="delivered", finished_at=NOW)
        job = job_for(webhook=webhook.pk)
        run(job)
        assert (job.done, job.skipped) == (0, 1)
        job = job_for(webhook=webhook.pk, delivered_too=True)
        run(job)
        assert (job.done, job.skipped) == (1, 0)
        assert states() == ["pending"]

    def test_cancel_takes_what_waits_and_skips_what_has_ended(self, webhook):
        failed(webhook)
        DeliveryFactory(webhook=webhook)
        job = job_for("cancel", webhook=webhook.pk)
        run(job)
        assert (job.done, job.skipped) == (1, 1)
        assert states() == ["cancelled", "failed"]
        reason = Delivery.objects.get(state="cancelled").reason
        assert reason == f"cancelled by mira, job {job.pk}"

    def test_what_is_made_after_the_job_is_none_of_its_business(self, webhook):
        job = actions.create_job("cancel", {"webhook": webhook.pk})
        DeliveryFactory(webhook=webhook)
        run(job)
        assert states() == ["pending"]

    def test_deleted_webhooks_are_left_alone(self, webhook):
        failed(webhook)
        actions.delete_webhook(webhook)
        job = job_for(state="failed")
        run(job)
        assert (job.done, job.skipped) == (0, 1)


class TestCrashes:
    def test_a_crash_in_a_step_leaves_it_as_if_it_had_not_begun(self, webhook, monkeypatch):
        failed(webhook, 4)
        job = job_for(state="failed", pace=2)
        jobs.step(job, timezone.now())
        job.refresh_from_db()

        def killed(alias):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(jobs.transitions, "announce", killed)
            with pytest.raises(KeyboardInterrupt):
                jobs.step(job, timezone.now())
        assert states().count("pending") == 2
        run(job)
        assert (job.done, job.skipped) == (4, 0)

    def test_two_workers_with_the_same_step_do_it_once(self, webhook):
        failed(webhook, 4)
        job = job_for(state="failed", pace=2)
        twin = Job.objects.get(pk=job.pk)
        assert jobs.step(job, timezone.now()) == 2
        assert jobs.step(twin, timezone.now()) == 0
        job.refresh_from_db()
        assert job.done == 2

    def test_a_selection_nobody_understands_stops_the_job_and_no_other(self, webhook):
        failed(webhook)
        broken = job_for(state="failed")
        Job.objects.filter(pk=broken.pk).update(selection={"colour": "red"})
        good = job_for(state="failed")
        upkeep.turn()
        broken.refresh_from_db()
        good.refresh_from_db()
        assert (broken.state, good.state) == ("stopped", "done")


class TestPeople:
    def test_pause_resume_and_stop(self, webhook):
        failed(webhook, 3)
        job = job_for(state="failed", pace=1)
        assert actions.pause_job(job)
        assert jobs.turn() == 0
        assert not actions.pause_job(job)
        assert actions.resume_job(job)
        assert jobs.turn() == 1
        assert actions.set_pace(job, 1000)
        assert actions.stop_job(job)
        assert not actions.resume_job(job)
        job.refresh_from_db()
        assert (job.state, job.done, job.pace) == ("stopped", 1, 1000)

    @pytest.mark.parametrize("pace", [0, -1, 1001, True, 2.5])
    def test_a_pace_out_of_bounds_is_refused(self, webhook, pace):
        with pytest.raises(actions.Invalid):
            actions.create_job("retry", {}, pace=pace)

    @pytest.mark.parametrize(
        "words",
        [
            {"colour": "red"},
            {"state": "green"},
            {"webhook": "1"},
            {"since": "yesterday"},
            {"status": "9xx"},
            {"type": "a\x00b"},
            {"since": "9999-12-31T23:59:59-23:00"},
        ],
    )
    def test_a_selection_that_means_nothing_is_refused(self, db, words):
        with pytest.raises(actions.Invalid):
            actions.create_job("retry", words)


class TestSelection:
    """Each word of the vocabulary, alone."""

    def test_every_word_chooses(self, webhook):
        Webhook.objects.filter(pk=webhook.pk).update(url="https://here.example.com/hook")
        one = DeliveryFactory(
            webhook=webhook,
            event_id="e7" * 12,
            type="order.created",
            reference="4711",
            payload='{"name": "J\\u00f6rg", "city": "Köln"}'.encode(),
            state="failed",
            finished_at=NOW,
            last_status=503,
        )
        AttemptFactory(webhook=webhook, delivery=one, kind="http_502", status=503)
        other = DeliveryFactory(
            id="5a" + "0" * 22, state="failed", finished_at=NOW - timedelta(days=9)
        )
        words = {
            "webhook": webhook.pk,
            "account": "acme",
            "type": "order.created",
            "reference": "4711",
            "status": "503",
            "kind": "http_502",
            "since": "2020-01-01",
            "failed_since": (NOW - timedelta(hours=1)).isoformat(),
            "payload": "Jörg",
            "event": "e7" * 12,
            "host": "here.example.com",
        }
        for name, value in words.items():
            assert [row.pk for row in select({name: value}, NOW)] == [one.pk], name
        assert list(select({"until": "2020-01-01T00:00:00Z"}, NOW)) == [other]
        assert list(select({"status": "5xx"}, NOW)) == [one]
        assert list(select({"status": "none"}, NOW)) == [other]
        assert list(select({"payload": "Köln"}, NOW)) == [one]
        assert select({"payload": "kOLN"}, NOW).count() == 0
        assert select({"state": "failed"}, NOW).count() == 2
        earlier = (NOW - timedelta(days=1)).isoformat()
        assert list(select({"failed_until": earlier}, NOW)) == [other]
        assert set(words) | {"until", "state", "failed_until"} == set(CONDITIONS)

    def test_due_waiting_retrying_and_held_are_what_the_word_says(self, webhook):
        later = NOW + timedelta(hours=1)
        waiting = DeliveryFactory(webhook=webhook, due_at=later)
        due = DeliveryFactory(webhook=webhook, due_at=NOW)
        retrying = DeliveryFactory(webhook=webhook, tries=2, due_at=later)
        paused = WebhookFactory(stopped="paused")
        held = DeliveryFactory(webhook=paused, due_at=NOW)
        found = {
            key: set(Delivery.objects.filter(deliveries_in(key, NOW)))
            for key in ("waiting", "due", "retrying", "held")
        }
        assert found == {
            "waiting": {waiting, due},
            "due": {due},
            "retrying": {retrying},
            "held": {held},
        }
