"""Events as they are published and shown."""

import json
from typing import Any

from rest_framework import serializers

from ...models import Event
from ...models.event import FIRST_MOST
from ...presentation.event_object import in_detail, in_short, shown
from ...rules.subscriptions import (
    EVENT_CHANNELS_LIMIT,
    TYPE_LIMIT,
)
from .. import schema
from ..fields import MOMENT, AsSent, Moment, Shape

_TYPE = {
    "type": "string",
    "maxLength": TYPE_LIMIT,
    "pattern": r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,7}$",
    "example": "order.created",
}


_CHANNEL = {"type": "string", "maxLength": 128, "pattern": r"^[A-Za-z0-9\-_.:+]+$"}


_EVENT_ID = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9\-_.]{1,256}$",
    "description": "Your own id: the same one within 24 h is the same event.",
}


# With items: generators of clients pass over what takes a list of nobody knows what.
_ANY = {"type": ["object", "array", "string", "number", "boolean"], "items": {}}


def _text(most: int, meaning: str) -> dict[str, Any]:
    return {"type": "string", "maxLength": most, "description": meaning}


@schema.field(_TYPE)
class TypeName(AsSent):
    pass


@schema.field(_ANY | {"description": "Any JSON, sent byte for byte, at most 1 MiB."})
class Payload(AsSent):
    """`null` is JSON as good as any."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_null=True, **options)


@schema.field(_EVENT_ID)
class EventId(AsSent):
    pass


@schema.field({"type": "array", "items": _CHANNEL, "maxItems": EVENT_CHANNELS_LIMIT})
class Channels(AsSent):
    pass


@schema.field(_text(128, "What the event belongs to."))
class OrderingKey(AsSent):
    pass


@schema.field(_text(255, "Whom it is about."))
class Subject(AsSent):
    pass


@schema.field(_text(255, "Your own word for it; searched exactly."))
class Reference(AsSent):
    pass


@schema.field(MOMENT)
class When(AsSent):
    pass


class EventWrite(Shape):
    """An event to be published."""

    type = TypeName()
    payload = Payload()
    eventId = EventId(required=False)
    channels = Channels(required=False)
    orderingKey = OrderingKey(required=False)
    subject = Subject(required=False)
    reference = Reference(required=False)
    time = When(required=False)
    deliverAt = When(required=False)


class EventList(serializers.ListField):
    """A JSON list, never a text or an object."""

    child = EventWrite()

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, list):
            raise serializers.ValidationError(["Must be a list."])
        if not 1 <= len(data) <= 1000:
            raise serializers.ValidationError(["Must be 1 to 1,000 events."])
        return super().to_internal_value(data)


class EventsWrite(Shape):
    """1 to 1,000 events, together at most 5 MiB: all or none."""

    events = EventList(min_length=1, max_length=1000)


class PublishedSerializer(serializers.Serializer):
    """An event of many that were published; `replayed`: its eventId was seen before."""

    id = serializers.CharField()
    matched = serializers.IntegerField()
    replayed = serializers.BooleanField()

    def to_representation(self, event: Event) -> dict[str, Any]:
        return in_short(event)


class EventSerializer(serializers.Serializer):
    """An event. `matched` webhooks got a delivery, of `filtered` ones a filter took it not; while
    `fanOut` is running, a worker goes on."""

    id = serializers.CharField()
    eventId = serializers.CharField(source="key", allow_null=True)
    type = serializers.CharField()
    time = Moment()
    createdAt = Moment(source="created_at")
    createdBy = serializers.CharField(source="created_by")
    channels = serializers.ListField(child=serializers.CharField())
    orderingKey = serializers.CharField(source="ordering_key")
    subject = serializers.CharField()
    reference = serializers.CharField()
    deliverAt = Moment(source="deliver_at", allow_null=True)
    matched = serializers.IntegerField()
    filtered = serializers.IntegerField()
    fanOut = serializers.ChoiceField(source="fan_out", choices=["done", "running"])

    def to_representation(self, event: Event) -> dict[str, Any]:
        return shown(event)


@schema.field(
    {
        "type": "array",
        "maxItems": FIRST_MOST,
        "items": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "webhookId": {"type": "string"}},
            "required": ["id", "webhookId"],
            "additionalProperties": False,
        },
    }
)
class FirstDeliveries(serializers.Field):
    pass


@schema.field({"description": "Any JSON."})
class AnyJson(serializers.Field):
    pass


class EventDetailSerializer(EventSerializer):
    """With its first 100 deliveries."""

    deliveries = FirstDeliveries()

    def to_representation(self, event: Event) -> dict[str, Any]:
        return in_detail(event)


class WholeEventSerializer(EventDetailSerializer):
    """With its payload, for whoever may read payloads."""

    payload = AnyJson(required=False)

    def to_representation(self, event: Event) -> dict[str, Any]:
        return in_detail(event) | {"payload": json.loads(bytes(event.payload))}
