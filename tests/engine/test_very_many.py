"""What changes very many deliveries goes in steps: others come between them."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.api.conftest import Api
from tests.factories import DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.engine import store, transitions
from webhooks_app.engine.knobs import Knobs
from webhooks_app.engine.maintenance import jobs, upkeep
from webhooks_app.models import AuditEntry, Delivery, Job, Webhook
from webhooks_app.rules.ids import timestamp

MANY = 2 * transitions.AT_ONCE + 500


def waiting(webhook):
    return Delivery.objects.pending().filter(webhook=webhook)


@pytest.fixture
def webhook(db):
    webhook = WebhookFactory()
    actions.deliver_many([(webhook, {})] * MANY)
    return webhook


def test_a_deleted_webhook_is_gone_at_once_and_what_waits_for_it_is_cancelled_in_steps(webhook):
    other = DeliveryFactory()
    actions.delete_webhook(webhook)
    assert waiting(webhook).count() == MANY - transitions.AT_ONCE
    # None of it is sent.
    want = store.Want(webhook.pk, 10, None)
    assert store.open("default").claim([want], timezone.now()) == []
    with pytest.raises(actions.Conflict, match="still being cancelled"):
        actions.restore_webhook(webhook)
    upkeep.turn(notices=False)
    assert not waiting(webhook).exists()
    ended = Delivery.objects.filter(webhook=webhook)
    assert set(ended.values_list("state", "reason")) == {("cancelled", "webhook deleted")}
    other.refresh_from_db()
    assert other.state == "pending"
    actions.restore_webhook(webhook)


def test_nobody_waits_until_a_worker_has_cancelled_what_many_deleted_webhooks_left(webhook, reader):
    """Whoever has a token may delete a thousand at once."""
    others = WebhookFactory.create_batch(3)
    actions.deliver_many([(other, {}) for other in others for _ in range(Knobs().cancelled_most)])
    deleted = [webhook, *others]
    Webhook.objects.filter(pk__in=[row.pk for row in deleted]).update(deleted_at=timezone.now())
    before = Delivery.objects.pending().count()
    reader.claim([store.Want(row.pk, 10, None) for row in deleted])
    assert before - Delivery.objects.pending().count() == Knobs().cancelled_most


def test_a_step_changes_so_many_and_no_more(webhook):
    assert transitions.cancel_some(webhook.pk, "webhook deleted") == transitions.AT_ONCE
    assert waiting(webhook).count() == MANY - transitions.AT_ONCE


def test_what_was_made_for_a_webhook_that_was_deleted_long_ago_is_found_by_the_purge(webhook):
    actions.delete_webhook(webhook)
    long_ago = timezone.now() - timedelta(days=2)
    type(webhook).objects.update(deleted_at=long_ago)
    upkeep.turn(notices=False)
    assert waiting(webhook).exists()
    upkeep.turn(notices=False, purge=True)
    assert not waiting(webhook).exists()


def test_a_replay_goes_in_steps_and_takes_each_once(webhook):
    ended = timezone.now()
    waiting(webhook).update(state="failed", finished_at=ended)
    with CaptureQueriesContext(connection) as queries:
        assert actions.replay(webhook, since=ended - timedelta(minutes=1)) == MANY
    changes = [query for query in queries if query["sql"].startswith("UPDATE")]
    assert len(changes) == 3
    assert waiting(webhook).count() == MANY


class TestWhoWaitsForAnAnswer:
    """Waits for 10,000 at most; a job does the rest, and the audit log has a line for each step."""

    AT_ONCE = 10_000

    @pytest.fixture
    def api(self, secret):
        return Api(secret)

    @pytest.fixture
    def webhook(self, account):
        webhook = WebhookFactory(account=account)
        actions.deliver_many([(webhook, {})] * (self.AT_ONCE + 500))
        return webhook

    def test_of_a_replay(self, api, webhook):
        ended = timezone.now()
        waiting(webhook).update(state="failed", finished_at=ended)
        since = timestamp(ended - timedelta(minutes=1))
        answer = api.post(f"/webhooks/{webhook.pk}/replay", {"since": since})
        job = Job.objects.get()
        assert answer.json() == {"replayed": self.AT_ONCE, "job": job.pk}
        assert waiting(webhook).count() == self.AT_ONCE
        noted = [entry.action for entry in AuditEntry.objects.order_by("id")]
        assert [line[:14] for line in noted[:-1]] == ["Replayed 2,000"] * 5
        assert noted[-1] == "Started: replay what a selection holds: all after the first 10,000"
        jobs.turn()
        assert waiting(webhook).count() == self.AT_ONCE + 500
        job.refresh_from_db()
        assert (job.state, job.done, job.skipped) == ("done", 500, 0)

    def test_of_an_event_that_is_taken_back(self, api, webhook):
        event = actions.publish(webhook.account, "a", 1)
        waiting(webhook).update(event=event)
        assert api.delete(f"/events/{event.pk}").status_code == 200
        assert waiting(webhook).count() == 500
        noted = [entry.did for entry in AuditEntry.objects.order_by("id")]
        assert noted == ["Cancelled what was pending", "Started: cancel what a selection holds"]
        jobs.turn()
        assert not waiting(webhook).exists()
        assert Job.objects.get().state == "done"


@pytest.mark.parametrize("verb", ["replay", "take back"])
def test_what_cannot_be_noted_does_not_happen(account, verb):
    webhook = WebhookFactory(account=account)
    event = actions.publish(account, "a", 1)
    failed = {"state": "failed", "finished_at": timezone.now()} if verb == "replay" else {}
    delivery = DeliveryFactory(webhook=webhook, event=event, **failed)
    state = delivery.state

    def is_full(execute, sql, *arguments):
        if sql.startswith("INSERT INTO") and AuditEntry._meta.db_table in sql:
            raise OperationalError("the disk is full")
        return execute(sql, *arguments)

    since = timezone.now() - timedelta(hours=1)
    act = {
        "replay": lambda: actions.replay(webhook, since=since, by="mira"),
        "take back": lambda: actions.cancel_event(event, by="mira"),
    }
    with connection.execute_wrapper(is_full), pytest.raises(OperationalError):
        act[verb]()
    delivery.refresh_from_db()
    assert delivery.state == state
