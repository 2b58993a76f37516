"""How it stands with a webhook and an event, for the screens."""

from .looks import DELIVERY_STATES, State

# In the words of `actions.reasons`; those of a delivery look as deliveries do.
VERDICTS = {
    "delivered": DELIVERY_STATES["delivered"],
    "pending": DELIVERY_STATES["waiting"],
    "held": DELIVERY_STATES["held"],
    "failed": DELIVERY_STATES["failed"],
    "cancelled": DELIVERY_STATES["cancelled"],
    "filtered": State("filtered", "Filtered out", "off", "idle"),
    "not-subscribed": State("not-subscribed", "Not subscribed", "idle", "idle"),
    "too-late": State("too-late", "Too late", "idle", "idle"),
    "not-kept": State("not-kept", "No longer kept", "idle", "idle"),
}
