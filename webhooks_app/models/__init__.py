"""The nouns: account (who), webhook (what is called), delivery (what was sent), health."""

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
