"""Serializer fields: moments and secrets going out, values and shapes coming in.

What a value may be is judged once, by the verbs in `actions`; here only the shape is: objects,
lists, no null.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rest_framework import serializers
from rest_framework.fields import SkipField, empty

from ..fields import WrongKey
from ..rules.ids import timestamp
from ..rules.nearest import unknown_keys
from ..rules.validators import HEADERS_LIMIT, MASK, TOO_MANY_HEADERS
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


@schema.field({"description": "Ignored: what GET answers can be sent back."})
class Ignored(serializers.Field):
    """What GET shows and nobody sets."""

    def __init__(self) -> None:
        super().__init__(required=False)

    def run_validation(self, data: Any = empty) -> Any:
        if data is empty:
            raise SkipField
        return data


class Shape(serializers.Serializer):
    """A JSON object coming in. An unknown key is an error that names the nearest known one, or a
    misspelled field would pass for one that was set."""

    noun = "field"

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError(["Must be an object."])
        problems = unknown_keys(data, self.fields, self.noun)
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({**problems, **dict(error.detail)}) from None  # type: ignore[arg-type]
        if problems:
            raise serializers.ValidationError(problems)
        return values


class HeaderList(serializers.ListField):
    """A JSON list coming in, never a text or an object; too long a one is not looked into."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, list):
            raise serializers.ValidationError(["Must be a list."])
        if len(data) > HEADERS_LIMIT:
            raise serializers.ValidationError([TOO_MANY_HEADERS])
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
