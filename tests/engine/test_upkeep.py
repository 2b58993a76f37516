"""What a worker does beside sending: who is unsteady, what is kept how long, who is busy."""

import asyncio
import json
import threading
from contextlib import suppress
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import DataError, OperationalError
from django.utils import timezone

from tests.admin.pages import page, text_of, url
from tests.factories import HourlyCountFactory, WebhookFactory
from tests.receivers import Receiver
from tests.waiting import PATIENCE, until
from webhooks_app import actions
from webhooks_app.engine import worker
from webhooks_app.engine.maintenance import jobs, notices, pruner, steadiness, totals, upkeep
from webhooks_app.models import AuditEntry, Job, WebhookHealth, Worker
from webhooks_app.rules.ids import new_id

NOW = timezone.now()


def after(steps):
    """Says so after as many steps."""
    answers = iter([False] * steps)
    return lambda: next(answers, True)


def days_ago(days):
    return NOW - timedelta(days=days)


STEPS = [
    (jobs, "turn"),
    (notices, "turn"),
    (steadiness, "judge"),
    (totals, "add_up"),
    (pruner, "purging"),
    (upkeep, "purging_records"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("error", [RuntimeError("own"), OperationalError("locked")])
@pytest.mark.parametrize("broken", STEPS, ids=lambda step: step[1])
def test_what_fails_in_one_step_keeps_no_other_from_its_turn(monkeypatch, broken, error):
    done = []
    monkeypatch.setattr(upkeep.connections, "close_all", lambda: None)
    for place in STEPS:

        def step(*_, place=place, **__):
            done.append(place)
            if place == broken:
                raise error

        def steps(*_, step=step, **__):
            yield step()

        monkeypatch.setattr(*place, steps if place[1].startswith("purging") else step)
    upkeep.turn(notices=True, purge=True, judge=True)
    assert done == STEPS


@pytest.mark.django_db
def test_a_job_that_fails_keeps_no_other_from_its_turn(monkeypatch, account):
    webhook = WebhookFactory(account=account)
    bad, good = (actions.create_job("retry", {"webhook": webhook.pk}) for _ in range(2))
    carried_out, tried = jobs._next, []

    def following(job, now):
        tried.append(job.pk)
        if job.pk == bad.pk:
            raise DataError("an odd row")
        return carried_out(job, now)

    monkeypatch.setattr(jobs, "_next", following)
    for _ in range(3):
        jobs.turn()
    assert tried.count(bad.pk) == 1
    good.refresh_from_db()
    assert good.state == Job.State.DONE
    bad.refresh_from_db()
    assert bad.state == Job.State.RUNNING
    assert bad.step_at > timezone.now() + timedelta(seconds=30)


@pytest.mark.django_db
class TestUnsteady:
    def health(self, delivered, failed, hours_ago=0):
        webhook = WebhookFactory(health={"last_success_at": NOW})
        at = NOW - timedelta(hours=hours_ago)
        HourlyCountFactory(webhook=webhook, at=at, delivered=delivered, failed=failed)
        return webhook

    @pytest.mark.parametrize(
        ("delivered", "failed", "unsteady"),
        [(0, 0, False), (500, 0, False), (99, 1, True), (100, 1, False), (0, 1, True)],
    )
    def test_is_who_fails_in_one_of_a_hundred_calls(self, delivered, failed, unsteady):
        webhook = self.health(delivered, failed)
        steadiness.judge()
        assert (WebhookHealth.objects.get(pk=webhook.pk).unsteady_since is not None) == unsteady

    def test_all_hours_of_a_day_count_and_none_before(self):
        old, both = self.health(0, 9, hours_ago=25), self.health(0, 1, hours_ago=20)
        HourlyCountFactory(webhook=both, delivered=98)
        assert steadiness.judge(NOW) == 1
        assert list(WebhookHealth.objects.filter(unsteady_since=NOW)) == [both.health]
        HourlyCountFactory(webhook=both, at=NOW - timedelta(hours=1), delivered=2)
        assert steadiness.judge() == 1
        assert not WebhookHealth.objects.filter(unsteady_since__isnull=False).exists()
        assert old.health.unsteady_since is None

    def test_whoever_is_told_to_stop_leaves_the_rest(self):
        for _ in range(3):
            self.health(0, 1)
        assert steadiness.judge(stopped=after(2)) == 2
        assert steadiness.judge() == 1

    def test_since_when_stays_while_it_lasts(self):
        webhook = self.health(1, 1)
        steadiness.judge(NOW - timedelta(minutes=5))
        assert steadiness.judge(NOW) == 0
        since = WebhookHealth.objects.get(pk=webhook.pk).unsteady_since
        assert since == NOW - timedelta(minutes=5)

    def test_the_console_says_so_and_the_command_judges_too(self, admin_client):
        webhook = self.health(378, 14, hours_ago=3)
        assert "Working: 378 of 392 delivered" in text_of(admin_client.get(page(webhook)))
        call_command("webhooks", "rebuild-counts", "--since", "1h", stdout=StringIO())
        says = text_of(admin_client.get(page(webhook)))
        assert "Unsteady: 14 of 392 calls failed in the last 24 hours, the last call" in says
        assert webhook.name in text_of(admin_client.get(url("webhook"), {"state": "unsteady"}))
        assert webhook.name not in text_of(admin_client.get(url("webhook"), {"state": "working"}))


@pytest.mark.django_db
class TestRetention:
    def job(self, finished_at, state="done"):
        ident = new_id()
        return Job.objects.create(
            verb="retry", first=ident, last=ident, state=state, finished_at=finished_at
        )

    def purge(self, *arguments):
        out = StringIO()
        call_command("webhooks", "purge", "--json", *arguments, stdout=out)
        return json.loads(out.getvalue())

    def test_jobs_that_ended_long_ago_go_and_open_ones_stay(self, settings):
        settings.WEBHOOKS_JOB_RETENTION_DAYS = 10
        for state in ("done", "stopped"):
            self.job(days_ago(11), state)
        kept = [self.job(days_ago(9)), self.job(None, "running"), self.job(None, "paused")]
        Job.objects.update(created_at=days_ago(99))
        assert self.purge("--dry-run")["jobs"] == 2
        assert Job.objects.count() == 5
        assert self.purge()["jobs"] == 2
        assert set(Job.objects.all()) == set(kept)

    def test_who_changed_what_has_its_own_days(self, settings):
        settings.WEBHOOKS_AUDIT_RETENTION_DAYS = 100
        settings.WEBHOOKS_RETENTION_DAYS = 1
        account = WebhookFactory().account
        for days in (99, 101, 300):
            AuditEntry.objects.note("mira", f"{days}", account)
            AuditEntry.objects.filter(action=f"{days}").update(at=days_ago(days))
        assert self.purge()["audit entries"] == 2
        assert AuditEntry.objects.get(by="mira").action == "99"

    def test_by_default_jobs_stay_for_90_days_and_the_list_for_two_years(self):
        self.job(days_ago(89)), self.job(days_ago(91))
        account = WebhookFactory().account
        for days in (729, 731):
            AuditEntry.objects.note("mira", f"{days}", account)
            AuditEntry.objects.filter(action=f"{days}").update(at=days_ago(days))
        removed = self.purge()
        assert (removed["jobs"], removed["audit entries"]) == (1, 1)

    def test_what_is_very_much_goes_in_many_turns_and_nothing_else_waits_for_it(self):
        line = {"by": "mira", "door": "python", "kind": "account", "at": days_ago(999)}
        AuditEntry.objects.bulk_create(AuditEntry(**line) for _ in range(2500))
        under_way, left = {}, []
        for begins in (True, True, False, False):
            job = actions.create_job("retry", {})
            upkeep.turn(notices=False, purge=begins, under_way=under_way, share=0)
            job.refresh_from_db()
            assert job.state == Job.State.DONE
            left.append(AuditEntry.objects.filter(by="mira").count())
        assert left == [1500, 500, 0, 0]
        assert under_way == {}

    def test_whoever_is_told_to_stop_leaves_the_rest(self):
        for _ in range(5):
            self.job(days_ago(99))
        assert upkeep.purge_records(at_once=1, stopped=after(2))["jobs"] == 2
        assert Job.objects.count() == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.knobs(heartbeat_every=0.05)
def test_a_worker_tells_what_it_has_in_flight_of_each_webhook(loopback, knobs, admin_client):
    seen, looked = {}, threading.Event()

    def look():
        while not looked.wait(0.02):
            row = Worker.objects.values("in_flight", "in_flight_of").first()
            if row and sum(row["in_flight_of"].values()) == 3:
                seen.update(row, text=text_of(admin_client.get(url("webhook"))))
                looked.set()

    def answer(received):
        looked.wait(PATIENCE)
        return 200

    with Receiver(answer) as receiver:
        busy = WebhookFactory(url=receiver.url, timeout=60)
        idle = WebhookFactory(url=receiver.url)
        actions.deliver_many([(busy, {"n": n}) for n in range(3)])
        watcher = threading.Thread(target=in_thread, args=[look])
        watcher.start()
        assert worker.run(until_empty=True, knobs=knobs) == 3
        looked.set()
        watcher.join()
    assert seen["in_flight_of"] == {busy.pk: 3}
    assert seen["in_flight"] == 3
    assert seen["text"].count("in flight</span>") == 1
    assert "3 in flight" in seen["text"]
    assert idle.pk not in seen["in_flight_of"]


def in_thread(what):
    from django.db import connections

    try:
        what()
    finally:
        connections.close_all()


@pytest.mark.django_db(transaction=True)
@pytest.mark.knobs(upkeep_every=0.0)
def test_a_worker_that_ends_in_mid_purge_goes_first_and_the_purge_stops(
    loopback, knobs, monkeypatch
):
    begun, seen = threading.Event(), []

    def purge(older_than):
        until(lambda: Worker.objects.exists())  # it is noted beside this
        begun.set()
        until(lambda: not Worker.objects.exists())
        seen.append("the worker has left")
        yield
        seen.append("the purge goes on")

    def answer(request):
        begun.wait(PATIENCE)
        return 200

    monkeypatch.setattr(pruner, "purging", purge)
    with Receiver(answer) as receiver:
        actions.deliver(WebhookFactory(url=receiver.url, timeout=60), {})
        assert worker.run(until_empty=True, knobs=knobs) == 1
    assert seen == ["the worker has left"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("a fault")])
@pytest.mark.knobs(upkeep_every=0.0)
def test_the_log_says_once_that_upkeep_is_put_off(monkeypatch, caplog, knobs, error):
    turns = []

    def jobs_turn():
        turns.append(1)
        if len(turns) <= 5:
            raise error

    monkeypatch.setattr(upkeep.jobs, "turn", jobs_turn)

    async def until_it_went_well():
        running = asyncio.create_task(upkeep.run("default", knobs))
        while len(turns) < 8:
            await asyncio.sleep(0.01)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(until_it_went_well())
    said = [record.getMessage() for record in caplog.records if record.name == "webhooks"]
    assert [words.partition(" (")[0] for words in said] == ["jobs: put off", "jobs: goes on"]
