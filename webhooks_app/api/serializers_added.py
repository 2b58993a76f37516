"""The objects that we add beside the document; names are camelCase."""

from typing import Any

from rest_framework import serializers

from .. import actions
from ..models import Attempt, Delivery, Webhook
from ..models.lines import HEADS_MOST, Head
from ..models.webhook import Form, OnDead, Order
from ..presentation.credentials import identity_shown, oauth_shown
from ..presentation.delivery_object import shown, shown_to_staff
from ..rules import rates, schedules, signing
from ..rules.ids import timestamp
from . import schema
from .fields import (
    MOMENT,
    AnyObject,
    AnyText,
    AsSent,
    FreeObject,
    Ignored,
    Moment,
    Shape,
    StrictFlag,
)
from .serializers_credentials import (
    AUTHORITIES,
    IDENTITY,
    OAUTH,
    AuthoritiesGiven,
    IdentityGiven,
    OAuthGiven,
)
from .serializers_events import SUBSCRIPTIONS, SubscriptionsWrite


class DeliverySerializer(serializers.Serializer):
    """A delivery; `reason` says why a pending one is held or a finished one ended so."""

    id = serializers.CharField()
    webhookId = serializers.CharField(source="webhook_id")
    type = serializers.CharField()
    reference = serializers.CharField()
    state = serializers.ChoiceField(choices=Delivery.State.choices)
    reason = serializers.CharField()
    tries = serializers.IntegerField()
    maxTries = serializers.IntegerField(source="max_tries")
    createdAt = Moment(source="created_at")
    dueAt = Moment(source="due_at")
    finishedAt = Moment(source="finished_at", allow_null=True)
    lastStatus = serializers.IntegerField(source="last_status", allow_null=True)
    lastError = serializers.CharField(source="last_error")
    eventId = serializers.CharField(
        source="event_id", allow_null=True, help_text="The event it is of; null for none."
    )
    form = serializers.CharField(allow_null=True, help_text="What is sent of that event.")
    orderingKey = serializers.CharField(
        source="ordering_key", allow_null=True, help_text="What it is sent in order with."
    )
    sequence = serializers.IntegerField(
        allow_null=True, help_text="Its place in that order; null where there is none."
    )

    def to_representation(self, delivery: Delivery) -> dict[str, Any]:
        return shown(delivery)


@schema.field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": 1000,
        "items": {
            "type": "object",
            "required": ["payload"],
            "additionalProperties": False,
            "properties": {
                "payload": {"description": "Any JSON; sent byte for byte."},
                "type": {"type": "string", "maxLength": 128},
                "reference": {"type": "string", "maxLength": 255},
                "idempotencyKey": {"type": "string", "minLength": 1, "maxLength": 255},
                "orderingKey": {"type": "string", "maxLength": 128},
                "dueAt": MOMENT,
            },
        },
    }
)
class Drafts(AsSent):
    pass


class BulkWrite(Shape):
    """Deliveries that are stored together, or not at all."""

    deliveries = Drafts()


class StaffDeliverySerializer(DeliverySerializer):
    """As staff see one."""

    requestId = serializers.CharField(source="stored_in", allow_null=True)

    def to_representation(self, delivery: Delivery) -> dict[str, Any]:
        return shown_to_staff(delivery)


class FailureSerializer(serializers.Serializer):
    """Why an exchange failed: the recorded line, its kind, and what to do about it."""

    date = Moment(source="ended_at")
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
    date = Moment(source="ended_at", help_text="When it was noted: the end of the exchange.")
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


@schema.field(MOMENT)
class Since(AsSent):
    pass


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


class ReplayWrite(Shape):
    since = Since()


class ReplayedSerializer(serializers.Serializer):
    replayed = serializers.IntegerField(help_text="How many failed deliveries are due again.")


HEAD = {
    "type": "object",
    "required": ["deliveryId", "orderingKey", "since", "error", "behind", "nextAt"],
    "additionalProperties": False,
    "properties": {
        "deliveryId": {"type": "string"},
        "orderingKey": {"type": ["string", "null"]},
        "since": MOMENT,
        "error": {"type": "string", "description": "Of its last try."},
        "behind": {"type": "integer", "description": "How many wait, counted up to 10,000."},
        "nextAt": {**MOMENT, "type": ["string", "null"], "description": "null: people decide."},
    },
}


def _head(head: Head) -> dict[str, Any]:
    return {
        "deliveryId": head.delivery.pk,
        "orderingKey": head.delivery.ordering_key,
        "since": timestamp(head.since),
        "error": head.delivery.last_error,
        "behind": head.behind,
        "nextAt": timestamp(head.next_at) if head.next_at else None,
    }


class HealthSerializer(serializers.Serializer):
    """How the webhook does; `held` says why deliveries wait, empty when they go out."""

    held = serializers.SerializerMethodField()
    failing = serializers.BooleanField()
    failuresInRow = serializers.IntegerField(source="failures_in_row")
    failingSince = Moment(source="failing_since", allow_null=True)
    lastAttemptAt = Moment(source="last_attempt_at", allow_null=True)
    lastSuccessAt = Moment(source="last_success_at", allow_null=True)
    breakerUntil = Moment(source="breaker_until", allow_null=True)
    restsUntil = Moment(
        source="rests_until",
        allow_null=True,
        help_text="Until then more is due than the rate limit, or the receiver, lets go out.",
    )
    heads = serializers.SerializerMethodField()

    @schema.field(
        {
            "type": "array",
            "maxItems": HEADS_MOST,
            "items": HEAD,
            "description": "Behind whom others wait, where deliveries are sent in order.",
        }
    )
    def get_heads(self, health: Any) -> list[dict[str, Any]]:
        return [_head(head) for head in actions.heads(health.webhook)]

    def get_held(self, health: Any) -> str:
        return actions.hold_reason(health.webhook)


