"""Why a webhook got an event; trials of subscriptions: as they come in and go out."""

from typing import Any, get_args

from rest_framework import serializers

from ...actions import History, Line, Trial
from ...actions.reasons import Verdict
from ...presentation.trial import excerpt
from ...rules.filters import Check
from .. import schema
from ..fields import AsSent, Shape
from .events import Channels, Payload, TypeName
from .subscriptions import SubscriptionsWrite


class WhySerializer(serializers.Serializer):
    """How it stands with one webhook and an event."""

    webhookId = serializers.CharField(source="webhook.pk")
    deliveryId = serializers.SerializerMethodField()
    verdict = serializers.ChoiceField(choices=[v for v in get_args(Verdict) if v != "matches"])
    because = serializers.CharField()

    @schema.field({"type": ["string", "null"]})
    def get_deliveryId(self, line: Line) -> str | None:
        return line.delivery.pk if line.delivery else None


@schema.field({"type": "string", "description": "Of an event: our id, or your own."})
class EventName(AsSent):
    pass


class TrialWrite(Shape):
    """What is tried: an event by its id, or type and payload; by the saved subscriptions, or
    others."""

    eventId = EventName(required=False)
    type = TypeName(required=False)
    channels = Channels(required=False)
    payload = Payload(required=False)
    subscriptions = SubscriptionsWrite(required=False)


class CheckSerializer(serializers.Serializer):
    """One condition. `holds` is null where it would be too costly; `value`, shortened, is what the
    event has there, for whoever may read payloads."""

    pointer = serializers.CharField()
    holds = serializers.BooleanField(allow_null=True)
    value = serializers.SerializerMethodField(required=False)

    @schema.field({"description": "Any JSON, shortened."})
    def get_value(self, check: Check) -> Any:
        return excerpt(check.value)

    def to_representation(self, check: Check) -> Any:
        shown = super().to_representation(check)
        if not (check.there and self.context["values"]):
            shown.pop("value")
        return shown


class HistorySerializer(serializers.Serializer):
    """Of the `looked` last events the ids of those that match; `cut` says why it were not more."""

    looked = serializers.IntegerField()
    matched = serializers.ListField(child=serializers.CharField())
    cut = serializers.ChoiceField(choices=["", "time", "size"])


class TrialSerializer(serializers.Serializer):
    """`by` is the place of the subscription that takes the event. Without an event the first three
    are null and empty; without `history` that is null."""

    matches = serializers.BooleanField(allow_null=True)
    by = serializers.IntegerField(allow_null=True)
    checks = CheckSerializer(many=True)
    history = HistorySerializer(allow_null=True)


def trial_shown(trial: Trial | None, history: History | None, *, values: bool) -> dict[str, Any]:
    """In the shape of TrialSerializer, with values or without."""
    checks = CheckSerializer(trial.checks if trial else [], many=True, context={"values": values})
    return {
        "matches": trial and trial.matches,
        "by": trial and trial.by,
        "checks": checks.data,
        "history": history and HistorySerializer(history).data,
    }
