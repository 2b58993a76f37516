"""How a webhook and a delivery do (`models.states`), with a shape and a tone for the screens."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ..models import Delivery, Webhook, states


@dataclass(frozen=True, slots=True)
class State:
    """`icon` names a symbol of symbols.html, `tone` is bad, warn, ok or idle."""

    key: str
    word: str
    icon: str
    tone: str


# In the order of the filters.
WEBHOOK_STATES = {
    key: State(key, states.WORDS[key], icon, tone)
    for key, icon, tone in (
        ("site", "pause", "bad"),
        ("failing", "bad", "bad"),
        ("breaker", "pause", "warn"),
        ("rate", "pause", "idle"),
        ("unreadable", "key", "bad"),
        ("unverified", "key", "warn"),
        ("unsteady", "warn", "warn"),
        ("working", "ok", "ok"),
        ("paused", "pause", "idle"),
        ("stopped", "off", "idle"),
        ("idle", "idle", "idle"),
    )
}

DELIVERY_STATES = {
    key: State(key, states.DELIVERIES[key], icon, tone)
    for key, icon, tone in (
        ("waiting", "idle", "idle"),
        ("retrying", "retry", "warn"),
        ("held", "pause", "warn"),
        ("delivered", "ok", "ok"),
        ("failed", "bad", "bad"),
        ("cancelled", "off", "idle"),
    )
}


def look(known: Mapping[str, State], key: str) -> State:
    """The look of a state; a plain one of its own where a newer version wrote it."""
    return known.get(key) or State(key, key.capitalize(), "idle", "idle")


def webhook_state(webhook: Webhook, now: datetime) -> State:
    return WEBHOOK_STATES[states.of_webhook(webhook, now).key]


def delivery_state(delivery: Delivery, now: datetime) -> State:
    return look(DELIVERY_STATES, states.of_delivery(delivery, now))
