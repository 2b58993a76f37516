"""A webhook's settings and how it does."""

from typing import Any

from rest_framework import serializers

from ... import actions
from ...models import Webhook
from ...models.lines import HEADS_MOST, Head
from ...models.webhook import Form, OnDead, Order
from ...presentation.credentials import identity_shown, oauth_shown
from ...rules import rates, schedules, signing
from ...rules.ids import timestamp
from .. import schema
from ..fields import (
    MOMENT,
    AsSent,
    Ignored,
    Moment,
    Shape,
    StrictFlag,
)
from .calls import BreakerWrite
from .credentials import AUTHORITIES, IDENTITY, OAUTH, AuthoritiesGiven, IdentityGiven, OAuthGiven
from .subscriptions import SUBSCRIPTIONS, SubscriptionsWrite

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


SCHEDULE = {
    "type": "array",
    "maxItems": schedules.DELAYS_MOST,
    "items": {"type": "number", "minimum": 0, "maximum": schedules.LONGEST},
}


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
