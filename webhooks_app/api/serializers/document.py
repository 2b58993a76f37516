"""The documented objects, field for field, and the two envelopes."""

from rest_framework import serializers

from .. import schema
from ..fields import (
    FreeObject,
    HeaderList,
    HeaderName,
    HeaderValue,
    Ignored,
    Moment,
    MomentOrEmpty,
    Name,
    Secret,
    Shape,
    Text,
    Url,
)


class WebhookItemSerializer(serializers.Serializer):
    """A webhook as the list shows it; `error` is the last noted error, empty for none."""

    id = serializers.CharField()
    name = serializers.CharField()
    url = serializers.CharField()
    error = serializers.CharField(source="health.last_error_message")


class HeaderSerializer(serializers.Serializer):
    name = serializers.CharField()
    value = Secret()


class AuthSerializer(serializers.Serializer):
    username = serializers.CharField(source="auth_username")
    password = Secret(source="auth_password")


class LastErrorSerializer(serializers.Serializer):
    date = MomentOrEmpty(source="last_error_at")
    message = serializers.CharField(source="last_error_message")


class WebhookSerializer(serializers.Serializer):
    """A webhook: exactly the documented fields."""

    id = serializers.CharField()
    name = serializers.CharField()
    url = serializers.CharField()
    token = Secret()
    headers = HeaderSerializer(many=True)
    auth = AuthSerializer(source="*")
    error = LastErrorSerializer(source="health")


class HeaderWrite(Shape):
    name = HeaderName()
    value = HeaderValue()


class AuthWrite(Shape):
    username = Text(required=False)
    password = Text(required=False)


class WebhookWrite(Shape):
    """A webhook as POST takes it."""

    name = Name()
    url = Url()
    token = Text(required=False)
    headers = HeaderList(child=HeaderWrite(), required=False)
    auth = AuthWrite(required=False)


class WebhookPut(WebhookWrite):
    """A webhook as PUT takes it, which may be what GET answered."""

    id = Ignored()
    error = Ignored()


class WebhookPatch(WebhookPut):
    """The same with nothing required. (`partial` would reach into headers and auth.)"""

    name = Name(required=False)
    url = Url(required=False)


@schema.field({"type": "integer", "const": 200})
class OK(serializers.IntegerField):
    pass


@schema.field({"type": "string", "const": "success"})
class Success(serializers.CharField):
    pass


class StatusSerializer(serializers.Serializer):
    code = OK()
    type = Success()


class EnvelopeSerializer(serializers.Serializer):
    """What POST, PUT and DELETE answer."""

    id = serializers.CharField()
    timestamp = Moment()
    status = StatusSerializer()


@schema.field({"type": "string", "const": "error"})
class ErrorType(serializers.CharField):
    pass


class ErrorStatusSerializer(serializers.Serializer):
    code = serializers.IntegerField(help_text="The HTTP status.")
    type = ErrorType()
    message = serializers.CharField()
    details = FreeObject(
        required=False,
        help_text="Of 400: lists of sentences per field, nested as sent; of 409 and 503: `reason`.",
    )


class ErrorEnvelopeSerializer(serializers.Serializer):
    """Every error, whatever its status."""

    timestamp = Moment()
    status = ErrorStatusSerializer()
