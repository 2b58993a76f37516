"""The signing secret and its rotation."""

from rest_framework import serializers

from .. import schema
from ..fields import (
    AsSent,
    Shape,
)


class SigningSecretSerializer(serializers.Serializer):
    """The present secret, `whsec_` and base64; the mask for a session."""

    key = serializers.CharField()


@schema.field(
    {
        "type": "string",
        "maxLength": 94,
        # Base64 of 24 to 64 bytes, with its padding or without.
        "pattern": r"^(whsec_)?([A-Za-z0-9+/]{4}){8,20}"
        r"([A-Za-z0-9+/]{2}(==)?|[A-Za-z0-9+/]{3}=?|[A-Za-z0-9+/]{4}([A-Za-z0-9+/]{2}(==)?)?)?$",
        "example": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
)
class GivenSecret(AsSent):
    pass


@schema.field({"type": "integer", "minimum": 0, "maximum": 604_800, "default": 86_400})
class GraceSeconds(AsSent):
    pass


class RotateWrite(Shape):
    """Nothing is required: a new secret is made, and the old one holds for a day beside it."""

    key = GivenSecret(required=False)
    gracePeriodSeconds = GraceSeconds(required=False)
