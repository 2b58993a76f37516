"""A webhook's subscriptions, as its settings have them."""

from ...rules.subscriptions import (
    CHANNELS_LIMIT,
    PATTERN_LIMIT,
    SUBSCRIPTIONS_LIMIT,
    TYPES_LIMIT,
)
from .. import schema
from ..fields import AsSent
from .events import _CHANNEL

SUBSCRIPTIONS = {
    "type": "array",
    "maxItems": SUBSCRIPTIONS_LIMIT,
    "items": {
        "type": "object",
        "required": ["types"],
        "additionalProperties": False,
        "properties": {
            "types": {
                "type": "array",
                "minItems": 1,
                "maxItems": TYPES_LIMIT,
                "items": {
                    "type": "string",
                    "maxLength": PATTERN_LIMIT,
                    "pattern": r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$",
                    "example": "order.*",
                },
            },
            "channels": {"type": "array", "maxItems": CHANNELS_LIMIT, "items": _CHANNEL},
            "filter": {"type": "object", "additionalProperties": True},
        },
    },
    "description": "Which events the webhook gets; none: no events.",
}


@schema.field(SUBSCRIPTIONS)
class SubscriptionsWrite(AsSent):
    pass
