"""When a receiver's certificate ends, as it is seen at the TLS handshake."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.engine.exchanges import request
from tests.factories import WebhookFactory
from tests.receivers import Answer, Receiver
from webhooks_app.engine import store
from webhooks_app.engine.attempt_rows import Entry
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.models import Attempt, WebhookHealth


@pytest.mark.once
def test_the_end_is_seen_at_the_handshake_alone(run, loopback):
    async def twice(sender):
        return [await sender.send(request(receiver.url, b"{}"), timeout=5.0) for _ in range(2)]

    with Receiver(Answer(200, "hello"), tls="soon") as receiver:
        first, kept = run(twice)
    left = first.certificate_ends_at - timezone.now()
    assert timedelta(days=8) < left <= timedelta(days=9)
    assert kept.certificate_ends_at is None


@pytest.mark.once
def test_without_tls_there_is_none(post):
    with Receiver(Answer(200, "hello")) as receiver:
        assert post(receiver.url).certificate_ends_at is None


def test_the_health_of_the_webhook_keeps_the_last_one_seen(db):
    webhook = WebhookFactory()
    now = timezone.now().replace(microsecond=0)

    def call(ends):
        entry = Entry(
            webhook_id=webhook.pk,
            exchange=Attempt.Exchange.DELIVERY,
            request_id="0" * 24,
            url=webhook.url,
            outcome=Outcome(started_at=now, status=200, certificate_ends_at=ends),
            failure=None,
        )
        store.open("default").record([entry.row()])
        return WebhookHealth.objects.get(pk=webhook.pk).certificate_ends_at

    assert call(None) is None
    assert call(now + timedelta(days=90)) == now + timedelta(days=90)
    assert call(None) == now + timedelta(days=90)
    assert call(now + timedelta(days=9)) == now + timedelta(days=9)