@schema.field({"type": "string", "const": "hmac"})
class Algorithm(serializers.Field):
    """Calls are signed by HMAC-SHA256, the version `v1` of Standard Webhooks."""

    def get_attribute(self, instance: Any) -> str:
        return "hmac"

    def to_representation(self, value: str) -> str:
        return value

    def to_internal_value(self, data: Any) -> Any:
        if data != "hmac":
            raise serializers.ValidationError(["Must be hmac."])
        return data


@schema.field(
    {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,30}-$", "example": signing.PREFIX},
)
class Prefix(serializers.Field):
    """Of the names under which the signature headers are sent beside `webhook-`, or that one."""

    def to_representation(self, value: str) -> str:
        return value or signing.PREFIX

    def to_internal_value(self, data: Any) -> Any:
        return "" if data == signing.PREFIX else data


class SignatureSerializer(serializers.Serializer):
    """How calls are signed."""

    algorithm = Algorithm()
    prefix = Prefix(source="signature_prefix")


class SignatureWrite(Shape):
    """`prefix`: `webhook-`, or one more under which the three headers are sent as well."""

    algorithm = Algorithm(required=False)
    prefix = Prefix(required=False)


class BreakerSerializer(serializers.Serializer):
    """After how many calls in a row that meet nobody the webhook rests."""

    after = serializers.IntegerField(source="breaker_after")
    off = serializers.BooleanField(source="breaker_off")


@schema.field({"type": "integer", "minimum": 3, "maximum": 100})
class After(AsSent):
    pass


class BreakerWrite(Shape):
    """`after`: so many calls in a row that meet nobody let the webhook rest; `off`: none do."""

    after = After(required=False)
    off = StrictFlag(required=False)


SCHEDULE = {
    "type": "array",
    "maxItems": schedules.DELAYS_MOST,
    "items": {"type": "number", "minimum": 0, "maximum": schedules.LONGEST},
}


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
    signature = SignatureSerializer(source="*")
    rateLimit = serializers.CharField(
        source="rate_limit", allow_null=True, help_text="As 100/minute; null: no limit."
    )
    retrySchedule = serializers.SerializerMethodField()
    breaker = BreakerSerializer(source="*")
    form = serializers.ChoiceField(choices=Form.choices, help_text="What is sent of an event.")
    order = serializers.ChoiceField(
        choices=Order.choices, help_text="What is sent one after the other."
    )
    onDead = serializers.ChoiceField(
        source="on_dead",
        choices=OnDead.choices,
        help_text="What becomes of that order when all tries of a delivery failed.",
    )
    subscriptions = serializers.SerializerMethodField()
    oauth = serializers.SerializerMethodField()
    identity = serializers.SerializerMethodField()
    caCertificates = serializers.SerializerMethodField()
    health = HealthSerializer()

    def get_enabled(self, webhook: Webhook) -> bool:
        return not webhook.stopped

    @schema.field(SCHEDULE | {"type": ["array", "null"]})
    def get_retrySchedule(self, webhook: Webhook) -> list[float] | None:
        """Seconds to wait after each failure; null: the site's."""
        return webhook.delays

    @schema.field(SUBSCRIPTIONS)
    def get_subscriptions(self, webhook: Webhook) -> list[dict[str, Any]]:
        return actions.subscriptions(webhook)

    @schema.field(OAUTH)
    def get_oauth(self, webhook: Webhook) -> dict[str, Any] | None:
        return oauth_shown(webhook, masked=self.context.get("masked", True))

    @schema.field(IDENTITY)
    def get_identity(self, webhook: Webhook) -> dict[str, Any] | None:
        return identity_shown(webhook)

    @schema.field(AUTHORITIES)
    def get_caCertificates(self, webhook: Webhook) -> str | None:
        return webhook.ca_certificates or None


@schema.field({"type": "number", "minimum": 0.1, "maximum": 60})
class Seconds(AsSent):
    pass


@schema.field({"type": "integer", "minimum": 1, "maximum": 1000})
class Cap(AsSent):
    pass


@schema.field({"type": "string", "pattern": rates.PATTERN, "example": "100/minute"})
class RateText(AsSent):
    pass


@schema.field(SCHEDULE)
class Schedule(AsSent):
    pass


@schema.field({"type": "string", "enum": Form.values})
class FormName(AsSent):
    pass


@schema.field({"type": "string", "enum": Order.values})
class OrderName(AsSent):
    pass


@schema.field({"type": "string", "enum": OnDead.values})
class OnDeadName(AsSent):
    pass


@schema.field({"type": "string", "maxLength": 255})
class Note(AsSent):
    pass


class SettingsWrite(Shape):
    """Nothing is required; `enabled: false` pauses (with a `note`), `true` clears any stop."""

    noun = "setting"

    enabled = StrictFlag(required=False)
    note = Note(required=False)
    timeout = Seconds(required=False, allow_null=True)
    maxInFlight = Cap(required=False)
    signature = SignatureWrite(required=False)
    rateLimit = RateText(required=False, allow_null=True)
    retrySchedule = Schedule(required=False, allow_null=True)
    breaker = BreakerWrite(required=False)
    form = FormName(required=False)
    order = OrderName(required=False)
    onDead = OnDeadName(required=False)
    subscriptions = SubscriptionsWrite(required=False)
    oauth = OAuthGiven(required=False, allow_null=True)
    identity = IdentityGiven(required=False, allow_null=True)
    caCertificates = AuthoritiesGiven(required=False, allow_null=True)
    stopped = Ignored()
    verified = Ignored()
    verification = Ignored()
    health = Ignored()
