"""Serializer fields: moments and secrets going out, values and shapes coming in.

What a value may be is judged once, by the verbs in `actions`; here only the shape is: objects,
lists, no null.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rest_framework import serializers

from ..fields import WrongKey
from ..rules.ids import timestamp
from ..rules.validators import MASK
from . import schema

MOMENT = {"type": "string", "format": "date-time", "example": "2018-01-12T13:40:40.260Z"}


@schema.field(MOMENT)
class Moment(serializers.Field):
    """A moment in the documented form; null for none."""

    def to_representation(self, value: datetime) -> str:
        return timestamp(value)


@schema.field({"type": "string", "description": "Like 2018-01-12T13:40:40.260Z; empty for none."})
class MomentOrEmpty(serializers.Field):
    """A moment in the documented form; `""` for none, as the document does for `auth`."""

    def get_attribute(self, instance: Any) -> Any:
        return timestamp(super().get_attribute(instance))

    def to_representation(self, value: str) -> str:
        return value


class Secret(serializers.CharField):
    """In clear for a token that manages, else the mask; `""` when nothing is stored.

    The mask, too, for one that cannot be read: the rest of its webhook is shown.
    """

    def get_attribute(self, instance: Any) -> Any:
        try:
            return super().get_attribute(instance)
        except WrongKey:
            return MASK

    def to_representation(self, value: str) -> str:
        return MASK if value and self.context.get("masked", True) else value


class AsSent(serializers.Field):
    """Any value but null, as it was sent: no trimming, no coercion. The verb judges it."""

    def to_internal_value(self, data: Any) -> Any:
        return data


@schema.field({"type": "string", "minLength": 1, "maxLength": 1024})
class Name(AsSent):
    pass


@schema.field(
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 2048,
        "description": "Public http or https address.",
        "example": "https://example.com/webhook",
    }
)
class Url(AsSent):
    pass


@schema.field({"type": "string", "maxLength": 1024})
class Text(AsSent):
    pass


@schema.field({"type": "string", "minLength": 1, "maxLength": 128})
class HeaderName(AsSent):
    pass


@schema.field({"type": "string", "minLength": 1, "maxLength": 1024})
class HeaderValue(AsSent):
    pass


class Shape(serializers.Serializer):
    """A JSON object coming in; unknown keys are ignored."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError(["Must be an object."])
        return super().to_internal_value(data)


class StrictList(serializers.ListField):
    """A JSON list coming in, never a text or an object."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, list):
            raise serializers.ValidationError(["Must be a list."])
        return super().to_internal_value(data)


@schema.field({"type": "boolean"})
class StrictFlag(serializers.Field):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError(["Must be true or false."])
        return data


@schema.field({"type": "object", "additionalProperties": True})
class FreeObject(serializers.DictField):
    """An object of any keys, going out."""


@schema.field({"type": "object", "additionalProperties": True})
class AnyObject(AsSent):
    pass


@schema.field({"type": "string"})
class AnyText(AsSent):
    pass
