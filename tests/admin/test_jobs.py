"""Jobs in the console: estimate, confirm, watch, change, stop."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.conftest import NOW
from tests.admin.pages import forms, page, text_of, url
from tests.admin.test_home import plain
from tests.factories import AttemptFactory, DeliveryFactory
from webhooks_app.admin import jobs as screen
from webhooks_app.engine.maintenance import jobs
from webhooks_app.models import Delivery, Job
from webhooks_app.models.statement_timeout import TooSlow

ADD = url("job", "add")


@pytest.fixture
def webhook(orders):
    for _ in range(3):
        DeliveryFactory(webhook=orders, state="failed", finished_at=NOW, tries=8)
    return orders


def start(client, **data):
    answer = client.post(ADD, {"confirm": "1", **data}, follow=True)
    job = Job.objects.latest("pk")
    Job.objects.filter(pk=job.pk).update(last="f" * 24)
    return Job.objects.get(pk=job.pk), text_of(answer)


class TestCreating:
    def test_is_asked_first_with_the_number_and_what_cannot_be_undone(self, operator, webhook):
        data = {"webhook": webhook.pk, "failed_since": "24h"}
        for answer in (operator.get(ADD, data), operator.post(ADD, data)):
            text = text_of(answer)
            assert "3 deliveries" in text
            assert "that gave up since" in text
            assert "of Orders" in text
            assert "What has been sent cannot be called back." in text
            assert "delivered already" not in text
        assert not Job.objects.exists()

    def test_replays_since_a_moment_that_is_typed(self, operator, webhook):
        old = NOW - timedelta(hours=9)
        DeliveryFactory(webhook=webhook, state="failed", finished_at=old, tries=8)
        words = {"webhook": webhook.pk, "verb": "retry", "failed_since": f"{old:%Y-%m-%dT%H:%M}"}
        text = text_of(operator.get(ADD, words))
        assert "4 deliveries" in text
        assert f'name="failed_since" value="{words["failed_since"]}' in text
        words["failed_since"] = f"{NOW - timedelta(hours=8):%Y-%m-%d %H:%M}"
        assert "3 deliveries" in text_of(operator.get(ADD, words))
        until = old + timedelta(minutes=1)
        words["failed_since"] = f"{old:%Y-%m-%d %H:%M}"
        words["failed_until"] = f"{until:%Y-%m-%d %H:%M}"
        assert "1 delivery<" in text_of(operator.get(ADD, words))
        words["failed_since"] = "last night"
        assert "This selection cannot be used" in text_of(operator.get(ADD, words))

    def test_a_confirmed_job_is_stored_and_says_where_to_look(self, operator, webhook):
        job, text = start(operator, webhook=webhook.pk, state="failed", pace="50")
        assert (job.verb, job.pace, job.expected) == ("retry", 50, 3)
        assert job.selection == {"webhook": webhook.pk, "state": "failed"}
        assert job.created_by == operator.user.username
        assert "Started: Replay" in text
        assert "Show\nthem" in text or "Show them" in text

    def test_delivered_ones_go_again_only_when_the_box_is_ticked(self, operator, webhook):
        assert "delivered already" in text_of(operator.get(ADD, {"webhook": webhook.pk}))
        assert not start(operator, webhook=webhook.pk)[0].delivered_too
        assert start(operator, webhook=webhook.pk, delivered_too="on")[0].delivered_too

    def test_many_are_not_counted_to_the_end(self, operator, webhook, monkeypatch):
        monkeypatch.setattr(screen, "COUNT_LIMIT", 2)
        assert "More than 2 deliveries" in text_of(operator.get(ADD, {"webhook": webhook.pk}))

    @pytest.mark.once
    @pytest.mark.parametrize(
        "data", [{"webhook": "x"}, {"state": "green"}, {"since": "soon"}, {"pace": "0"}]
    )
    def test_what_cannot_be_meant_is_refused_in_words(self, operator, webhook, data):
        answer = operator.post(ADD, {"confirm": "1", **data})
        assert "This selection cannot be used" in text_of(answer)
        assert not Job.objects.exists()

    @pytest.mark.once
    def test_only_who_may_operate_makes_one(self, viewer, webhook):
        assert viewer.get(ADD).status_code == 403
        assert viewer.post(ADD, {"confirm": "1"}).status_code == 403
        assert not Job.objects.exists()

    def test_what_cannot_be_counted_in_time_is_said_in_words(self, operator, webhook, monkeypatch):
        def slow(*args, **kwargs):
            raise TooSlow

        monkeypatch.setattr("webhooks_app.actions.jobs.in_time", slow)
        text = text_of(operator.get(ADD, {"webhook": webhook.pk}))
        assert "As many as there are: they could not be counted in time" in text
        job, _ = start(operator, webhook=webhook.pk)
        assert (job.expected, job.first) == (None, Delivery.objects.earliest("pk").pk)


@pytest.mark.once
class TestWatching:
    def test_its_verb_has_one_name_everywhere(self, boss, operator, webhook):
        job, _ = start(operator, webhook=webhook.pk, state="failed")
        for place in (page(job, "job"), url("job"), url("auditentry")):
            text = plain(text_of(boss.get(place))).lower()
            assert "replay" in text, place
            assert "send again" not in text, place

    def test_its_page_tells_how_far_it_is(self, operator, viewer, webhook):
        job, _ = start(operator, webhook=webhook.pk, state="failed", pace="2")
        jobs.step(job, timezone.now())
        text = text_of(viewer.get(page(job, "job")))
        assert '<b class="wh-num">2</b> of 3 queued again' in text
        assert 'value="66" max="100"' in text
        assert "You may look only" in text
        assert forms(viewer.get(page(job, "job"))).actions == ["/admin/logout/"]
        part = text_of(viewer.get(url("job", job.pk, "progress")))
        assert "2</b> of 3" in part
        assert "data-again" in part
        jobs.step(Job.objects.get(), timezone.now())
        assert "data-again" not in text_of(viewer.get(url("job", job.pk, "progress")))

    def test_it_stands_above_the_list_and_leads_to_what_it_changed(self, operator, webhook):
        job, _ = start(operator, webhook=webhook.pk, state="failed")
        assert "Replay: deliveries of Orders" in text_of(operator.get(url("delivery")))
        jobs.step(job, timezone.now())
        assert "wh-job-live" not in text_of(operator.get(url("delivery")))
        touched = list(Delivery.objects.filter(requested_by=job.signature))
        assert len(touched) == 3
        # One of them has been sent since.
        Delivery.objects.filter(pk=touched[0].pk).update(requested_by="")
        AttemptFactory(webhook=webhook, delivery=touched[0], requested_by=job.signature)
        text = text_of(operator.get(url("delivery"), {"job": job.pk, "created": "any"}))
        assert "3 shown" in text

    def test_pause_go_on_pace_and_stop(self, operator, viewer, webhook):
        job, _ = start(operator, webhook=webhook.pk)

        def press(verb, client=operator, **data):
            answer = client.post(url("job", job.pk, verb), data, follow=True)
            job.refresh_from_db()
            return answer

        assert "The job is paused." in text_of(press("pause"))
        assert job.state == "paused"
        assert "Resumed: the job goes on." in text_of(press("resume"))
        assert "whole number from 1 to 1,000" in text_of(press("pace", pace="5000"))
        press("pace", pace="7")
        assert job.pace == 7
        for verb in ("pause", "stop", "pace", "resume"):
            assert press(verb, viewer).status_code == 403
        assert "Stopped." in text_of(press("stop"))
        assert job.state == "stopped"
        assert "Nothing was changed" in text_of(press("resume"))

    def test_the_list_of_jobs(self, viewer, operator, webhook):
        start(operator, webhook=webhook.pk, state="failed")
        text = text_of(viewer.get(url("job")))
        assert "Replay: deliveries of Orders that gave up" in text


def test_job_screens_need_no_more_than_twelve_queries(
    operator, viewer, webhook, django_assert_max_num_queries
):
    for _ in range(4):
        job, _ = start(operator, webhook=webhook.pk, state="failed")
    Job.objects.update(created_at=NOW - timedelta(minutes=1), place="1" * 24)
    done, _ = start(operator, webhook=webhook.pk, state="failed")
    jobs.step(done, timezone.now())
    places = [
        url("job"),
        page(job, "job"),
        page(done, "job"),
        url("delivery"),
        url("delivery") + "?q=text",
    ]
    places += [page(webhook.deliveries.first(), "delivery"), ADD + f"?webhook={webhook.pk}"]
    for place in places:
        with django_assert_max_num_queries(12):
            operator.get(place)
