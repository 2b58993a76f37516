"""The objects of the API: what goes out, field for field, and the shape of what comes in.

What a value may be is judged once, by the verbs in `actions`; here only the shape is: objects,
lists, no null. Names are the wire's camelCase.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rest_framework import serializers

from .. import actions
from ..models import Attempt, Delivery, Webhook
from ..rules.ids import timestamp
from ..rules.validators import MASK
from . import schema

MOMENT = {"type": "string", "format": "date-time", "example": "2018-01-12T13:40:40.260Z"}


# --- fields -----------------------------------------------------------------------------------


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
    """In clear for a token that manages, else the mask; `""` when nothing is stored."""

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


# --- the documented objects -------------------------------------------------------------------


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
    """A webhook as POST and PUT take it; `id` and `error` are ignored."""

    name = Name()
    url = Url()
    token = Text(required=False)
    headers = StrictList(child=HeaderWrite(), required=False)
    auth = AuthWrite(required=False)


class WebhookPatch(WebhookWrite):
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


@schema.field({"type": "object", "additionalProperties": True})
class Details(serializers.DictField):
    pass


class ErrorStatusSerializer(serializers.Serializer):
    code = serializers.IntegerField(help_text="The HTTP status.")
    type = ErrorType()
    message = serializers.CharField()
    details = Details(required=False, help_text="Lists of sentences per field, nested as sent.")


class ErrorEnvelopeSerializer(serializers.Serializer):
    """Every error, whatever its status."""

    timestamp = Moment()
    status = ErrorStatusSerializer()


# --- what we add ------------------------------------------------------------------------------


class DeliverySerializer(serializers.Serializer):
    """A delivery; `reason` says why a pending one is held or a finished one ended so."""

    id = serializers.CharField()
    webhookId = serializers.CharField(source="webhook_id")
    type = serializers.CharField()
    reference = serializers.CharField()
    state = serializers.ChoiceField(choices=Delivery.State.choices)
    reason = serializers.SerializerMethodField()
    tries = serializers.IntegerField()
    maxTries = serializers.IntegerField(source="max_tries")
    createdAt = Moment(source="created_at")
    dueAt = Moment(source="due_at")
    finishedAt = Moment(source="finished_at", allow_null=True)
    lastStatus = serializers.IntegerField(source="last_status", allow_null=True)
    lastError = serializers.CharField(source="last_error")

    def get_reason(self, delivery: Delivery) -> str:
        if delivery.state == Delivery.State.PENDING:
            return actions.hold_reason(delivery.webhook) or delivery.reason
        return delivery.reason


class FailureSerializer(serializers.Serializer):
    """Why an exchange failed: the recorded line, its kind, and what to do about it."""

    date = Moment(source="started_at")
    message = serializers.CharField()
    kind = serializers.CharField()
    advice = serializers.CharField()


class ErrorSerializer(FailureSerializer):
    """An entry of the error history."""

    exchange = serializers.ChoiceField(choices=Attempt.Exchange.choices)
    deliveryId = serializers.CharField(source="delivery_id", allow_null=True)


class PhasesSerializer(serializers.Serializer):
    """Milliseconds; null where the exchange did not come that far or had no need of it."""

    dnsMs = serializers.IntegerField(source="dns_ms", allow_null=True)
    connectMs = serializers.IntegerField(source="connect_ms", allow_null=True)
    tlsMs = serializers.IntegerField(source="tls_ms", allow_null=True)
    waitMs = serializers.IntegerField(source="wait_ms", allow_null=True)
    readMs = serializers.IntegerField(source="read_ms", allow_null=True)


class Failed(FailureSerializer):
    """The failure of an attempt; null when it went well."""

    def get_attribute(self, instance: Attempt) -> Attempt | None:
        return None if instance.ok else instance


class AttemptSerializer(serializers.Serializer):
    """One exchange with the receiver, as it went."""

    id = serializers.CharField()
    deliveryId = serializers.CharField(source="delivery_id", allow_null=True)
    exchange = serializers.ChoiceField(choices=Attempt.Exchange.choices)
    number = serializers.IntegerField()
    startedAt = Moment(source="started_at")
    durationMs = serializers.IntegerField(source="duration_ms")
    phases = PhasesSerializer(source="*")
    url = serializers.CharField()
    address = serializers.CharField()
    status = serializers.IntegerField(allow_null=True)
    ok = serializers.BooleanField()
    error = Failed(allow_null=True)
    answer = serializers.CharField(help_text="The first 4 KiB.")


class OutcomeSerializer(serializers.Serializer):
    """How a verification or test went."""

    ok = serializers.BooleanField()
    status = serializers.IntegerField(allow_null=True)
    durationMs = serializers.IntegerField(source="duration_ms")
    error = Failed(allow_null=True)


@schema.field({"type": "object", "additionalProperties": True})
class AnyObject(AsSent):
    pass


@schema.field({"type": "string"})
class AnyText(AsSent):
    pass


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
    attributes = Details()


@schema.field(MOMENT)
class Since(AsSent):
    pass


class ReplayWrite(Shape):
    since = Since()


class ReplayedSerializer(serializers.Serializer):
    replayed = serializers.IntegerField(help_text="How many failed deliveries are due again.")


class HealthSerializer(serializers.Serializer):
    """How the webhook does; `held` says why deliveries wait, empty when they go out."""

    held = serializers.SerializerMethodField()
    failing = serializers.BooleanField()
    failuresInRow = serializers.IntegerField(source="failures_in_row")
    failingSince = Moment(source="failing_since", allow_null=True)
    lastAttemptAt = Moment(source="last_attempt_at", allow_null=True)
    lastSuccessAt = Moment(source="last_success_at", allow_null=True)
    breakerUntil = Moment(source="breaker_until", allow_null=True)

    def get_held(self, health: Any) -> str:
        return actions.hold_reason(health.webhook)


class SettingsSerializer(serializers.Serializer):
    """What the documented object has no field for."""

    enabled = serializers.SerializerMethodField()
    stopped = serializers.ChoiceField(choices=[("", "running"), *Webhook.Stopped.choices])
    note = serializers.CharField(source="stopped_note")
    verified = serializers.BooleanField()
    verification = serializers.ChoiceField(choices=["off", "waiting", "passed", "failed"])
    timeout = serializers.FloatField(
        allow_null=True, help_text="Seconds, 0.1 to 60; null: the site's WEBHOOKS_TIMEOUT."
    )
    maxInFlight = serializers.IntegerField(source="max_in_flight")
    health = HealthSerializer()

    def get_enabled(self, webhook: Webhook) -> bool:
        return not webhook.stopped


@schema.field({"type": ["number", "null"], "minimum": 0.1, "maximum": 60})
class Seconds(AsSent):
    pass


@schema.field({"type": "integer", "minimum": 1, "maximum": 1000})
class Cap(AsSent):
    pass


@schema.field({"type": "string", "maxLength": 255})
class Note(AsSent):
    pass


class SettingsWrite(Shape):
    """Nothing is required; `enabled: false` pauses (with a `note`), `true` clears any stop."""

    enabled = StrictFlag(required=False)
    note = Note(required=False)
    timeout = Seconds(required=False, allow_null=True)
    maxInFlight = Cap(required=False)
