"""Who stops a webhook for what came of a call, and who changes it at that moment, wait for each
other and both come through: all lock rows in the order of `PrimaryQuerySet.lock`."""

from contextlib import contextmanager
from datetime import timedelta
from threading import Thread

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from tests.factories import WebhookFactory
from tests.receivers import Receiver
from tests.waiting import PATIENCE, until
from webhooks_app import actions
from webhooks_app.engine import worker
from webhooks_app.engine.maintenance import removal
from webhooks_app.models import Webhook, WebhookHealth

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("loopback"),
    pytest.mark.skipif(
        "not config.getoption('--db') == 'postgres'", reason="SQLite has one writer"
    ),
]

WAITING = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def told(sql):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # as the transaction saw it first
        cursor.execute(sql)
        return cursor.fetchone()[0]


@contextmanager
def locked(webhook):
    """Somebody has the row of a webhook and leaves it alone."""
    with transaction.atomic():
        Webhook.objects.filter(pk=webhook.pk).lock()
        yield


def in_line(webhook, *works):
    """Each has come as far as it can before the next begins, then the row is let go; what they
    raised."""
    raised, threads, before = [], [], told(DEADLOCKS)

    def run(work):
        try:
            work()
        except Exception as error:
            raised.append(error)
        finally:
            connections.close_all()

    with locked(webhook):
        for number, work in enumerate(works, start=1):
            threads.append(Thread(target=run, args=(work,)))
            threads[-1].start()
            until(lambda n=number: told(WAITING) >= n, "nobody waits")
    for thread in threads:
        thread.join(PATIENCE)
    assert told(DEADLOCKS) == before  # of which a worker tells nobody: it tries again
    return raised


def interact(webhook):
    with pytest.raises(actions.ExchangeFailed):
        actions.interact(webhook, {})


def drain(webhook):
    worker.run(until_empty=True)


@pytest.fixture(params=["410 of an interaction", "5 days", "410", "the order"])
def stopping(request):
    """A webhook that the next call stops, what makes that call, and for which reason it stops."""
    with Receiver(410 if "410" in request.param else 500) as receiver:
        webhook = WebhookFactory(url=receiver.url, order="webhook", on_dead="stop")
        call, reason = interact, "gone"
        match request.param:
            case "5 days":
                reason, since = "failing", timezone.now() - timedelta(days=6)
                WebhookHealth.objects.update(failures_in_row=9, failing_since=since)
            case "410":
                call = drain
            case "the order":
                call, reason = drain, "blocked"
                webhook.retry_schedule = ""
                webhook.save()
        if call is drain:
            actions.deliver(webhook, {})
        yield webhook, lambda: call(webhook), reason


def test_a_change_of_a_webhook_and_the_end_of_a_call_that_stops_it(stopping):
    webhook, call, reason = stopping
    change = lambda: actions.update_webhook(webhook, breaker_off=True)  # noqa: E731
    assert in_line(webhook, change, call) == []
    row = Webhook.objects.get()
    assert (row.stopped, row.breaker_off) == (reason, True)


def test_a_change_of_a_webhook_and_the_removal_of_its_account():
    webhook = WebhookFactory()
    change = lambda: actions.update_webhook(webhook, breaker_off=True)  # noqa: E731
    assert in_line(webhook, change, lambda: removal.remove(webhook.account)) == []
    assert not Webhook.objects.exists()
