"""A delivery as the API and the commands show it."""

from typing import Any

from ..models import Delivery, states
from ..models.delivery import db_now
from ..rules.ids import timestamp


def shown(delivery: Delivery, held: str | None = None) -> dict[str, Any]:
    """With why a pending one is held (`held`, where that is known already), or a finished one ended
    so."""
    if delivery.state != Delivery.State.PENDING:
        held = ""
    elif held is None:
        now = db_now()
        held = states.delivery_hold_reason(delivery, now)
    return _shown(delivery, held)


def _shown(delivery: Delivery, held: str) -> dict[str, Any]:
    created_at, due_at, finished_at = delivery.created_at, delivery.due_at, delivery.finished_at
    created = timestamp(created_at)
    return {
        "id": delivery.id,
        "webhookId": delivery.webhook_id,
        "type": delivery.type,
        "reference": delivery.reference,
        "state": str(delivery.state),
        "reason": held or delivery.reason,
        "tries": delivery.tries,
        "maxTries": delivery.max_tries,
        "createdAt": created,
        "dueAt": created if due_at == created_at else timestamp(due_at),
        "finishedAt": timestamp(finished_at) if finished_at else None,
        "lastStatus": delivery.last_status,
        "lastError": delivery.last_error,
        "eventId": delivery.event_id,
        "form": delivery.form,
        "orderingKey": delivery.ordering_key,
        "sequence": delivery.sequence,
    }


def shown_to_staff(delivery: Delivery, held: str | None = None) -> dict[str, Any]:
    return shown(delivery, held) | {"requestId": delivery.stored_in}
