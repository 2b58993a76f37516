"""The catalogue of event types."""

import json
from typing import Any

from rest_framework import serializers

from ...models import EventType
from .. import schema
from ..fields import AsSent, Ignored, Shape, StrictFlag
from .events import _ANY, TypeName, _text


class EventTypeSerializer(serializers.Serializer):
    """An entry of the catalogue. `seen`: nobody declared it, an event had it. `site`: it belongs to
    the whole site and is changed by its staff."""

    name = serializers.CharField()
    group = serializers.CharField()
    description = serializers.CharField()
    example = serializers.SerializerMethodField()
    archived = serializers.SerializerMethodField()
    seen = serializers.BooleanField()
    site = serializers.SerializerMethodField()

    @schema.field({"description": "A payload, any JSON; null for none."})
    def get_example(self, row: EventType) -> Any:
        return json.loads(row.example) if row.example else None

    def get_archived(self, row: EventType) -> bool:
        return row.archived_at is not None

    def get_site(self, row: EventType) -> bool:
        return row.account_id is None


@schema.field(_text(128, "Puts types together in lists."))
class Group(AsSent):
    pass


@schema.field(_text(4000, "What happened when it is sent."))
class Description(AsSent):
    pass


@schema.field(_ANY | {"description": "A payload, any JSON of at most 64 KiB; null for none."})
class Example(AsSent):
    def __init__(self) -> None:
        super().__init__(required=False, allow_null=True)


class EventTypeChanges(Shape):
    """An event type as PUT and PATCH take it, which may be what GET answered. PUT clears what is
    left out."""

    group = Group(required=False)
    description = Description(required=False)
    example = Example()
    archived = StrictFlag(required=False)
    name = Ignored()
    seen = Ignored()
    site = Ignored()


class EventTypeWrite(Shape):
    """An event type as POST takes it."""

    name = TypeName()
    group = Group(required=False)
    description = Description(required=False)
    example = Example()
