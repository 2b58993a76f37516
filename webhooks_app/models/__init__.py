"""The nouns: who (account), what is called (webhook), what was sent (delivery), how it goes (health)."""

from .account import AccessToken, Account
from .delivery import Attempt, Delivery, WebhookError
from .health import WebhookHealth, Worker
from .webhook import Header, Webhook

__all__ = [
    "AccessToken",
    "Account",
    "Attempt",
    "Delivery",
    "Header",
    "Webhook",
    "WebhookError",
    "WebhookHealth",
    "Worker",
]
