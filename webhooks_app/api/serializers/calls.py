"""Calls that somebody waits for: interactions, tests, verifications, and the breaker."""

from rest_framework import serializers

from .. import schema
from ..fields import (
    AnyObject,
    AnyText,
    AsSent,
    FreeObject,
    Shape,
    StrictFlag,
)
from .deliveries import Failed


class OutcomeSerializer(serializers.Serializer):
    """How a verification or test went."""

    ok = serializers.BooleanField()
    status = serializers.IntegerField(allow_null=True)
    durationMs = serializers.IntegerField(source="duration_ms")
    error = Failed(allow_null=True)


class InteractionWrite(serializers.Serializer):
    """An interaction; unknown keys are sent on. With `result` it is sent as it is."""

    chatId = AnyText(required=False)
    messageId = AnyText(required=False)
    userId = AnyText(required=False)
    externalId = AnyText(required=False)
    node = AnyObject(required=False)
    userAttributes = AnyObject(required=False)
    attributes = AnyObject(required=False)
    result = AnyObject(required=False)


@schema.field({"type": "array", "items": {}, "maxItems": 99})
class Responses(serializers.ListField):
    pass


class InteractionAnswerSerializer(serializers.Serializer):
    """What the receiver answered; both parts are always there."""

    responses = Responses()
    attributes = FreeObject()


class VerifyWrite(Shape):
    """Nothing needs to be sent."""


@schema.field({"type": "integer", "enum": [1, 2], "default": 2})
class Generation(AsSent):
    pass


class SampleWrite(Shape):
    """What a test sends: a sample body of this generation, or an interaction of your own. Nothing
    needs to be sent."""

    generation = Generation(required=False)
    interaction = AnyObject(required=False)


@schema.field({"type": "integer", "minimum": 3, "maximum": 100})
class After(AsSent):
    pass


class BreakerWrite(Shape):
    """`after`: so many calls in a row that meet nobody let the webhook rest; `off`: none do."""

    after = After(required=False)
    off = StrictFlag(required=False)
