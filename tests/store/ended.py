"""Deliveries in any state, and what becomes of them."""

from datetime import UTC, datetime, timedelta

from django.utils import timezone

from tests.factories import DeliveryFactory
from webhooks_app.engine import attempt_rows, store
from webhooks_app.engine.http.sender import Outcome
from webhooks_app.engine.store import microseconds

STATES = ["pending", "delivered", "failed", "cancelled"]


def delivery_in(state, **values):
    ended = None if state == "pending" else timezone.now()
    values = {"tries": 2, "finished_at": ended, "requested_by": "x", **values}
    return DeliveryFactory(state=state, **values)


def finished(delivery, *, state="delivered", failure=None, tries=None, stops="", body=b""):
    now = timezone.now()
    status = 200 if failure is None else 500
    outcome = Outcome(started_at=datetime.now(UTC), status=status, failure=failure, body=body)
    entry = attempt_rows.Entry(
        webhook_id=delivery.webhook_id,
        exchange="delivery",
        request_id=delivery.id,
        url=delivery.webhook.url,
        outcome=outcome,
        failure=failure,
        delivery_id=delivery.id,
        number=3,
    )
    tries = delivery.tries if tries is None else tries
    due_at = microseconds.of(now + timedelta(hours=1))
    ended = None if state == "pending" else microseconds.of(now)
    return store.Finished(entry.row(), tries, state, due_at, ended, stops)


def finish(*items):
    store.open("default").finish(items)
