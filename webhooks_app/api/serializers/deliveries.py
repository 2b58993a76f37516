"""Deliveries, their attempts and errors as the API shows them; names are camelCase."""

from typing import Any

from rest_framework import serializers

from ...models import Attempt, Delivery
from ...presentation.delivery_object import shown, shown_to_staff
from .. import schema
from ..fields import (
    MOMENT,
    AsSent,
    Moment,
    Shape,
)


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


@schema.field(MOMENT)
class Since(AsSent):
    pass


class ReplayWrite(Shape):
    since = Since()


class ReplayedSerializer(serializers.Serializer):
    replayed = serializers.IntegerField(help_text="How many failed deliveries are due again.")
    job = serializers.CharField(
        required=False,
        help_text="The job that replays the rest, where there are more than 10,000.",
    )
