"""An event as the API shows it."""

from typing import Any

from ..models import Event
from ..rules.ids import timestamp


def shown(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "eventId": event.key,
        "type": event.type,
        "time": timestamp(event.time),
        "createdAt": timestamp(event.created_at),
        "createdBy": event.created_by,
        "channels": list(event.channels),
        "orderingKey": event.ordering_key,
        "subject": event.subject,
        "reference": event.reference,
        "deliverAt": timestamp(event.deliver_at) if event.deliver_at else None,
        "matched": event.matched,
        "filtered": event.filtered,
        "fanOut": event.fan_out,
    }


def in_detail(event: Event) -> dict[str, Any]:
    """With its first deliveries."""
    deliveries = [{"id": pk, "webhookId": webhook} for pk, webhook in event.first_deliveries]
    return shown(event) | {"deliveries": deliveries}


def in_short(event: Event) -> dict[str, Any]:
    """One of many that were just published."""
    return {"id": event.id, "matched": event.matched, "replayed": event.replayed}
