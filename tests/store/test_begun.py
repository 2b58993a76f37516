"""The first calls of a webhook that nobody has called yet, by several processes at once."""

import threading
from contextlib import contextmanager

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from tests.factories import WebhookFactory
from webhooks_app.engine import store
from webhooks_app.engine.attempt_rows import Entry
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.models import Attempt, WebhookHealth
from webhooks_app.rules.failures import Failure

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer"),
]


def record(webhook):
    entry = Entry(
        webhook_id=webhook.pk,
        exchange=Attempt.Exchange.INTERACTION,
        request_id="0" * 24,
        url=webhook.url,
        outcome=Outcome(started_at=timezone.now()),
        failure=Failure("refused", "connect ECONNREFUSED 93.184.216.34:443"),
    )
    with transaction.atomic():
        store.open("default").record([entry.row()])


@contextmanager
def another(work, before):
    """Another process does its `work` right before the first statement with these words."""

    def run():
        try:
            work()
        finally:
            connections.close_all()

    def execute(next_one, sql, parameters, many, context):
        nonlocal done
        if not done and sql.lstrip().startswith(before) and "webhookhealth" in sql:
            done = True
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        return next_one(sql, parameters, many, context)

    done = False
    with connection.execute_wrapper(execute):
        yield
    assert done


@pytest.mark.parametrize("before", ["UPDATE", "SELECT", "INSERT"])
def test_are_all_counted_whenever_another_one_comes_between(before):
    webhook = WebhookFactory()
    WebhookHealth.objects.all().delete()
    with another(lambda: record(webhook), before):
        record(webhook)
    health = WebhookHealth.objects.get(pk=webhook.pk)
    assert (health.failures_in_row, Attempt.objects.count()) == (2, 2)
